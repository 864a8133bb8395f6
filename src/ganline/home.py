"""Where state that is no out lives: one folder for a checkout and all its workspaces."""

from __future__ import annotations

import os
from pathlib import Path

from filelock import FileLock, Timeout

from ganline.doctor import MOVE, unusable
from ganline.errors import WorkspaceError


def home(start: Path | None = None) -> Path:
    """GANLINE_HOME, else .ganline in the main checkout around `start` (the present folder); absolute.

    Raises WorkspaceError where a tool below us would write elsewhere than at this path.
    """
    named = os.environ.get("GANLINE_HOME")
    folder = Path(named).expanduser().resolve() if named else main_checkout(start) / ".ganline"
    require_usable(folder, "set GANLINE_HOME to a plainer path" if named else MOVE)
    return folder


def require_usable(folder: Path, remedy: str) -> None:
    """Raise WorkspaceError where the checkout or its state cannot lie at a path."""
    if reason := unusable(folder):
        raise WorkspaceError(reason, remedy=remedy)


def main_checkout(start: Path | None = None) -> Path:
    """The main checkout around `start` (a git worktree's own main one), else `start` itself.

    A workspace that was copied or moved with its checkout belongs to the checkout around it, whatever its `.git` says.
    Raises WorkspaceError for any other copy of a worktree.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        git = folder / ".git"
        if git.is_dir():
            return folder
        if git.is_file():
            if not is_stale(git):
                return main_worktree(git) or folder
            if around := checkout_around(folder):
                return around
            if main := main_worktree(git):
                raise copied_alone(folder, main)
            return folder
    return start


def main_worktree(pointer: Path) -> Path | None:
    """The checkout that a linked worktree's `.git` file belongs to; None if it is not a linked worktree."""
    common = admin_folder(pointer) / "commondir"
    if not common.is_file():
        return None
    return (common.parent / common.read_text(encoding="utf-8").strip()).resolve().parent


def is_held(lock: Path) -> bool:
    """Whether a process holds a lock file; where there is none, nobody does."""
    if not lock.is_file():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True


def admin_folder(pointer: Path) -> Path:
    """The folder of a repository that a `.git` file names."""
    return pointer.parent / pointer.read_text(encoding="utf-8").removeprefix("gitdir:").strip()


def is_stale(pointer: Path) -> bool:
    """Whether the repository that a `.git` file names is gone, or knows this worktree at another place."""
    admin = admin_folder(pointer)
    known = admin / "gitdir"
    if not known.is_file():
        return not admin.is_dir()
    return (admin / known.read_text(encoding="utf-8").strip()).resolve() != pointer.resolve()


def checkout_around(workspace: Path) -> Path | None:
    """The checkout in whose `.ganline/ws` a folder lies."""
    around = workspace.parents[2] if len(workspace.parents) > 2 else None
    return around if around and workspace.parent == around / ".ganline" / "ws" and (around / ".git").is_dir() else None


def copied_alone(folder: Path, main: Path) -> WorkspaceError:
    return WorkspaceError(
        f"{folder} is a copy of a git worktree: its .git still belongs to {main}, and git would write there",
        expected="a clone, or a worktree that git made",
        remedy=f"git clone {main}, or there: git worktree add FOLDER",
    )
