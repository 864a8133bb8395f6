"""Reading compressed files and archives from outside: only what is expected, never more bytes than announced."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

MAX_MEMBERS = 64
CHUNK = 1 << 20


class Unavailable(Exception):
    """A provider does not have a file, or has it with other bytes. Its text is one line for the user."""


class Unreachable(Unavailable):
    """A provider cannot be reached at all: asking it for the next file is no use."""


class ProxyFails(Unreachable):
    """The proxy that `variable` names does not pass on what is asked of it."""

    def __init__(self, text: str, variable: str):
        super().__init__(text)
        self.variable = variable


@dataclass(frozen=True)
class PublishedFile:
    """A file whose decompressed bytes are known in advance."""

    name: str
    sha256: str
    num_bytes: int


def adopt(stream: IO[bytes], file: PublishedFile, folder: Path) -> None:
    """Copy a stream (gzip or plain) to `folder/file.name` if its decompressed bytes are the published ones.

    At most one byte more than announced is read: a decompression bomb ends there.
    """
    partial = folder / f".partial-{file.name}"
    digest, size = hashlib.sha256(), 0
    try:
        with _decompressed(stream) as plain, partial.open("wb") as target:
            while size <= file.num_bytes and (block := plain.read(min(CHUNK, file.num_bytes + 1 - size))):
                digest.update(block)
                target.write(block)
                size += len(block)
            target.flush()
            os.fsync(target.fileno())
        if size > file.num_bytes:
            raise Unavailable(f"{file.name} is longer than {file.num_bytes} bytes")
        if digest.hexdigest() != file.sha256:
            found = f"{size} bytes with sha256 {digest.hexdigest()[:12]}"
            raise Unavailable(f"{file.name} is damaged: {found}, not {file.num_bytes} with {file.sha256[:12]}")
        partial.replace(folder / file.name)
    except (OSError, EOFError, zlib.error) as error:
        raise Unavailable(f"{file.name} cannot be read: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def adopt_members(archive: IO[bytes], members: Mapping[str, PublishedFile], folder: Path) -> None:
    """Adopt the named members of a tar (plain or compressed) and nothing else; every problem is named at the end."""
    missing = dict(members)
    limit = 4 * sum(file.num_bytes for file in missing.values()) + (256 << 20)
    problems: list[str] = []
    seen = 0
    try:
        # A stream, so that members which are not wanted are skipped and never held; r|* finds the compression.
        with tarfile.open(fileobj=archive, mode="r|*") as tar:
            for count, member in enumerate(tar):
                seen += member.size
                if count >= MAX_MEMBERS or seen > limit:
                    raise Unavailable(f"the archive has more than {MAX_MEMBERS} members or {limit} bytes")
                if (file := missing.pop(member.name.removeprefix("./"), None)) is None:
                    continue
                content = tar.extractfile(member) if member.isreg() else None
                if content is None:
                    problems.append(f"{member.name} is not a plain file")
                    continue
                try:
                    adopt(content, file, folder)
                except Unavailable as problem:
                    problems.append(str(problem))
                if not missing:
                    break
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        problems.append(f"the archive cannot be read: {error}")
    problems += [f"the archive has no {name}" for name in missing]
    if problems:
        raise Unavailable("; ".join(problems))


def _decompressed(stream: IO[bytes]) -> IO[bytes]:
    """The stream itself, or what its gzip wrapper holds; told by its first two bytes, not by its name."""
    buffered = io.BufferedReader(stream, CHUNK)  # type: ignore[type-var]
    return gzip.GzipFile(fileobj=buffered) if buffered.peek(2)[:2] == b"\x1f\x8b" else buffered  # type: ignore[return-value]
