"""Atomic, durable writes and content hashes: the only place that creates files which must survive a kill."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def sha256_file(path: Path, *, chunk: int = 1 << 20) -> str:
    """Hex sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(chunk):
            digest.update(block)
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    """Hex sha256 of a JSON-able value in canonical form (sorted keys, no white space)."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sha256_tree(folder: Path, *, pattern: str = "**/*") -> str:
    """Hex sha256 over the relative names and bytes of all files below a folder, in sorted order."""
    listing = {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.glob(pattern))
        if path.is_file() and "__pycache__" not in path.parts
    }
    return sha256_json(listing)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries (names) to disk, so that a rename in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling to write to; on success fsync it and rename it onto `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays the same: writers such as numpy and Pillow choose the format by it.
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with atomic_path(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write a UTF-8 text file atomically, with Unix line ends."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, in one canonical form: two equal values give two equal files."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def fresh_folder(path: Path) -> Path:
    """Make an empty folder, removing what was there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling folder to fill; on success its files are fsynced and it takes the place of `path`.

    Killed between the two renames, the old folder lies beside as `.previous-NAME`; the next call puts it back first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    previous = path.with_name(f".previous-{path.name}")
    if previous.exists() and not path.exists():
        previous.replace(path)
    shutil.rmtree(previous, ignore_errors=True)
    partial = fresh_folder(path.with_name(f".partial-{path.name}"))
    try:
        yield partial
        for file in partial.rglob("*"):
            if file.is_file():
                with file.open("rb") as handle:
                    os.fsync(handle.fileno())
        if path.exists():
            path.replace(previous)
        partial.replace(path)
        sync_folder(path.parent)
        shutil.rmtree(previous, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
