"""Versions and logged models that hold files which today's rule (sharing.py) would not let travel, and their removal.

Earlier releases packed every untracked file of the checkout into `replay/changes.patch`, and every file beside the
package's code into `code/`. A logged model keeps its files when its version is deleted, and has none yet where a
registration was interrupted. Names are shown here, never content.
"""

from __future__ import annotations

import codecs
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from ganline.files import write_bytes
from ganline.integrations.mlflow_describe import VERSIONS_TAG
from ganline.integrations.mlflow_registry import BUNDLE_TAG
from ganline.integrations.mlflow_store import Store, embedded_store, is_embedded, open_store, store_uri, translated
from ganline.integrations.mlflow_versions import Version, model_names, no_such_model, versions
from ganline.sharing import is_secret, public_address, reason_against, without_userinfo

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
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
    """A logged model's files that should not have travelled: artifact -> (name, reason) of each.

    `version` is the version that holds the model, None where none does. `location` is the URI of its artifacts.
    """

    model_id: str
    location: str
    version: Version | None
    files: dict[str, list[tuple[str, str]]]

    def __str__(self) -> str:
        head = f"logged model {self.model_id} (no version holds it)"
        if self.version is not None:
            head = f"models:/{self.version.name}/{self.version.version} (logged model {self.model_id})"
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
    """All versions, then all logged models without one (of one name, or of all), that hold what should not have
    travelled. Raises RegistryError.

    What ganline did not register is passed over.
    """
    known = [version for model in model_names() for version in versions(model)]
    others = models_without_version(name, known)
    asked = [version for version in known if name in (None, version.name)]
    if name is not None and not asked and not others:
        raise no_such_model(name)
    held = [(version.model_id, version.location, version) for version in asked if BUNDLE_TAG in version.tags]
    left = [(model.model_id, model.artifact_location, None) for model in others]
    findings = [Finding(*each, files=files_to_remove(each[1])) for each in (*held, *left)]
    return [finding for finding in findings if finding.files]


def models_without_version(name: str | None, known: Sequence[Version]) -> list[LoggedModel]:
    """Logged models of ours that no known version holds; with `name`, those that a version of this name once held."""
    if is_embedded() and embedded_store() is None:
        return []
    ids = {version.model_id for version in known}
    with translated(store_uri()):
        return [
            model
            for model in logged_models(open_store())
            if BUNDLE_TAG in model.tags and model.model_id not in ids and (name is None or name in names_of(model))
        ]


def logged_models(store: Store) -> Iterator[LoggedModel]:
    """All logged models of our experiment, page by page."""
    token = None
    while True:
        page = store.client.search_logged_models([store.experiment_id], page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def names_of(model: LoggedModel) -> set[str]:
    """The registered names under which a logged model has had a version."""
    return {entry["name"] for entry in json.loads(model.tags.get(VERSIONS_TAG, "[]"))}


def files_to_remove(location: str) -> dict[str, list[tuple[str, str]]]:
    """Artifact -> what it holds that should not have travelled."""
    found: dict[str, list[tuple[str, str]]] = {}
    with artifacts_at(location) as (repository, folder):
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
    """Take what was found out of a model's artifacts. The model, its version, bundle, aliases and ledger stay."""
    with artifacts_at(finding.location) as (repository, folder):
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
def artifacts_at(location: str) -> Iterator[tuple[ArtifactRepository, Path]]:
    """The artifacts at a location, and a temporary folder for downloads."""
    with translated(store_uri()), tempfile.TemporaryDirectory(prefix="ganline-") as folder:
        store = open_store()
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        yield get_artifact_repository(location, tracking_uri=store.uri), Path(folder)


RECIPE = """
Passwords, keys and tokens that stood in these files may have been read by whoever can read the store: change them.

Take the files out. Models, versions, aliases, bundles and the ledger stay; what is left can still be replayed:
    ganline audit --delete
{deletions}
Earlier runs also left the files in git's store, on the machine where they ran. There, in the checkout (`git gc` removes
everything that no branch, tag, stash or reflog leads to; workspaces come back from DVC's cache):
    rm -rf .ganline/ws && git worktree prune && git gc --prune=now

Backups of the store, and buckets that keep old versions of objects, hold the files until you delete them there.
"""

DELETE_VERSION = """
Or delete a whole version, such as the first above. Its aliases go with it; the ledger stays (`mlflow gc` where
the store is, for a server on its machine):
    export MLFLOW_TRACKING_URI={uri}
    python -c "import sys; from mlflow import MlflowClient as Client; name, version, model = sys.argv[1:]; \\
      Client().delete_model_version(name, version); Client().delete_logged_model(model)" {name} {number} {model}
    mlflow gc --backend-store-uri {backend} --logged-model-ids {model}
"""
DELETE_MODELS = """
Or delete the logged models that no version holds (`mlflow gc` where the store is, for a server on its machine):
    export MLFLOW_TRACKING_URI={uri}
    python -c "import sys; from mlflow import MlflowClient as Client; \\
      [Client().delete_logged_model(model) for model in sys.argv[1:]]" {models}
    mlflow gc --backend-store-uri {backend} --logged-model-ids {listed}
"""


def recipe(findings: Sequence[Finding]) -> str:
    """How to remove what was found, with the commands for the first version and for all models without one."""
    uri = quote(public_address(store_uri()))
    addresses = {"uri": uri, "backend": uri if is_embedded() else "ADDRESS-OF-THE-DATABASE"}
    version = next((finding.version for finding in findings if finding.version), None)
    models = [quote(finding.model_id) for finding in findings if finding.version is None]
    deletions = ""
    if version:
        named = {"name": quote(version.name), "number": version.version, "model": quote(version.model_id)}
        deletions += DELETE_VERSION.format(**addresses, **named)
    if models:
        deletions += DELETE_MODELS.format(**addresses, models=" ".join(models), listed=",".join(models))
    return RECIPE.format(deletions=deletions)
