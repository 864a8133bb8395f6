"""Readers: IDX, CIFAR batches and folders of pictures give images in a fixed order, and say what is wrong."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from ganline.data.config import DataConfig
from ganline.data.decode import decode, try_decode
from ganline.data.reading import read, read_rows
from ganline.data.sources import Cifar10, ImageFolder, Mnist, SourceConfig
from ganline.data.sources.cifar import LABEL_NAMES
from ganline.data.sources.idx import idx_bytes, read_idx
from ganline.errors import DataError

SOURCES = ("fashion-mnist", "mnist", "stacked-mnist", "cifar10", "digits", "folder")


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_is_known_by_its_name(name: str) -> None:
    source = TypeAdapter(SourceConfig).validate_python({"name": name})
    assert source.name == name
    assert source.pinned is None or all(len(sha256) == 64 for sha256 in source.pinned.values())


def test_unknown_sources_and_settings_are_refused() -> None:
    for wrong in ({"name": "imagenet"}, {"name": "mnist", "path": "x"}):
        with pytest.raises(ValidationError):
            TypeAdapter(SourceConfig).validate_python(wrong)


def test_idx_round_trip(tmp_path: Path) -> None:
    array = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "x").write_bytes(idx_bytes(array))
    assert (tmp_path / "x").read_bytes()[:16] == bytes((0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4))
    np.testing.assert_array_equal(read_idx(tmp_path / "x"), array)


@pytest.mark.parametrize("content", [b"", b"\x00\x00\x0d\x01" + bytes(8), idx_bytes(np.zeros((2, 2), np.uint8))[:-1]])
def test_a_file_that_is_not_idx_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError):
        read_idx(tmp_path / "x")


def test_mnist_reads_train_then_test(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for (split, images, labels), count in zip(Mnist.pairs, (5, 3), strict=True):
        arrays[split] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        (tmp_path / images.name).write_bytes(idx_bytes(arrays[split]))
        (tmp_path / labels.name).write_bytes(idx_bytes(np.arange(count, dtype=np.uint8)))
    rows = [image for block in Mnist().read(tmp_path) for image in block]
    assert [row.index for row in rows] == list(range(8))
    assert [(row.split, row.item, row.label) for row in rows[4:6]] == [("train", 4, "4"), ("test", 0, "0")]
    np.testing.assert_array_equal(rows[6].pixels, arrays["test"][1][..., None])
    chosen = [image for block in Mnist().read(tmp_path, only={6, 1, 99}) for image in block]
    assert [row.index for row in chosen] == [1, 6]
    np.testing.assert_array_equal(chosen[1].pixels, rows[6].pixels)


def test_cifar_planes_become_pixels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number, file in enumerate(Cifar10().files):
        record = rng.integers(0, 256, (2, 3073), dtype=np.uint8)
        record[:, 0] = number
        record.tofile(tmp_path / file.name)
    rows = [image for block in Cifar10().read(tmp_path) for image in block]
    assert [row.label for row in rows[::2]] == list(LABEL_NAMES[:5])
    assert {row.split for row in rows} == {None}
    raw = np.fromfile(tmp_path / "data_batch_2.bin", np.uint8).reshape(2, 3073)[1]
    assert rows[3].pixels is not None
    assert rows[3].pixels[5, 7].tolist() == [raw[1 + plane * 1024 + 5 * 32 + 7] for plane in range(3)]


def test_cifar_says_where_its_test_split_comes_from() -> None:
    held_out, official = Cifar10(), Cifar10(test_batch=True)
    assert "hold-out" in held_out.remarks and official.remarks == ""
    assert set(official.pinned) - set(held_out.pinned) == {"test_batch.bin"}


def test_a_cut_cifar_batch_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1.bin").write_bytes(bytes(3072))
    with pytest.raises(DataError, match="3073"):
        list(Cifar10().read(tmp_path))


def save(path: Path, image: Image.Image, **settings: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **settings)


def test_sub_folders_are_labels(folder_config: DataConfig, pictures: Path) -> None:
    save(pictures / "loose.png", Image.new("L", (8, 8)))
    save(pictures / "dog" / "deep" / "er.png", Image.new("L", (8, 8)))
    rows = [image for block in read(folder_config, pictures) for image in block]
    assert [row.file for row in rows] == sorted(row.file for row in rows)
    labels = {row.file: row.label for row in rows}
    assert (labels["cat/00.png"], labels["dog/deep/er.png"], labels["loose.png"]) == ("cat", "dog", None)
    assert {row.split for row in rows} == {None}
    assert [row.index for row in rows] == list(range(42))


def test_train_and_test_at_the_top_are_splits(tmp_path: Path) -> None:
    for name in ("train/cat/1.png", "test/cat/2.png", "train/3.png"):
        save(tmp_path / name, Image.new("L", (8, 8)))
    rows = [image for block in ImageFolder().read(tmp_path) for image in block]
    assert [(row.file, row.split, row.label) for row in rows] == [
        ("test/cat/2.png", "test", "cat"),
        ("train/3.png", "train", None),
        ("train/cat/1.png", "train", "cat"),
    ]


def test_train_alone_is_a_label(tmp_path: Path) -> None:
    save(tmp_path / "train" / "1.png", Image.new("L", (8, 8)))
    (row,) = next(iter(ImageFolder().read(tmp_path)))
    assert (row.split, row.label) == (None, "train")


def test_blocks_are_bounded_and_keep_the_order(folder_config: DataConfig, pictures: Path, monkeypatch) -> None:
    whole = [image.file for block in read(folder_config, pictures) for image in block]
    monkeypatch.setattr("ganline.data.sources.folder.BLOCK_BYTES", 10_000)
    blocks = list(read(folder_config, pictures))
    assert [image.file for block in blocks for image in block] == whole
    assert max(sum(i.pixels.nbytes for i in block[:-1] if i.pixels is not None) for block in blocks) < 10_000


def test_exif_orientation_turns_the_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to see it upright
    picture = np.zeros((10, 20, 3), np.uint8)
    picture[:, :4] = 255  # white on the left: upright it is on top
    save(tmp_path / "a.png", Image.fromarray(picture), exif=exif)
    pixels, _ = decode(tmp_path / "a.png", max_pixels=1000)
    assert pixels.shape == (20, 10, 3)
    assert pixels[:4].min() == 255 and pixels[4:].max() == 0


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("1", 1, [255]),
        ("L", 7, [7]),
        ("LA", (7, 0), [255]),
        ("RGB", (1, 2, 3), [1, 2, 3]),
        ("RGBA", (1, 2, 3, 0), [255, 255, 255]),
        ("RGBA", (1, 2, 3, 255), [1, 2, 3]),
        ("P", 0, [0, 0, 0]),
        ("I;16", 0x1234, [0x1234 // 257]),
    ],
)
def test_every_mode_becomes_grey_or_rgb(tmp_path: Path, mode: str, colour, expected: list[int]) -> None:
    save(tmp_path / "a.png", Image.new(mode, (3, 2), colour))
    pixels, found = decode(tmp_path / "a.png", max_pixels=100)
    assert pixels.dtype == np.uint8 and pixels.shape == (2, 3, len(expected))
    assert pixels[0, 0].tolist() == expected
    assert found == mode


def test_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", Image.new("CMYK", (8, 8), (0, 0, 0, 0)))
    pixels, mode = decode(tmp_path / "a.jpg", max_pixels=100)
    assert (pixels.shape, mode, int(pixels.min())) == ((8, 8, 3), "CMYK", 255)


def animated() -> bytes:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(buffer, format="PNG", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def cut() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()[:600]


def gif() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "GIF")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "UnidentifiedImageError"),
        (cut(), "Truncated File Read"),
        (animated(), "animation of 2 frames"),
        (gif(), "identify"),
    ],
)
def test_a_bad_file_is_an_error_text_not_an_exception(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "bad.png").write_bytes(content)
    pixels, mode, error = try_decode(tmp_path / "bad.png", max_pixels=10_000)
    assert pixels is None and mode is None and error is not None
    assert why in error and str(tmp_path) not in error


def test_an_image_with_too_many_pixels_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a.png", Image.new("L", (11, 10)))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    error = try_decode(tmp_path / "a.png", max_pixels=109)[2]
    assert error == "ValueError: 11x10 pixels, more than max_pixels = 109"


def test_rows_are_read_by_index(folder_config: DataConfig, pictures: Path) -> None:
    whole = {image.index: image.pixels for block in read(folder_config, pictures) for image in block}
    (pictures / "cat" / "01.jpg").write_bytes(b"broken")
    some = read_rows(folder_config, pictures, [39, 0, 1])
    assert sorted(some) == [0, 39]
    np.testing.assert_array_equal(some[39], whole[39])
