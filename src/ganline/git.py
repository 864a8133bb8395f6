"""git as a tool of ours: it works in the repository that we name, whatever the caller exported or configured."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Mapping
from pathlib import Path

from ganline.environment import without_git_context
from ganline.errors import WorkspaceError

# Commits of ours are nobody's and unsigned. A user's hooks and file watchers are for the user's own work, and colours
# or signatures would be read as part of an answer. Everything else that the user configured (safe.directory, filters)
# holds.
SETTINGS = {
    "user.name": "ganline",
    "user.email": "ganline@localhost",
    "commit.gpgSign": "false",
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "color.ui": "false",
    "log.showSignature": "false",
}
OPTIONS = tuple(part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}"))


def in_repository(folder: Path) -> bool:
    """Whether a `.git` lies in a folder or above it, whether or not git can read it."""
    folder = folder.resolve()
    return any((each / ".git").exists() for each in (folder, *folder.parents))


def git_bytes(
    root: Path,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    codes: Collection[int] = (0,),
) -> bytes:
    """Output of a git command that must end with one of these exit codes. `env` is added to this process's environment.

    Raises WorkspaceError with git's own words.
    """
    command = ["git", "-C", str(root), *OPTIONS, *arguments]
    environment = {**without_git_context(os.environ), **(env or {})}
    try:
        result = subprocess.run(command, capture_output=True, input=stdin, env=environment, check=False)
    except FileNotFoundError as error:
        raise WorkspaceError(
            "git is not installed", remedy="install git, for instance `apt-get install git`"
        ) from error
    if result.returncode not in codes:
        message = result.stderr.decode(errors="replace").strip() or f"it ended with code {result.returncode}"
        raise WorkspaceError(
            f"git {arguments[0]} failed in {root}: {message}",
            remedy="mend what git says (free disk space, rights, file limits), and run the same command again",
        )
    return result.stdout


def git(root: Path, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """As `git_bytes`, as text without white space around it."""
    return git_bytes(root, *arguments, env=env).decode(errors="surrogateescape").strip()
