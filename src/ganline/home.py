"""Where state that is no out lives: one folder for a checkout and all its workspaces."""

from __future__ import annotations

import os
from pathlib import Path

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
    """The main checkout around `start` (a git worktree's own main one), else `start` itself."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        git = folder / ".git"
        if git.is_dir():
            return folder
        if git.is_file():
            return main_worktree(git) or folder
    return start


def main_worktree(pointer: Path) -> Path | None:
    """The checkout that a linked worktree's `.git` file belongs to; None if it is not a linked worktree."""
    gitdir = Path(pointer.read_text(encoding="utf-8").removeprefix("gitdir:").strip())
    common = pointer.parent / gitdir / "commondir"
    if not common.is_file():
        return None
    return (common.parent / common.read_text(encoding="utf-8").strip()).resolve().parent
