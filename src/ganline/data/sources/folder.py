"""A folder of the user's own pictures: PNG, JPEG, WebP; sub-folders are labels; train/ and test/ are splits.

The folder is copied into data/ (relative names kept), so that the version in DVC is whole and the line never reads
outside the repository. What is skipped is counted and said; what would leave the folder is refused.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import Field
from tqdm import tqdm

from ganline.data.decode import SUFFIXES, try_decode
from ganline.data.sources.base import Block, Plan, RawImage, Source
from ganline.errors import ConfigError, DataError, listed
from ganline.files import sha256_file

BLOCK_IMAGES = 512
BLOCK_BYTES = 64 << 20
SPLITS = ("test", "train")


class ImageFolder(Source):
    """Pictures below `path`. Only fetch needs `path`; everything after it reads the copy in data/."""

    name: Literal["folder"] = "folder"
    path: Path | None = None
    """The folder; `make run DATA=…` fills it in."""
    max_file_mib: int = Field(default=64, ge=1)
    """Larger files are skipped by fetch."""
    max_pixels: int = Field(default=64_000_000, ge=1)
    """Larger images are not decoded: they become rows with an error, which the gate refuses."""

    def plan(self) -> Plan:
        root = self._root()
        names, skipped = find_pictures(root, max_bytes=self.max_file_mib << 20)
        if not names:
            raise DataError(
                f"{root} has no picture that can be used; skipped: {skipped_words(skipped)}",
                expected=f"files that end in {', '.join(SUFFIXES)}",
                remedy="correct data.source.path",
            )
        sums: dict[str, str] = {}
        unreadable: list[str] = []
        for name in tqdm(names, desc="checksums", unit="file", disable=None, leave=False):
            try:
                sums[name] = sha256_file(root / name)
            except OSError as error:
                unreadable.append(f"{name} ({error.strerror})")
        if unreadable:
            raise DataError(
                f"{len(unreadable)} files in {root} cannot be read: {listed(unreadable)}",
                expected="files that this user may read",
                remedy="change their permissions, or move them away",
            )
        return Plan(sums, skipped)

    def class_names(self) -> tuple[str, ...]:
        """From the names of the files alone: without reading them, thousands take no second."""
        names, _ = find_pictures(self._root(), max_bytes=self.max_file_mib << 20)
        splits = has_splits(names)
        return tuple(sorted({label for name in names if (label := place(name, splits=splits)[1]) is not None}))

    def fill(self, names: Collection[str], plan: Plan, staging: Path, *, mirrors: Sequence[str]) -> dict[str, str]:
        root = self._root()
        for name in tqdm(sorted(names), desc="copying", unit="file", disable=None, leave=False):
            target = staging / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, target)
            if sha256_file(target) != plan.files[name]:
                target.unlink()
                raise DataError(
                    f"{name} changed while it was being copied", remedy="run fetch again when the folder is at rest"
                )
        return dict.fromkeys(names, f"folder {root}")

    def read(self, folder: Path, *, only: Collection[int] | None = None) -> Iterator[Block]:
        names = sorted(picture_names(folder))
        splits = has_splits(names)
        wanted = range(len(names)) if only is None else sorted(i for i in only if 0 <= i < len(names))

        def load(index: int) -> RawImage:
            name = names[index]
            split, label = place(name, splits=splits)
            pixels, mode, error = try_decode(folder / name, max_pixels=self.max_pixels)
            return RawImage(index, name, 0, split, label, mode, pixels, error)

        yield from _blocks(load, wanted)

    def _root(self) -> Path:
        if self.path is None:
            raise ConfigError(
                "data.source.path is not set", expected="the folder of pictures", remedy="set data.source.path"
            )
        root = self.path.expanduser()
        if not root.is_dir():
            raise DataError(f"{root} is not a folder", expected="data.source.path names a folder of pictures")
        return root.resolve()


def find_pictures(root: Path, *, max_bytes: int) -> tuple[list[str], dict[str, str]]:
    """Relative names of the pictures below a folder, sorted, and why every other file is left out."""
    names: list[str] = []
    skipped: dict[str, str] = {}
    leaving: list[str] = []

    def unreadable(error: OSError) -> None:
        skipped[Path(error.filename).relative_to(root).as_posix()] = f"its folder cannot be read: {error.strerror}"

    for folder, subfolders, files in os.walk(root, onerror=unreadable):  # links to folders are not followed
        here = Path(folder)
        for entry in (*subfolders, *files):
            path = here / entry
            if path.is_symlink() and leads_out(path, root):
                leaving.append(path.relative_to(root).as_posix())
            elif path.is_symlink() and entry in subfolders:
                skipped[path.relative_to(root).as_posix()] = "a link to a folder"
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for entry in files:
            name = (here / entry).relative_to(root).as_posix()
            if reason := _unfit(here / entry, name, max_bytes=max_bytes):
                skipped[name.encode("utf-8", "backslashreplace").decode()] = reason
            else:
                names.append(name)
    if leaving:
        raise DataError(
            f"{len(leaving)} links lead out of {root}: {listed(leaving)}",
            expected="a folder that holds its own files",
            remedy="put copies in place of the links",
        )
    if has_splits(names):
        outside = [name for name in names if PurePosixPath(name).parts[0] not in SPLITS]
        skipped |= dict.fromkeys(outside, "outside train/ and test/")
        names = [name for name in names if name not in set(outside)]
    return sorted(names), dict(sorted(skipped.items()))


def leads_out(link: Path, root: Path) -> bool:
    """Whether a link ends outside a folder. One that leads nowhere, or where we may not look, is skipped like a bad
    file."""
    try:
        return not link.resolve(strict=True).is_relative_to(root)
    except (OSError, RuntimeError):
        return False


def skipped_words(skipped: Mapping[str, str]) -> str:
    """The first files that are left out, each with its reason; `none` where the folder is empty."""
    return listed([f"{name} ({reason})" for name, reason in skipped.items()]) or "none"


def picture_names(folder: Path) -> Iterator[str]:
    """Relative names of the pictures in a copy that fetch made."""
    for path in folder.rglob("*"):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            yield path.relative_to(folder).as_posix()


def has_splits(names: Collection[str]) -> bool:
    """Whether both train/ and test/ stand at the top."""
    return set(SPLITS) <= {PurePosixPath(name).parts[0] for name in names if "/" in name}


def place(name: str, *, splits: bool) -> tuple[str | None, str | None]:
    """Split and label of a file, by its folders: [SPLIT/][LABEL/]...file."""
    folders = list(PurePosixPath(name).parts[:-1])
    split = folders.pop(0) if splits else None
    return split, (folders[0] if folders else None)


def _unfit(path: Path, name: str, *, max_bytes: int) -> str | None:
    if any(part.startswith(".") for part in PurePosixPath(name).parts):
        return "hidden"
    if path.suffix.lower() not in SUFFIXES:
        return "not PNG, JPEG or WebP"
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "name is not UTF-8"
    if any(ord(character) < 32 or character == "\\" for character in name):
        return "control character or backslash in the name"
    try:
        status = path.stat()
    except OSError:
        return "a link that leads nowhere"
    if not stat.S_ISREG(status.st_mode):
        return "not a plain file"
    if status.st_size > max_bytes:
        return f"larger than {max_bytes >> 20} MiB"
    return None


def _blocks(load: Callable[[int], RawImage], indices: Sequence[int]) -> Iterator[Block]:
    """Load in threads, a few ahead, in order; a block ends at so many images or bytes."""
    workers = min(8, os.cpu_count() or 1)
    block: Block = []
    size = 0
    with ThreadPoolExecutor(workers) as pool:
        ahead: deque[Future[RawImage]] = deque()
        pending = iter(indices)
        while True:
            while len(ahead) < 2 * workers and (index := next(pending, None)) is not None:
                ahead.append(pool.submit(load, index))
            if not ahead:
                break
            image = ahead.popleft().result()
            block.append(image)
            size += 0 if image.pixels is None else image.pixels.nbytes
            if len(block) >= BLOCK_IMAGES or size >= BLOCK_BYTES:
                yield block
                block, size = [], 0
    if block:
        yield block
