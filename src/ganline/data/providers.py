"""Where published files can come from. A provider adopts what it can and says in one line why not the rest."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ganline.data.archives import ProxyFails, PublishedFile, Unavailable, Unreachable, adopt, adopt_members
from ganline.data.download import download, open_session, public
from ganline.network import ProxyDown, check_proxy_for

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)

COMMAND_TIMEOUT_S = 120
OVERHEAD_BYTES = 1 << 20  # a gzip wrapper is hardly ever longer than what it holds; a tar header block is short


@dataclass(frozen=True)
class Provider:
    """A place, and the function that adopts the wanted files from it into a folder or raises Unavailable."""

    name: str
    serve: Callable[[Sequence[PublishedFile], Path], None]


@dataclass(frozen=True)
class Layout:
    """How a data set is usually laid out: folders that its files may be in, and the tar archive that may hold them."""

    folders: tuple[str, ...] = ("",)
    archive: str | None = None
    inside: str = ""  # the folder in the archive
    max_archive_bytes: int = 0

    def members(self, wanted: Iterable[PublishedFile]) -> dict[str, PublishedFile]:
        """Names in the archive, and the file that each is."""
        return {f"{self.inside}/{file.name}": file for file in wanted}

    def places(self, file: PublishedFile) -> list[str]:
        return [f"{folder}/{file.name}{end}".lstrip("/") for folder in self.folders for end in (".gz", "")]


def mirror(location: str, layout: Layout) -> Provider:
    """A folder or an http(s) URL that the user named."""
    if location.startswith(("http://", "https://")):
        base = location.rstrip("/")
        return Provider(f"mirror {public(base)}", lambda wanted, folder: _from_site(base, layout, wanted, folder))
    if "://" in location:
        return Provider(f"mirror {public(location)}", _of_unknown_kind)
    root = Path(location).expanduser()
    return Provider(f"mirror {root}", lambda wanted, folder: _from_folder(root, layout, wanted, folder))


def site(base: str) -> Provider:
    """An official address that serves each file as NAME.gz."""
    layout = Layout()
    return Provider(public(base), lambda wanted, folder: _from_site(base, layout, wanted, folder, ends=(".gz",)))


def archive_site(base: str, layout: Layout) -> Provider:
    """An official address that serves the layout's archive."""

    def serve(wanted: Sequence[PublishedFile], folder: Path) -> None:
        with open_session() as session, _scratch() as scratch:
            _from_archive(session, base, layout, wanted, folder=folder, scratch=scratch)

    return Provider(f"{public(base)}/{layout.archive}", serve)


def installed(root: Path) -> Provider:
    """The files that a package of the operating system put on this machine."""
    return Provider(f"installed files {root}", lambda wanted, folder: _from_folder(root, Layout(), wanted, folder))


def debian_package(package: str, inside: str) -> Provider:
    """A package of Debian or Ubuntu, downloaded by apt (which checks its signature) and unpacked, not installed."""

    def serve(wanted: Sequence[PublishedFile], folder: Path) -> None:
        if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
            raise Unavailable("this system has no apt-get")
        with _scratch() as scratch:
            deb = _apt_download(package, scratch)
            log.info("unpacking %s from %s (nothing is installed)", ", ".join(f.name for f in wanted), deb.name)
            tar = scratch / "content.tar"
            with tar.open("wb") as target:
                _command(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=target)
            with tar.open("rb") as stream:
                adopt_members(stream, {f"{inside}/{file.name}.gz": file for file in wanted}, folder)

    return Provider(f"apt package {package}", serve)


def _of_unknown_kind(wanted: Sequence[PublishedFile], folder: Path) -> None:
    raise Unavailable("a mirror is a folder, or a URL that begins with http:// or https://")


