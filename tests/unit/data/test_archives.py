"""Compressed files and archives from outside: only expected bytes, only expected members."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from ganline.data import archives
from ganline.data.archives import PublishedFile, Unavailable, adopt, adopt_members

CONTENT = bytes(range(256)) * 20
FILE = PublishedFile("numbers", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


def tar(members: dict[str, bytes | None], mode: str = "w:gz") -> io.BytesIO:
    """A tar of plain files; None makes a symbolic link to /etc/passwd."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content or b""))
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize("wrap", [bytes, gzip.compress])
def test_plain_and_compressed_give_the_same_file(tmp_path: Path, wrap) -> None:
    adopt(io.BytesIO(wrap(CONTENT)), FILE, tmp_path)
    assert (tmp_path / "numbers").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (CONTENT[:-1] + b"x", "damaged"),
        (CONTENT[:-1], "damaged"),
        (CONTENT + b"x", "longer"),
        (gzip.compress(bytes(50_000_000)), "longer"),
        (gzip.compress(CONTENT)[:-9], "cannot be read"),
        (b"\x1f\x8bnonsense", "cannot be read"),
    ],
)
def test_other_bytes_are_refused_and_leave_nothing(tmp_path: Path, stream: bytes, why: str) -> None:
    with pytest.raises(Unavailable, match=why):
        adopt(io.BytesIO(stream), FILE, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_bomb_is_read_no_further_than_one_byte_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = 0

    class Counting(gzip.GzipFile):
        def read(self, size: int | None = -1) -> bytes:
            nonlocal taken
            block = super().read(size)
            taken += len(block)
            return block

    monkeypatch.setattr(archives.gzip, "GzipFile", Counting)
    with pytest.raises(Unavailable, match="longer"):
        adopt(io.BytesIO(gzip.compress(bytes(50_000_000))), FILE, tmp_path)
    assert taken == FILE.num_bytes + 1


def test_only_named_members_leave_an_archive(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    hostile = {"../escaped": b"x", "/absolute": b"x", "set/other": b"x", "set/../../up": b"x", "set/numbers": CONTENT}
    adopt_members(tar(hostile), {"set/numbers": FILE}, inner)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["numbers"]


def test_a_link_in_the_place_of_a_member_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="not a plain file"):
        adopt_members(tar({"set/numbers": None}), {"set/numbers": FILE}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_archive_with_too_many_members_is_refused(tmp_path: Path) -> None:
    crowd: dict[str, bytes | None] = {f"set/{number}": b"" for number in range(archives.MAX_MEMBERS + 1)}
    with pytest.raises(Unavailable, match="more than 64 members"):
        adopt_members(tar({**crowd, "set/numbers": CONTENT}), {"set/numbers": FILE}, tmp_path)


def test_an_archive_that_announces_too_many_bytes_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("set/huge")
    info.size = 1 << 40
    with pytest.raises(Unavailable, match="bytes"):
        adopt_members(io.BytesIO(info.tobuf()), {"set/numbers": FILE}, tmp_path)


def test_damaged_and_missing_members_are_both_named(tmp_path: Path) -> None:
    absent = PublishedFile("absent", FILE.sha256, FILE.num_bytes)
    members = {"set/numbers": FILE, "set/absent": absent}
    with pytest.raises(Unavailable, match=r"numbers is damaged.*has no set/absent"):
        adopt_members(tar({"set/numbers": CONTENT[::-1]}), members, tmp_path)


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be read"):
        adopt_members(io.BytesIO(b"<html>not found</html>"), {"set/numbers": FILE}, tmp_path)
