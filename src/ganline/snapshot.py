"""The working tree as git sees it: what it changes on a commit, as far as that may travel (see sharing.py).

A registered version's patch and an isolated workspace are made from the same choice of files.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ganline.git import git, git_bytes, in_repository
from ganline.sharing import CODE_FOLDERS, choose, is_secret, reason_against

SNAPSHOT_MESSAGE = "ganline snapshot of a working tree"
DVC_WRITES = ("data.dvc", "dvc.lock", "expectations/previous.json")
"""Versions of data and results: they travel apart, or stay with a workspace."""


@dataclass(frozen=True)
class Patch:
    """`content` is what `git apply` takes. `left_out` (name -> reason) stays: `code_left_out` lies in the code folders
    or is tracked, so a replay may miss it; the others are strays."""

    content: bytes
    code_left_out: Mapping[str, str]
    strays: Mapping[str, str]

    @property
    def left_out(self) -> dict[str, str]:
        return {**self.code_left_out, **self.strays}


def base_commit(root: Path) -> str | None:
    """The newest commit of the user's own history (a workspace's snapshot is looked through).

    None where there is no repository or no commit yet. Raises WorkspaceError for a repository that git cannot read.
    """
    head = ("rev-parse", "--verify", "--quiet", "HEAD")  # ends with 1 where there is no commit yet
    if not in_repository(root) or not git_bytes(root, *head, codes=(0, 1)):
        return None
    subject, commit, parent = (git(root, "log", "-1", "--format=%s%n%H%n%P") + "\n\n").split("\n")[:3]
    return parent.split()[0] if subject == SNAPSHOT_MESSAGE and parent else commit


@contextmanager
def temporary_index() -> Iterator[dict[str, str]]:
    """What to add to the environment of `git`, to work on an index of its own."""
    with tempfile.TemporaryDirectory() as folder:
        yield {"GIT_INDEX_FILE": str(Path(folder) / "index")}


def stage_changes(root: Path, commit: str, env: Mapping[str, str], *, apart: Sequence[str]) -> dict[str, str]:
    """Fill a temporary index: `commit`, and what the working tree changes on it and may travel; nothing of `apart`.

    Returns what was left out of tracked files and of the code folders: name -> reason.
    """
    git(root, "read-tree", commit, env=env)
    secrets = [name for name in names(git_bytes(root, "ls-files", "-z", env=env)) if is_secret(name)]
    git(root, "add", "--update", "--", ".", *excluded([*apart, *secrets]), env=env)
    compare = ("diff", "--name-only", "-z", "--", *(f":(literal){name}" for name in secrets))
    changed = names(git_bytes(root, *compare, env=env)) if secrets else []
    untracked = ("ls-files", "--others", "--exclude-standard", "-z", "--")
    chosen, left_out = choose(root, names(git_bytes(root, *untracked, *CODE_FOLDERS, *excluded(apart), env=env)))
    # --remove: a file that was deleted this moment is no error.
    added = "".join(f"{name}\0" for name in chosen).encode(errors="surrogateescape")
    git_bytes(root, "update-index", "--add", "--remove", "-z", "--stdin", env=env, stdin=added)
    return dict.fromkeys(changed, "named like a secret; its committed content is in git") | left_out


def patch(root: Path) -> Patch:
    """What the working tree changes on its base commit, as far as it may travel; what DVC writes travels apart.

    Empty without a commit.
    """
    commit = base_commit(root)
    if commit is None:
        return Patch(b"", {}, {})
    with temporary_index() as env:
        code_left_out = stage_changes(root, commit, env, apart=DVC_WRITES)
        # Plumbing: a user's settings of `git diff` (prefixes, colours, external tools) must not change the patch.
        diff = ("diff-index", "--cached", "--patch", "--binary", "--full-index", "--no-ext-diff", "--no-textconv")
        content = git_bytes(root, *diff, commit, "--", env=env)
        others = ("ls-files", "--others", "--exclude-standard", "--directory", "--no-empty-directory", "-z", "--", ".")
        strays = names(git_bytes(root, *others, *excluded([*CODE_FOLDERS, *DVC_WRITES]), env=env))
    return Patch(content, code_left_out, dict.fromkeys(strays, "outside " + ", ".join(CODE_FOLDERS)))


def package_files(folder: Path, *, inside: str) -> list[str]:
    """Names, relative to the package's `folder`, of the files that travel with a model. `inside`: the folder's name
    in a checkout. What git ignores stays, where the package lies in a checkout.

    Raises WorkspaceError where a repository is around it that git cannot read.
    """
    listing = ("ls-files", "--cached", "--others", "--exclude-standard", "-z")
    found = names(git_bytes(folder, *listing)) if in_repository(folder) else []
    if "__init__.py" not in found:  # installed, perhaps in an environment that a checkout ignores
        found = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()]
    files = {name: folder / name for name in sorted(set(found)) if (folder / name).is_file()}
    return [
        name
        for name, path in files.items()
        if not reason_against(f"{inside}/{name}", num_bytes=path.stat().st_size, is_link=path.is_symlink())
    ]


def names(output: bytes) -> list[str]:
    """Names that git ends with NUL."""
    return [name for name in output.decode(errors="surrogateescape").split("\0") if name]


def excluded(paths: Iterable[str]) -> list[str]:
    return [f":(exclude,literal){path}" for path in paths]
