"""Where a line runs: in the checkout, or isolated in a git worktree under .ganline/ws that leaves it untouched."""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from ganline.config import PARAMS, Config, parse, read_yaml
from ganline.doctor import MOVE
from ganline.environment import SAFE_PATH, cache_folders
from ganline.errors import ConfigError, GanlineError, WorkspaceError
from ganline.files import write_text
from ganline.git import git
from ganline.home import admin_folder, checkout_around, home, is_held, is_stale, main_checkout, require_usable
from ganline.integrations.dvc_repo import share_cache
from ganline.overlay import merge
from ganline.sharing import describe_left_out
from ganline.snapshot import DVC_WRITES, SNAPSHOT_MESSAGE, stage_changes, temporary_index
from ganline.where_set import is_isolated, preset_file, value

log = logging.getLogger(__name__)

# What a workspace makes for itself and keeps when its code is refreshed from the checkout.
PREVIOUS = "expectations/previous.json"
MADE_ANEW = "# Made anew by each run from the checkout's params.yaml and presets/: change those, not this.\n"
NAME = re.compile("[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
FOLDERS = ("data.source.path", "captions.encoder.path")
"""Keys of params.yaml that name a folder of the user's."""
MAX_OWN_NAME = 60
"""Characters of a folder's name that its model's name keeps."""


@dataclass(frozen=True)
class Workspace:
    """`root` holds params.yaml, dvc.yaml, data/ and artifacts/; `home` the state that all workspaces share."""

    root: Path
    home: Path
    name: str = "checkout"

    def beside(self, name: str) -> Workspace:
        """The isolated workspace of this name; `isolate` makes it."""
        return Workspace(self.home / "ws" / name, self.home, name)

    def environment(self) -> dict[str, str]:
        """Environment of every process that works here: its own code first, the shared state, this venv's tools."""
        bin_folder = str(Path(sys.executable).parent)
        path = os.pathsep.join([bin_folder, os.environ.get("PATH", "")])
        return (
            cache_folders(self.home)
            | SAFE_PATH
            | os.environ
            | {
                "GANLINE_HOME": str(self.home),
                "PYTHONPATH": str(self.root / "src"),
                "PATH": path,
                "PYTHONUNBUFFERED": "1",
            }
        )


def checkout(start: Path | None = None) -> Workspace:
    """The checkout that a folder lies in. Raises WorkspaceError where there is none or it is no project of ours."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "dvc.yaml").is_file() and (folder / PARAMS).is_file():
            break
    else:
        raise WorkspaceError(
            f"{start} is not in a ganline project",
            expected="a folder with dvc.yaml and params.yaml",
            remedy="go to the project's folder (cd), and run the same command again",
        )
    if not (folder / ".git").exists():
        raise WorkspaceError(
            f"{folder} is not a git repository (an unpacked archive?)",
            expected="a git clone: DVC versions the data beside the code",
            remedy="`git clone` the project, or here: git init && git add -A && git commit -m start",
        )
    require_usable(folder, MOVE)
    workspace = Workspace(folder, home(folder))
    adopt_workspaces(workspace.home)
    return workspace


def adopt_workspaces(state: Path) -> None:
    """Workspaces that came with a moved or copied checkout become its own, else git and DVC write into the original."""
    main = state.parent
    for pointer in state.glob("ws/*/.git"):
        if pointer.is_file() and is_stale(pointer) and checkout_around(pointer.parent) == main:
            connect(pointer, main / ".git")
            share_cache(main, pointer.parent)


def connect(pointer: Path, repository: Path) -> None:
    """Make a workspace a worktree of this repository again; one that it does not know is left to be made anew."""
    admin = repository / "worktrees" / admin_folder(pointer).name
    known = admin / "gitdir"
    other = Path(known.read_text(encoding="utf-8").strip()) if known.is_file() else None
    if other is None or (other != pointer and other.is_file() and admin_folder(other).resolve() == admin.resolve()):
        pointer.unlink()
        return
    log.info("the workspace %s came with a moved or copied checkout: it is connected anew", pointer.parent.name)
    write_text(known, f"{pointer}\n")
    write_text(pointer, f"gitdir: {admin}\n")


def common_folder(root: Path) -> Path:
    """The repository that a checkout or worktree shares."""
    return (root / git(root, "rev-parse", "--git-common-dir")).resolve()


def check_code(workspace: Workspace) -> None:
    """Raise WorkspaceError where this process runs the code of another checkout: an environment that was copied too."""
    code = Path(__file__).resolve().parents[2]
    if (code / PARAMS).is_file() and main_checkout(code) != main_checkout(workspace.root):
        raise WorkspaceError(
            f"this ganline is that of {code}, and {workspace.root} is another checkout",
            expected="the environment of the checkout that it works in",
            remedy="call it through make (make run, make ui, …), which makes an environment here",
        )


def isolate(base: Workspace, workspace: Workspace, overlay: Mapping[str, Any]) -> None:
    """Bring a held workspace up to the checkout's present code, and params.yaml merged with `overlay`.

    Its own data version and dvc.lock are not part of the snapshot: git never touches them.
    """
    root = workspace.root
    content = merged_params(base, overlay)
    check_params(base, workspace, content)
    repository = common_folder(base.root)
    if (root / ".git").is_file() and is_stale(root / ".git"):
        connect(root / ".git", repository)
    git(base.root, "worktree", "prune")
    if (root / ".git").is_file():
        if (owner := common_folder(root)) != repository:
            raise WorkspaceError(
                f"{root} is a workspace of {owner.parent}, not of {base.root}",
                remedy="run it there, or give this checkout a GANLINE_HOME of its own (or none)",
            )
        keep_pin(read_yaml(root / PARAMS) if (root / PARAMS).exists() else {}, content)
        for left in ("index.lock", "HEAD.lock"):  # of a killed git
            Path(git(root, "rev-parse", "--git-path", left)).unlink(missing_ok=True)
        git(root, "checkout", "--detach", "--force", take_snapshot(base.root, content))
    else:
        if root.exists():
            shutil.rmtree(root)
        root.parent.mkdir(parents=True, exist_ok=True)
        # Twice: also over a worktree whose making was cut short.
        git(
            base.root, "worktree", "add", "--force", "--force", "--detach", str(root), take_snapshot(base.root, content)
        )
    if not (root / PREVIOUS).exists():
        write_text(root / PREVIOUS, "{}\n")
    write_text(root / PARAMS, MADE_ANEW + yaml.safe_dump(content, sort_keys=False))
    share_cache(base.root, root)


def merged_params(base: Workspace, overlay: Mapping[str, Any]) -> dict[str, Any]:
    """The checkout's params.yaml with an overlay: what a workspace's will hold. Relative folders lie in the checkout,
    and the workspace is another place: they become absolute."""
    content = merge(read_yaml(base.root / PARAMS), dict(overlay))
    for key in FOLDERS:
        folder = value(content, key)
        if isinstance(folder, str):
            nested: Any = str((base.root / Path(folder).expanduser()).resolve())
            for part in reversed(key.split(".")):
                nested = {part: nested}
            content = merge(content, nested)
    return content


def check_params(base: Workspace, workspace: Workspace, content: dict[str, Any]) -> Config:
    """What a workspace's params.yaml will hold, as Config. Raises ConfigError naming the files that it comes from."""
    preset = preset_file(workspace.root, base.root)
    return parse(content, source=f"{PARAMS} with presets/{preset.name}" if preset else PARAMS)


def keep_pin(old: Mapping[str, Any], new: dict[str, Any]) -> None:
    """Carry over the bundle that an earlier fetch pinned for the same `train.init_from.model`."""
    before, now = ((params.get("train") or {}).get("init_from") or {} for params in (old, new))
    if now and now.get("bundle") is None and before.get("model") == now.get("model"):
        now["bundle"] = before.get("bundle")


def take_snapshot(root: Path, params: Mapping[str, Any]) -> str:
    """A commit of the working tree as it is, without touching index, HEAD or branches.

    Only what may travel is taken (see sharing.py). The checkout's own data version and the source folder of pictures
    (should it lie here) stay out.
    """
    head = git(root, "rev-parse", "--verify", "HEAD")
    with temporary_index() as env:
        left_out = stage_changes(root, head, env, apart=[*DVC_WRITES, *pictures_within(root, params)])
        git(root, "rm", "--cached", "--quiet", "--ignore-unmatch", "--", *DVC_WRITES, env=env)
        tree = git(root, "write-tree", env=env)
    if left_out:
        log.info("left out of the workspace: %s", describe_left_out(left_out))
    return git(root, "commit-tree", tree, "-p", head, "-m", SNAPSHOT_MESSAGE)


def pictures_within(root: Path, params: Mapping[str, Any]) -> list[str]:
    """The source folder of pictures, relative to the checkout, if it lies in it."""
    pictures = Path(str(params["data"]["source"].get("path") or root.parent))
    return [pictures.relative_to(root).as_posix()] if pictures != root and pictures.is_relative_to(root) else []


@contextmanager
def hold(workspace: Workspace) -> Iterator[None]:
    """One line at a time in a workspace. The holder clears locks that a killed DVC left behind.

    Errors from within are about this workspace.
    """
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
        for name in ("data.dvc", "dvc.lock"):
            drop_if_torn(workspace.root / name)
        yield
    except GanlineError as error:
        error.root = error.root or workspace.root
        raise
    finally:
        lock.release()


def others_at_work(root: Path) -> bool:
    """Whether a line runs in another workspace than `root` of the same home."""
    own = Workspace(root, home(root), root.name) if is_isolated(root) else Workspace(root, home(root))
    return any(is_held(lock) for lock in (own.home / "locks").glob("*.lock") if lock.stem != own.name)


def drop_if_torn(path: Path) -> None:
    """DVC rewrites its files in place: one that a kill cut short is removed, and made again from what it describes."""
    try:
        whole = isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)
    except FileNotFoundError:
        return
    except (yaml.YAMLError, UnicodeDecodeError):
        whole = False
    if not whole:
        log.warning("%s was cut short by a kill: it is made again", path.name)
        path.unlink()


