"""Files that a user names with -o: refused before the work starts where they cannot be written."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from ganline.errors import ConfigError


def check_output(output: Path, *, suffixes: Collection[str], folder: bool = False) -> None:
    """Raise ConfigError unless a file with one of these suffixes (or a new folder) can be made at `output`."""
    suffix = output.suffix.lower()
    if suffix not in suffixes and (suffix or not folder):
        names = f"a name ending in {' or '.join(suffixes)}" + (", or a folder" if folder else "")
        raise ConfigError(f"cannot write {output}", expected=names, remedy="name another file")
    with written(output):  # a name that is too long, a folder that may not be searched
        check_place(output, is_file=suffix in suffixes)


def check_place(output: Path, *, is_file: bool) -> None:
    """Raise ConfigError unless a file, or else a new folder, can be made at `output`."""
    if is_file and output.is_dir():
        raise ConfigError(f"{output} is a folder", expected="a file", remedy="name another file")
    if not is_file and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(f"{output} exists and is not an empty folder", remedy="name a new folder")
    there = next(parent for parent in output.absolute().parents if parent.exists())
    if not there.is_dir():
        raise ConfigError(
            f"cannot write {output}: {there} is a file",
            expected="a folder to write into",
            remedy="name a file in a folder",
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(
            f"cannot write {output}: {there} is not yours to write", remedy="name a file in a folder that is"
        )


@contextmanager
def written(output: Path) -> Iterator[None]:
    """What the system refuses meanwhile (no space, a read-only disk) as ConfigError."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"cannot write {output}: {error.strerror or error}", remedy="make room, or name another place"
        ) from error
