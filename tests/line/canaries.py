"""Secrets planted in a project, and a search for their bytes in all that a run writes."""

from __future__ import annotations

import base64
import gzip
import sqlite3
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from ganline.integrations.mlflow_audit import read_patch
from ganline.sharing import MAX_BYTES
from tests.line.project import Project, make_project

PLANTED = (
    *(".env", "notes.txt", "src/.secret", "src/ganline/.env", "src/ganline/data/.env", "flows/token.key"),
    *("presets/mine.bak", "src/big.py", "data_private/x.csv", "mlflow/server.env", "expectations/credentials.json"),
    *("src/ganline/notes.txt", "src/ganline/data/dump.db", "sub/.aws/config"),
)
VARIABLES = ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "DATABASE_URL")
REMOTE, MIRROR = "remote", "mirror"
NEW, CHANGED = "src/ganline/newfile.py", "README.md"


def canary(name: str) -> bytes:
    """Bytes that nothing else holds, one a place."""
    return b"CaNaRy" + name.encode().hex().encode() + b"YrAnAc"


CANARIES = {name: canary(name) for name in (*PLANTED, *VARIABLES, REMOTE, MIRROR)}


def plant(project: Project) -> dict[str, str]:
    """Put the canaries into the project. Returns the environment that holds the others."""
    for name in PLANTED:
        (project.root / name).parent.mkdir(parents=True, exist_ok=True)
        padding = b"#" * MAX_BYTES if name == "src/big.py" else b""
        (project.root / name).write_bytes(b"# " + canary(name) + b"\n" + padding)
    url = f"https://user:{canary(REMOTE).decode()}@host.invalid/x.git"
    subprocess.run(["git", "-C", project.root, "remote", "add", "origin", url], check=True)
    # What has to travel.
    (project.root / NEW).write_text("TRAVELS = 'a new file of the code'\n")
    (project.root / CHANGED).write_text((project.root / CHANGED).read_text() + "\nA changed line travels.\n")
    env = {name: canary(name).decode() for name in VARIABLES}
    return env | {"GANLINE_MIRROR": f"https://user:{canary(MIRROR).decode()}@127.0.0.1:9/x"}


def planted_project(folder: Path) -> Project:
    """A tiny project with canaries; all that its commands write lies below `folder`: a home and temporary files too."""
    project = make_project(folder / "project")
    for name in ("home", "tmp"):
        (folder / name).mkdir()
    return replace(project, extra={"HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp")} | plant(project))


def leaks(folder: Path, project: Project) -> list[str]:
    """'CANARY in PLACE' for every place below `folder`, where it was not planted. Compressed content is unpacked."""
    planted = {project.root / name for name in PLANTED} | {project.root / ".git" / "config"}
    found = set()
    for place, content in contents(folder, project, planted):
        for name, secret in CANARIES.items():
            if any(form in content for form in forms(secret)):
                found.add(f"{name} in {place}")
    return sorted(found)


def forms(secret: bytes) -> list[bytes]:
    """The bytes themselves, and as base64 at each of its three alignments."""
    return [secret, *(base64.b64encode(b"x" * shift + secret)[4:-4] for shift in range(3))]


def contents(folder: Path, project: Project, planted: set[Path]) -> Iterator[tuple[str, bytes]]:
    """(place, bytes) of every file, git object, row of a database and member of an archive."""
    for path in sorted(folder.rglob("*")):
        if path in planted or path.is_symlink() or not path.is_file():
            continue
        place, content = path.relative_to(folder).as_posix(), path.read_bytes()
        yield place, content
        yield f"the name {place}", place.encode()
        if content.startswith(b"SQLite format 3"):
            with closing(sqlite3.connect(path)) as database:
                yield f"{place} (rows)", "\n".join(database.iterdump()).encode()
        if content.startswith(b"\x1f\x8b"):
            yield f"{place} (gunzipped)", gzip.decompress(content)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for member in archive.namelist():
                    yield f"{place}/{member}", archive.read(member)
    command = ["git", "-C", project.root, "cat-file", "--batch-all-objects", "--batch"]
    yield "git's objects", subprocess.run(command, capture_output=True, check=True).stdout
    refs = subprocess.run(["git", "-C", project.root, "for-each-ref"], capture_output=True, check=True).stdout
    yield "git's references", refs


def patched_names(package: Path) -> set[str]:
    """Files that the patch of a registered version changes."""
    return {change.name for change in read_patch((package / "replay" / "changes.patch").read_bytes())}


def packages(project: Project) -> list[Path]:
    """Folders of the registered versions in the embedded store."""
    folder = project.root / ".ganline" / "mlflow" / "artifacts"
    return sorted(path.parent for path in folder.rglob("MLmodel"))
