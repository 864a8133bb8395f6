"""Where state that is no out lives: one folder for a checkout and all its workspaces."""

from __future__ import annotations

import os
from pathlib import Path

from filelock import FileLock, Timeout


def home(start: Path | None = None) -> Path:
    """GANLINE_HOME, else .ganline in the main checkout around `start` (the present folder); absolute."""
    named = os.environ.get("GANLINE_HOME")
    return Path(named).expanduser().resolve() if named else main_checkout(start) / ".ganline"


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


def is_held(lock: Path) -> bool:
    """Whether a process holds a lock file; where there is none, nobody does."""
    if not lock.is_file():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
