"""fetch and verify: exactly the configured version in data/, changed only when asked, whole after interruptions."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from ganline.data import fetching
from ganline.data.checksums import read_sums, verify
from ganline.data.config import DataConfig
from ganline.data.fetching import ALREADY_THERE, fetch
from ganline.data.sources import Digits, FashionMnist, ImageFolder, Mnist
from ganline.data.sources.folder import find_pictures
from ganline.errors import ConfigError, DataError, FetchError
from ganline.files import sha256_file, sha256_tree

IMAGES, LABELS = "digits-images-idx3-ubyte", "digits-labels-idx1-ubyte"


def flip(path: Path, position: int = 1000) -> None:
    """Change one byte, in a file of its own (the original may be hard-linked)."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.unlink()
    path.write_bytes(content)


def mirrored(folder: Path) -> DataConfig:
    return DataConfig(source=Digits(), mirrors=(str(folder),))


def test_digits_come_without_a_download_and_have_the_pinned_bytes(digits: DataConfig, digits_folder: Path) -> None:
    assert sorted(path.name for path in digits_folder.iterdir()) == ["SHA256SUMS", IMAGES, LABELS]
    assert verify(digits, digits_folder) == Digits().pinned == read_sums(digits_folder)


def test_sha256sum_reads_the_checksum_file(digits_folder: Path) -> None:
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=digits_folder, capture_output=True, text=True)
    assert done.stdout == f"{IMAGES}: OK\n{LABELS}: OK\n"


def test_a_second_fetch_changes_nothing(digits: DataConfig, digits_folder: Path) -> None:
    before = {path: path.stat().st_ino for path in digits_folder.iterdir()}
    report = fetch(digits, digits_folder)
    assert not report.changed and set(report.origins.values()) == {ALREADY_THERE}
    assert {path: path.stat().st_ino for path in digits_folder.iterdir()} == before


def test_a_flipped_byte_is_named_by_verify_and_repaired_by_fetch(digits_folder: Path, tmp_path: Path) -> None:
    good = tmp_path / "good"
    config = mirrored(good)
    fetch(mirrored(digits_folder), good)
    flip(digits_folder / IMAGES)
    with pytest.raises(DataError, match=rf"damaged: {IMAGES}") as caught:
        verify(config, digits_folder)
    assert LABELS not in str(caught.value) and "ganline fetch" in str(caught.value)
    report = fetch(config, digits_folder)
    assert report.origins == {IMAGES: f"mirror {good}", LABELS: ALREADY_THERE}
    verify(config, digits_folder)


@pytest.mark.parametrize("damage", ["missing", "SHA256SUMS gone", "SHA256SUMS changed"])
def test_other_damage_is_refused_and_repaired(digits_folder: Path, tmp_path: Path, damage: str) -> None:
    good = tmp_path / "good"
    fetch(mirrored(digits_folder), good)
    if damage == "missing":
        (digits_folder / LABELS).unlink()
    elif damage == "SHA256SUMS gone":
        (digits_folder / "SHA256SUMS").unlink()
    else:
        flip(digits_folder / "SHA256SUMS", 3)
    with pytest.raises(DataError, match=LABELS if damage == "missing" else "SHA256SUMS"):
        verify(mirrored(good), digits_folder)
    fetch(mirrored(good), digits_folder)
    verify(mirrored(good), digits_folder)


def test_a_file_that_does_not_belong_is_named_and_goes_only_with_accept(
    digits: DataConfig, digits_folder: Path
) -> None:
    (digits_folder / "sub").mkdir()
    (digits_folder / "sub" / "stranger.bin").write_bytes(b"x")
    with pytest.raises(DataError, match=r"unexpected: sub/stranger\.bin"):
        verify(digits, digits_folder)
    with pytest.raises(DataError, match=r"removed: sub/stranger\.bin[\s\S]*--accept"):
        fetch(digits, digits_folder)
    assert (digits_folder / "sub" / "stranger.bin").exists()
    fetch(digits, digits_folder, accept=True)
    assert not (digits_folder / "sub").exists()


def test_a_link_to_a_folder_inside_data_does_not_belong(
    digits: DataConfig, digits_folder: Path, tmp_path: Path
) -> None:
    (digits_folder / "link").symlink_to(tmp_path)
    with pytest.raises(DataError, match="unexpected: link"):
        verify(digits, digits_folder)