def preset_overlay(base: Workspace, name: str) -> dict[str, Any]:
    """presets/NAME.yaml. Raises ConfigError naming those that exist."""
    path = base.root / "presets" / f"{name}.yaml"
    if not NAME.fullmatch(name) or not path.is_file():
        known = sorted(file.stem for file in (base.root / "presets").glob("*.yaml"))
        raise ConfigError(f"there is no preset {name!r}", expected="one of " + ", ".join(known))
    return read_yaml(path)


def folder_overlay(base: Workspace, data: Path, resolution: int | None, name: str | None) -> tuple[str, dict[str, Any]]:
    """Workspace name and overlay for any folder of images. Another folder of the same name must be given a `name`."""
    data = data.expanduser().resolve()
    if not data.is_dir():
        raise ConfigError(
            f"DATA={data} is not a folder",
            expected="a folder of PNG, JPEG or WebP images",
            remedy="correct the path; a relative one starts at the present folder",
        )
    if base.root.is_relative_to(data):
        raise ConfigError(
            f"DATA={data} holds the project itself ({base.root})",
            expected="a folder of images only",
            remedy="name the folder in which the images lie",
        )
    if any("\ud800" <= character <= "\udfff" for character in str(data)):
        raise ConfigError(
            f"DATA={str(data)!a}: its name is not UTF-8, and configuration files cannot hold it",
            remedy="rename the folder, or name a link to it",
        )
    if name is not None and not NAME.fullmatch(name):
        raise ConfigError(f"NAME={name} cannot name a model", expected="at most 100 letters, digits, - and _")
    overlay = preset_overlay(base, "folder")
    side = overlay["prepare"]["resolution"] if resolution is None else resolution
    name = name or plain_name(data.name)
    workspace = base.beside(f"folder-{name}-{side}")
    there = workspace.root / PARAMS
    used_by = read_yaml(there)["data"]["source"].get("path") if there.exists() else None
    if used_by not in (None, str(data)):
        raise ConfigError(
            f"{used_by} is already known as {name!r}, and {data} is another folder",
            expected="one name a folder: models of two data sets must not become versions of one model",
            remedy=f"name this one: make run DATA={shlex.quote(str(data))} NAME=another-name",
        )
    found = {"data": {"source": {"name": "folder", "path": str(data)}}, "prepare": {"resolution": side}}
    return workspace.name, merge(overlay, found | {"register": {"name": f"ganline-{name}"}})


def plain_name(text: str) -> str:
    """'My pictures!' -> 'my-pictures': fit for a folder, a registered model and a branch."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in text.lower())
    return plain.strip("-")[:MAX_OWN_NAME] or "images"
