"""`data/SHA256SUMS`: the names and sha256 of all other files of the data set, in the format of sha256sum."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from ganline.data.config import DataConfig
from ganline.errors import DataError
from ganline.files import sha256_file, write_text

SUMS = "SHA256SUMS"
SHOWN = 20
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def write_sums(folder: Path, files: Mapping[str, str]) -> None:
    """Write SHA256SUMS, sorted by name: `cd data && sha256sum -c SHA256SUMS` checks it without ganline."""
    write_text(folder / SUMS, "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(files.items())))


def read_sums(folder: Path) -> dict[str, str]:
    """{name: sha256} as SHA256SUMS says; empty where there is none or a line of it is not readable."""
    path = folder / SUMS
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    matches = [_LINE.fullmatch(line) for line in lines if line]
    return {match[2]: match[1] for match in matches if match} if all(matches) else {}


def list_files(folder: Path) -> list[str]:
    """Relative names of everything below a folder but SHA256SUMS, sorted; links to folders count as files."""
    names = []
    for here, subfolders, files in os.walk(folder):
        links = [name for name in subfolders if (Path(here) / name).is_symlink()]
        names += [(Path(here) / name).relative_to(folder).as_posix() for name in (*files, *links)]
    return sorted(name for name in names if name != SUMS)


def present(folder: Path, name: str) -> str | None:
    """sha256 of a file, None where there is no such file."""
    path = folder / name
    return sha256_file(path) if path.is_file() else None


def verify(config: DataConfig, folder: Path) -> dict[str, str]:
    """Compare every byte of `folder` with SHA256SUMS and with the source's pinned checksums; return {name: sha256}.

    Raises one DataError that names each damaged, missing and unexpected file.
    """
    recorded = read_sums(folder)
    if not recorded:
        state = "has no readable" if folder.is_dir() else "does not exist, so there is no"
        raise DataError(f"{folder} {state} {SUMS}", expected="a fetched data set", remedy="run `ganline fetch`")
    pinned = config.source.pinned
    expected = recorded if pinned is None else pinned
    found = {name: present(folder, name) for name in list_files(folder)}
    problems = [f"missing: {name}" for name in expected if name not in found]
    for name, sha256 in found.items():
        if name not in expected:
            problems.append(f"unexpected: {name} (not part of {config.source.name})")
        elif sha256 != expected[name]:
            problems.append(f"damaged: {name} (sha256 {str(sha256)[:12]}, expected {expected[name][:12]})")
    if recorded != expected:
        problems.append(f"{SUMS} lists other files or checksums than {config.source.name} has")
    if problems:
        raise DataError(
            f"{folder} is not the data set {config.source.name}:{bullets(problems)}",
            expected="every file as published or as last fetched, and no other",
            remedy="`ganline fetch` repairs it (`ganline fetch --accept` where the change is meant)",
        )
    return expected


def bullets(lines: list[str]) -> str:
    """The first lines as an indented list, and how many more there are."""
    more = [f"... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "".join(f"\n    {line}" for line in lines[:SHOWN] + more)