def test_another_data_set_with_the_same_file_names_is_a_new_version_not_damage(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    names = [file.name for file in Mnist().files]
    for name in names:
        (folder / name).write_bytes(name.encode())
    fetching.write_sums(folder, {name: sha256_file(folder / name) for name in names})
    monkeypatch.setattr(FashionMnist, "providers", lambda self: [])
    with pytest.raises(DataError, match="changed: train-images-idx3-ubyte"):
        fetch(DataConfig(source=FashionMnist()), folder)
    with pytest.raises(FetchError):
        fetch(DataConfig(source=FashionMnist()), folder, accept=True)
    assert (folder / names[0]).read_bytes() == names[0].encode()


def test_a_missing_data_set_says_what_to_do(digits: DataConfig, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="ganline fetch"):
        verify(digits, tmp_path / "data")


@pytest.mark.parametrize("where", ["fill", "write_sums", "_swap"])
def test_an_interrupted_fetch_leaves_the_old_version_whole(
    folder_config: DataConfig, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    folder = tmp_path / "data"
    fetch(folder_config, folder)
    before = sha256_tree(folder)
    Image.new("L", (32, 32), 3).save(pictures / "cat" / "new.png")

    def killed(*args: object, **settings: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*((ImageFolder, "fill") if where == "fill" else (fetching, where)), killed)
        with pytest.raises(KeyboardInterrupt):
            fetch(folder_config, folder, accept=True)
    assert sha256_tree(folder) == before
    report = fetch(folder_config, folder, accept=True)
    assert "cat/new.png" in report.files
    assert verify(folder_config, folder) == report.files


def test_a_kill_between_the_two_renames_is_undone_by_the_next_fetch(digits_folder: Path, tmp_path: Path) -> None:
    config = mirrored(tmp_path / "nothing")
    previous = digits_folder.with_name(".partial-previous-data")
    digits_folder.rename(previous)
    assert not fetch(config, digits_folder).changed
    assert not previous.exists()
    verify(config, digits_folder)


def test_what_an_interrupted_fetch_had_downloaded_is_used_again(
    digits_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, half = tmp_path / "fresh", tmp_path / "half"
    half.mkdir()
    (half / IMAGES).write_bytes((digits_folder / IMAGES).read_bytes())
    (half / LABELS).write_bytes(b"damaged")
    monkeypatch.setattr(Digits, "providers", lambda self: [])
    with pytest.raises(FetchError, match=f"could serve {LABELS}"):
        fetch(mirrored(half), folder)
    assert not folder.exists()
    (half / IMAGES).unlink()
    (half / LABELS).write_bytes((digits_folder / LABELS).read_bytes())
    report = fetch(mirrored(half), folder)
    assert report.origins == {IMAGES: ALREADY_THERE, LABELS: f"mirror {half}"}


def test_a_failed_first_fetch_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Digits, "providers", lambda self: [])
    with pytest.raises(FetchError):
        fetch(DataConfig(source=Digits()), tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_copied_with_its_names_and_what_is_skipped_is_said(
    folder_config: DataConfig, pictures: Path, tmp_path: Path
) -> None:
    (pictures / "notes.txt").write_text("x")
    (pictures / ".hidden.png").write_bytes(b"x")
    (pictures / "cat" / "huge.png").write_bytes(bytes((1 << 20) + 1))
    config = DataConfig(source=ImageFolder(path=pictures, max_file_mib=1))
    report = fetch(config, tmp_path / "data")
    assert len(report.files) == 40 and "cat/00.png" in report.files
    assert report.skipped == {
        ".hidden.png": "hidden",
        "cat/huge.png": "larger than 1 MiB",
        "notes.txt": "not PNG, JPEG or WebP",
    }
    assert "skipped 1 (larger than 1 MiB): cat/huge.png" in str(report)
    many = replace(report, skipped={f"{i:02d}.txt": "not PNG, JPEG or WebP" for i in range(12)}, skipped_list="all.tsv")
    names = ", ".join(f"{i:02d}.txt" for i in range(10))
    assert f"skipped 12 (not PNG, JPEG or WebP): {names} and 2 more (all are in all.tsv)" in str(many)
    assert sha256_file(tmp_path / "data" / "cat/00.png") == sha256_file(pictures / "cat/00.png")
    (pictures / "cat" / "00.png").write_bytes(b"the copy is a copy, not a link")
    verify(config, tmp_path / "data")


def test_a_changed_folder_is_refused_by_name_until_it_is_accepted(
    folder_config: DataConfig, pictures: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    fetch(folder_config, folder)
    (pictures / "cat" / "00.png").rename(pictures / "cat" / "added.png")
    flip(pictures / "dog" / "00.png", 100)
    with pytest.raises(DataError) as caught:
        fetch(folder_config, folder)
    for line in ("added: cat/added.png", "changed: dog/00.png", "removed: cat/00.png", "ganline fetch --accept"):
        assert line in str(caught.value)
    report = fetch(folder_config, folder, accept=True)
    assert report.changed
    assert verify(folder_config, folder) == report.files
    assert not (folder / "cat" / "00.png").exists()


def test_only_the_first_twenty_changes_are_listed(folder_config: DataConfig, pictures: Path, tmp_path: Path) -> None:
    fetch(folder_config, tmp_path / "data")
    for path in (pictures / "cat").iterdir():
        path.rename(path.with_name(f"new-{path.name}"))
    with pytest.raises(DataError, match="and 20 more") as caught:
        fetch(folder_config, tmp_path / "data")
    assert str(caught.value).count("added: ") + str(caught.value).count("removed: ") == 20


def test_a_damaged_copy_is_restored_from_the_folder(folder_config: DataConfig, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    fetch(folder_config, folder)
    flip(folder / "cat" / "00.png", 50)
    with pytest.raises(DataError, match=r"damaged: cat/00\.png"):
        verify(folder_config, folder)
    assert fetch(folder_config, folder).changed
    verify(folder_config, folder)


def test_a_link_out_of_the_folder_is_refused(folder_config: DataConfig, pictures: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    Image.new("L", (9, 9)).save(secret)
    (pictures / "cat" / "innocent.png").symlink_to(secret)
    with pytest.raises(DataError, match=r"lead out of .*cat/innocent\.png"):
        fetch(folder_config, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_linked_folder_outside_is_refused_and_one_inside_is_said(pictures: Path, tmp_path: Path) -> None:
    (pictures / "again").symlink_to(pictures / "cat")
    assert find_pictures(pictures, max_bytes=1 << 20)[1] == {"again": "a link to a folder"}
    (pictures / "outside").symlink_to(tmp_path)
    with pytest.raises(DataError, match="outside"):
        find_pictures(pictures, max_bytes=1 << 20)


def test_links_that_lead_nowhere_are_skipped_wherever_they_point(pictures: Path, tmp_path: Path) -> None:
    (pictures / "inside.png").symlink_to(pictures / "missing.png")
    (pictures / "outside.png").symlink_to(tmp_path / "missing.png")
    (pictures / "round.png").symlink_to(pictures / "round.png")
    skipped = find_pictures(pictures, max_bytes=1 << 20)[1]
    assert skipped == dict.fromkeys(("inside.png", "outside.png", "round.png"), "a link that leads nowhere")


def test_a_folder_that_cannot_be_read_is_named(pictures: Path, monkeypatch) -> None:
    real = os.scandir

    def scandir(folder):
        if str(folder).endswith("cat"):
            raise PermissionError(13, "Permission denied", str(folder))
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    assert find_pictures(pictures, max_bytes=1 << 20)[1]["cat"] == "its folder cannot be read: Permission denied"


def test_odd_entries_never_reach_data(pictures: Path) -> None:
    os.mkfifo(pictures / "pipe.png")
    (pictures / "nowhere.png").symlink_to(pictures / "missing")
    (pictures / "new\nline.png").write_bytes(b"x")
    (pictures / "back\\slash.png").write_bytes(b"x")
    with open(os.fsencode(str(pictures)) + b"/\xff.png", "wb"):
        pass
    names, skipped = find_pictures(pictures, max_bytes=1 << 20)
    assert len(names) == 40
    assert set(skipped) == {"pipe.png", "nowhere.png", "new\nline.png", "back\\slash.png", "\\udcff.png"}


def test_checksums_that_point_outside_are_never_followed(folder_config: DataConfig, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    fetch(folder_config, folder)
    outside = tmp_path / "outside.png"
    outside.write_bytes(b"x")
    with (folder / "SHA256SUMS").open("a") as file:
        file.write(f"{sha256_file(outside)}  ../outside.png\n")
    with pytest.raises(DataError, match=r"missing: \.\./outside\.png"):
        verify(folder_config, folder)


def test_a_folder_source_without_a_path_can_be_verified_but_not_fetched(
    folder_config: DataConfig, tmp_path: Path
) -> None:
    fetch(folder_config, tmp_path / "data")
    pathless = DataConfig(source=ImageFolder())
    verify(pathless, tmp_path / "data")
    with pytest.raises(ConfigError, match="path"):
        fetch(pathless, tmp_path / "data")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no picture"):
        fetch(DataConfig(source=ImageFolder(path=tmp_path / "empty")), tmp_path / "data")
