"""Registered versions that hold files which today's rule (sharing.py) would not let travel, and their removal.

Earlier releases packed every untracked file of the checkout into `replay/changes.patch`, and every file beside the
package's code into `code/`. Names are told here, never content.
"""

from __future__ import annotations

import codecs
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from ganline.files import write_bytes
from ganline.integrations.mlflow_registry import BUNDLE_TAG
from ganline.integrations.mlflow_store import is_embedded, open_store, store_uri, translated
from ganline.integrations.mlflow_versions import Version, model_names, no_such_model, versions
from ganline.sharing import is_secret, reason_against, without_userinfo

if TYPE_CHECKING:
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

PATCH, PARAMS, CODE = "replay/changes.patch", "replay/params.yaml", "code/ganline"
LINK = b"120000"
IN_ADDRESS = "a password or user name in an address"


@dataclass(frozen=True)
class Change:
    """One file in a patch. `num_bytes`: what was added, for a new file about its size."""

    name: str
    is_new: bool
    is_link: bool
    num_bytes: int
    content: bytes

    @property
    def reason(self) -> str | None:
        """Why it should not have travelled; None if it may."""
        if not self.is_new:
            return "named like a secret" if is_secret(self.name) else None
        return reason_against(self.name, num_bytes=self.num_bytes, is_link=self.is_link)


@dataclass(frozen=True)
class Finding:
    """A version's files that should not have travelled: artifact -> (name, reason) of each."""

    version: Version
    files: dict[str, list[tuple[str, str]]]

    def __str__(self) -> str:
        head = f"models:/{self.version.name}/{self.version.version} (logged model {self.version.model_id})"
        lines = [
            f"  {artifact}: {name!a} ({reason})" if name else f"  {artifact} ({reason})"
            for artifact, entries in self.files.items()
            for name, reason in entries
        ]
        return "\n".join([head, *lines])


def read_patch(content: bytes) -> list[Change]:
    """The files of a patch that git wrote, whatever the user's settings of `git diff` were."""
    return [read_block(block) for block in re.split(rb"(?m)^(?=diff --git )", content)[1:]]


def read_block(block: bytes) -> Change:
    """One file's part of a patch. What was renamed or copied counts as new: it may differ from its origin."""
    head = re.split(rb"(?m)^(?:@@|GIT binary patch|Binary files)", block)[0]
    moved = re.search(rb"(?m)^(?:rename|copy) to (.+)$", head)
    mode = re.search(rb"(?m)^new file mode (\d+)$", head)
    binary = re.search(rb"(?m)^literal (\d+)$", block[len(head) :])
    added = sum(len(line) for line in block[len(head) :].split(b"\n") if line.startswith(b"+"))
    return Change(
        name=unquoted(moved[1]).decode(errors="replace") if moved else name_in(head.split(b"\n")[0]),
        is_new=bool(mode or moved),
        is_link=mode is not None and mode[1] == LINK,
        num_bytes=int(binary[1]) if binary else added,
        content=block,
    )