def _from_folder(root: Path, layout: Layout, wanted: Sequence[PublishedFile], folder: Path) -> None:
    if not root.is_dir():
        raise Unavailable("no such folder")

    def take(file: PublishedFile) -> None:
        problems = []
        for path in (root / place for place in layout.places(file)):
            if not path.is_file():
                continue
            try:
                with path.open("rb") as stream:
                    adopt(stream, file, folder)
                return
            except (Unavailable, OSError) as problem:
                problems.append(f"{path}: {problem}")
        raise Unavailable("; ".join(problems) or f"has no {file.name} (nor .gz)")

    missing, problems = _each(wanted, take)
    if missing and layout.archive and (root / layout.archive).is_file():
        with (root / layout.archive).open("rb") as stream:
            adopt_members(stream, layout.members(missing), folder)
    elif problems:
        raise Unavailable("; ".join(problems))


def _from_site(
    base: str,
    layout: Layout,
    wanted: Sequence[PublishedFile],
    folder: Path,
    *,
    ends: tuple[str, ...] = (".gz", ""),
) -> None:
    with open_session() as session, _scratch() as scratch:

        def take(file: PublishedFile) -> None:
            problems = []
            for place in layout.places(file):
                if not place.endswith(ends):
                    continue
                path = scratch / "download"
                try:
                    limit = file.num_bytes + OVERHEAD_BYTES
                    download(session, f"{base}/{place}", path, max_bytes=limit)
                    with path.open("rb") as stream:
                        adopt(stream, file, folder)
                    return
                except Unreachable:
                    raise
                except Unavailable as problem:
                    problems.append(str(problem))
            raise Unavailable(problems[-1])

        missing, problems = _each(wanted, take)
        if missing and layout.archive:
            _from_archive(session, base, layout, missing, folder=folder, scratch=scratch)
        elif problems:
            raise Unavailable("; ".join(problems))


def _from_archive(
    session: requests.Session,
    base: str,
    layout: Layout,
    wanted: Sequence[PublishedFile],
    *,
    folder: Path,
    scratch: Path,
) -> None:
    path = scratch / "archive"
    download(session, f"{base}/{layout.archive}", path, max_bytes=layout.max_archive_bytes)
    with path.open("rb") as stream:
        adopt_members(stream, layout.members(wanted), folder)


def _each(
    wanted: Iterable[PublishedFile], take: Callable[[PublishedFile], None]
) -> tuple[list[PublishedFile], list[str]]:
    """Take every file that can be had; return the others and why. An unreachable place is asked once."""
    missing, problems = [], []
    for file in wanted:
        try:
            take(file)
        except Unreachable:
            raise
        except Unavailable as problem:
            missing.append(file)
            problems.append(str(problem))
    return missing, problems


def _apt_download(package: str, scratch: Path) -> Path:
    try:
        check_proxy_for("http://deb.debian.org")  # apt asks several servers, and each would wait for the same proxy
    except ProxyDown as error:
        raise ProxyFails(str(error), error.variable) from error
    download_it = ["apt-get", "download", package]
    log.info("running %s in a temporary folder", " ".join(download_it))
    try:
        _command(_impatient(download_it), cwd=scratch)
    except Unavailable:
        if os.geteuid() != 0:
            raise
        log.info("running apt-get update once: the package lists may be missing or old")
        _command(_impatient(["apt-get", "update"]), cwd=scratch)
        _command(_impatient(download_it), cwd=scratch)
    found = sorted(scratch.glob("*.deb"))
    if len(found) != 1:
        raise Unavailable(f"apt-get download left {len(found)} packages")
    return found[0]


def _impatient(command: list[str]) -> list[str]:
    options = ("Acquire::Retries=1", "Acquire::http::Timeout=5", "Acquire::https::Timeout=5", "APT::Sandbox::User=root")
    return [command[0], *(part for option in options for part in ("-o", option)), *command[1:]]


def _command(command: list[str], *, cwd: Path | None = None, stdout: IO[bytes] | int = subprocess.DEVNULL) -> None:
    environment = os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, cwd=cwd, stdout=stdout, stderr=subprocess.PIPE, timeout=COMMAND_TIMEOUT_S, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{command[0]}: {error}") from error
    if done.returncode:
        lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.startswith("E:")]
        raise Unavailable(f"{command[0]} failed: {lines[0] if lines else f'exit status {done.returncode}'}")


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ganline-") as folder:
        yield Path(folder)
