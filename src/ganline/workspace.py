"""Where a line runs: in the checkout, or isolated in a git worktree under .ganline/ws that leaves it untouched."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from ganline.config import PARAMS, merge, parse, read_yaml
from ganline.errors import ConfigError, WorkspaceError
from ganline.files import write_text
from ganline.home import home
from ganline.lineage import SNAPSHOT_MESSAGE

log = logging.getLogger(__name__)

# What a workspace makes for itself and keeps when its code is refreshed from the checkout.
OWN_FILES = ("data.dvc", "dvc.lock", "expectations/previous.json")
NOBODY = ("-c", "user.name=ganline", "-c", "user.email=ganline@localhost")


@dataclass(frozen=True)
class Workspace:
    """`root` holds params.yaml, dvc.yaml, data/ and artifacts/; `home` the state that all workspaces share."""

    root: Path
    home: Path
    name: str = "checkout"

    def environment(self) -> dict[str, str]:
        """Environment of every process that works here: its own code first, the shared state, this venv's tools."""
        bin_folder = str(Path(sys.executable).parent)
        path = os.pathsep.join([bin_folder, os.environ.get("PATH", "")])
        return os.environ | {
            "GANLINE_HOME": str(self.home),
            "PYTHONPATH": str(self.root / "src"),
            "PATH": path,
            "PYTHONUNBUFFERED": "1",
        }


def git(root: Path, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Output of a git command that must work. Raises WorkspaceError with git's own words."""
    command = ["git", "-C", str(root), *NOBODY, *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    except FileNotFoundError as error:
        raise WorkspaceError(
            "git is not installed", remedy="install git, for instance `apt-get install git`"
        ) from error
    if result.returncode:
        raise WorkspaceError(f"git {arguments[0]} failed in {root}: {result.stderr.strip()}")
    return result.stdout.strip()


def checkout(start: Path | None = None) -> Workspace:
    """The checkout that a folder lies in. Raises WorkspaceError where there is none or it is no project of ours."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "dvc.yaml").is_file() and (folder / PARAMS).is_file():
            break
    else:
        raise WorkspaceError(f"{start} is not in a ganline project", expected="a folder with dvc.yaml and params.yaml")
    if not (folder / ".git").exists():
        raise WorkspaceError(
            f"{folder} is not a git repository (an unpacked archive?)",
            expected="a git clone: DVC versions the data beside the code",
            remedy="`git clone` the project, or here: git init && git add -A && git commit -m start",
        )
    return Workspace(folder, home(folder))


def isolated(base: Workspace, name: str, overlay: Mapping[str, Any]) -> Workspace:
    """A worktree with the checkout's present code, params.yaml merged with `overlay`, its own data and dvc.lock."""
    root = base.home / "ws" / name
    content = merge(read_yaml(base.root / PARAMS), dict(overlay))
    parse(content, source=f"{PARAMS} with {name}")
    snapshot = take_snapshot(base.root)
    git(base.root, "worktree", "prune")
    if (root / ".git").exists():
        kept = {file: (root / file).read_bytes() for file in OWN_FILES if (root / file).exists()}
        git(root, "checkout", "--detach", "--force", snapshot)
    else:
        if root.exists():
            shutil.rmtree(root)
        root.parent.mkdir(parents=True, exist_ok=True)
        git(base.root, "worktree", "add", "--detach", "--force", str(root), snapshot)
        kept = {"expectations/previous.json": b"{}\n"}
    for file in OWN_FILES:
        (root / file).unlink(missing_ok=True)
        if file in kept:
            (root / file).write_bytes(kept[file])
    write_text(root / PARAMS, yaml.safe_dump(content, sort_keys=False))
    share_cache(base.root, root)
    return Workspace(root, base.home, name)


def take_snapshot(root: Path) -> str:
    """A commit of the working tree as it is (ignored files left out), without touching index, HEAD or branches."""
    head = git(root, "rev-parse", "--verify", "HEAD")
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        git(root, "read-tree", "HEAD", env=env)
        git(root, "add", "--all", env=env)
        tree = git(root, "write-tree", env=env)
    if tree == git(root, "rev-parse", "HEAD^{tree}"):
        return head
    return git(root, "commit-tree", tree, "-p", head, "-m", SNAPSHOT_MESSAGE)


def share_cache(base: Path, root: Path) -> None:
    """Let a workspace use the checkout's DVC cache, so that equal results are computed once."""
    cache = base / ".dvc" / "cache"
    write_text(root / ".dvc" / "config.local", f"[cache]\n    dir = {cache}\n")


@contextmanager
def hold(workspace: Workspace) -> Iterator[None]:
    """One line at a time in a workspace. The holder clears locks that a killed DVC left behind."""
    folder = workspace.home / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{workspace.name}.lock")
    try:
        lock.acquire(timeout=2)
    except Timeout as error:
        raise WorkspaceError(
            f"another ganline run works in {workspace.root}", remedy="wait for it to end, or stop it and run again"
        ) from error
    try:
        for stale in ("tmp/rwlock", "tmp/lock"):
            (workspace.root / ".dvc" / stale).unlink(missing_ok=True)
        yield
    finally:
        lock.release()


def preset_overlay(base: Workspace, name: str) -> dict[str, Any]:
    """presets/NAME.yaml. Raises ConfigError naming those that exist."""
    path = base.root / "presets" / f"{name}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in (base.root / "presets").glob("*.yaml"))
        raise ConfigError(f"there is no preset {name!r}", expected="one of " + ", ".join(known))
    return read_yaml(path)


def folder_overlay(base: Workspace, data: Path, resolution: int | None) -> tuple[str, dict[str, Any]]:
    """Workspace name and overlay for any folder of images."""
    data = data.expanduser().resolve()
    if not data.is_dir():
        raise ConfigError(f"DATA={data} is not a folder", expected="a folder of PNG, JPEG or WebP images")
    overlay = preset_overlay(base, "folder")
    side = resolution or overlay["prepare"]["resolution"]
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in data.name.lower()).strip("-") or "images"
    found = {"data": {"source": {"name": "folder", "path": str(data)}}, "prepare": {"resolution": side}}
    return f"folder-{name}-{side}", merge(overlay, found | {"register": {"name": f"ganline-{name}"}})