def name_in(line: bytes) -> str:
    """'src/a b.py' of `diff --git a/src/a b.py b/src/a b.py`: the same name twice, so each is half of the line."""
    both = line.removeprefix(b"diff --git ")
    old, new = unquoted(both[: len(both) // 2]), unquoted(both[len(both) // 2 + 1 :])
    prefixed = old != new and old[1:2] == b"/"
    return (new[2:] if prefixed else new).decode(errors="replace")


def unquoted(name: bytes) -> bytes:
    """A name as it is, of one that git wrote with quotes and escapes."""
    return codecs.escape_decode(name[1:-1])[0] if name.startswith(b'"') else name  # type: ignore[attr-defined,no-any-return]


def audit(name: str | None = None) -> list[Finding]:
    """All versions (of one model, or of all) that hold what should not have travelled. Raises RegistryError.

    Versions that ganline did not register are passed over.
    """
    if name is not None and not versions(name):
        raise no_such_model(name)
    known = [version for model in ([name] if name else model_names()) for version in versions(model)]
    findings = [Finding(version, files_to_remove(version)) for version in known if BUNDLE_TAG in version.tags]
    return [finding for finding in findings if finding.files]


def files_to_remove(version: Version) -> dict[str, list[tuple[str, str]]]:
    """Artifact -> what it holds that should not have travelled."""
    found: dict[str, list[tuple[str, str]]] = {}
    with artifacts_of(version) as (repository, folder):
        held = {path for path, _ in walk(repository, "replay")}
        if PATCH in held:
            changes = read_patch(Path(repository.download_artifacts(PATCH, str(folder))).read_bytes())
            found[PATCH] = [(change.name, change.reason) for change in changes if change.reason]
        if PARAMS in held:
            text = Path(repository.download_artifacts(PARAMS, str(folder))).read_text(encoding="utf-8")
            found[PARAMS] = [("", IN_ADDRESS)] if without_userinfo(text) != text else []
        for path, num_bytes in walk(repository, CODE):
            inside = "src/ganline" + path.removeprefix(CODE)
            if reason := reason_against(inside, num_bytes=num_bytes):
                found[path] = [("", reason)]
    return {artifact: entries for artifact, entries in found.items() if entries}


def remove(finding: Finding) -> None:
    """Take what was found out of a version's artifacts. The version, its bundle, aliases and ledger stay."""
    with artifacts_of(finding.version) as (repository, folder):
        for artifact in finding.files:
            if artifact == PATCH:
                changes = read_patch(Path(repository.download_artifacts(PATCH, str(folder))).read_bytes())
                new = b"".join(change.content for change in changes if not change.reason)
            elif artifact == PARAMS:
                text = Path(repository.download_artifacts(PARAMS, str(folder))).read_text(encoding="utf-8")
                new = without_userinfo(text).encode()
            else:
                repository.delete_artifacts(artifact)
                continue
            write_bytes(folder / "new" / artifact, new)
            repository.log_artifact(str(folder / "new" / artifact), str(Path(artifact).parent))


def walk(repository: ArtifactRepository, path: str) -> Iterator[tuple[str, int]]:
    """(path, size) of every file below a folder of artifacts."""
    for item in repository.list_artifacts(path):
        if item.is_dir:
            yield from walk(repository, item.path)
        else:
            yield item.path, item.file_size or 0


@contextmanager
def artifacts_of(version: Version) -> Iterator[tuple[ArtifactRepository, Path]]:
    """A version's artifacts, and a temporary folder for downloads."""
    with translated(store_uri()), tempfile.TemporaryDirectory(prefix="ganline-") as folder:
        store = open_store()
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        yield get_artifact_repository(version.location, tracking_uri=store.uri), Path(folder)


RECIPE = """
Passwords, keys and tokens that stood in these files may have been read by whoever can read the store: change them.

Take the files out of the versions. Versions, aliases, bundles and the ledger stay; what is left can still be replayed:
    ganline audit --delete

Or delete a whole version, such as the first above. Its aliases go with it; the ledger stays (`mlflow gc` where
the store is, for a server on its machine):
    export MLFLOW_TRACKING_URI={uri}
    python -c "import sys; from mlflow import MlflowClient as Client; name, version, model = sys.argv[1:]; \\
      Client().delete_model_version(name, version); Client().delete_logged_model(model)" {name} {number} {model}
    mlflow gc --backend-store-uri {backend} --logged-model-ids {model}

Earlier runs also left the files in git's store, on the machine where they ran. There, in the checkout (`git gc` removes
everything that no branch, tag, stash or reflog leads to; workspaces come back from DVC's cache):
    rm -rf .ganline/ws && git worktree prune && git gc --prune=now

Backups of the store, and buckets that keep old versions of objects, hold the files until you delete them there.
"""


def recipe(finding: Finding) -> str:
    """How to remove what was found, with the commands for one version."""
    version, uri = finding.version, quote(without_userinfo(store_uri()))
    return RECIPE.format(
        uri=uri,
        backend=uri if is_embedded() else "ADDRESS-OF-THE-DATABASE",
        name=quote(version.name),
        number=version.version,
        model=quote(version.model_id),
    )
