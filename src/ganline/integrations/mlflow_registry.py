"""A bundle becomes a version of a registered model, once, and comes back from there. Outside the DAG.

Whatever interrupts `register`, calling it again finishes the same version: every step looks for what an earlier
call left. The tag `ganline.judged`, set last, says that nothing is missing.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ganline.errors import BundleError, RegistryError
from ganline.files import read_json, sha256_file, sha256_json, write_bytes
from ganline.home import home
from ganline.integrations.mlflow_store import Store, as_current, lock, open_store, store_uri, translated
from ganline.integrations.mlflow_versions import Version, find_version, holder, resolve, versions
from ganline.registry.promotion import FloorsConfig, Verdict, judge_floors

CHAMPION, CHALLENGER = "champion", "challenger"
BUNDLE_TAG, JUDGED_TAG, FLOORS_TAG = "ganline.bundle", "ganline.judged", "ganline.floors"
PROMOTION_TAG = "ganline.promotion"
TAKEN_BACK = "taken back by a rollback"
MODEL_JSON = "model.json"
HASH = re.compile("[0-9a-f]{64}")
MODEL_URI = re.compile(r"models:/(?P<name>[^/@:]+)(?P<wanted>@[^/@]+|/\d+)")


@dataclass(frozen=True)
class Lineage:
    """Where a bundle comes from: becomes tags of the version (`ganline.recipe` …); None is left out."""

    recipe: str
    machine: str
    dataset: str
    commit: str | None = None
    data: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)

    def tags(self) -> dict[str, str]:
        """Tags by their names in MLflow. `data` is the md5 in data.dvc: the version of the raw data."""
        own = {name: getattr(self, name) for name in ("recipe", "machine", "dataset", "commit", "data")}
        return {f"ganline.{name}": str(value) for name, value in (own | dict(self.extra)).items() if value is not None}


@dataclass(frozen=True)
class Registration:
    """A complete version. `created` is False where an earlier call had made it."""

    name: str
    version: int
    alias: str | None
    created: bool
    verdict: Verdict

    @property
    def uri(self) -> str:
        return f"models:/{self.name}/{self.version}"

    def __str__(self) -> str:
        return f"{self.name} version {self.version}, alias {self.alias or 'none'}; {self.verdict}"


def register(
    bundle_folder: Path,
    *,
    name: str,
    floors: FloorsConfig,
    metrics: Mapping[str, Any],
    lineage: Lineage,
    replay_files: Mapping[str, Path | bytes],
    run_id: str | None = None,
) -> Registration:
    """Register a bundle under `name`, or find the version that holds it. The same call twice makes one version.

    A version that passes the floors becomes `challenger`; who is champion is decided by `ganline promote` alone.
    `replay_files` (name to file or content) lie in the version's artifacts under `replay/`. Without `run_id` the
    version gets a run of its own. Raises BundleError if the bundle is damaged, RegistryError if the store fails.
    """
    bundle_hash, verdict = bundle_name(bundle_folder), judge_floors(metrics, floors)
    judged = judgement(metrics, floors)
    if known := complete(name, bundle_hash, judged):
        return registration(known, verdict, created=False)
    with lock("register"), translated(store_uri()):
        if known := complete(name, bundle_hash, judged):
            return registration(known, verdict, created=False)
        store = open_store()
        with as_current(store.uri):
            version = find_version(name, bundle_hash)
            created = version is None
            if version is None:
                model_id = ready_model(
                    store, bundle_folder, bundle_hash, lineage=lineage, files=replay_files, run_id=run_id
                )
                version = make_version(store, name, bundle_hash, model_id)
            from ganline.integrations.mlflow_describe import describe

            describe(store, version, folder=bundle_folder, metrics=metrics, verdict=verdict, tags=lineage.tags())
            give_alias(store, version, verdict)
            store.client.set_model_version_tag(name, str(version.version), JUDGED_TAG, judged)
    done = find_version(name, bundle_hash)
    assert done is not None
    return registration(done, verdict, created=created)


def bundle_name(folder: Path) -> str:
    """The bundle's hash without opening its networks (and without importing torch)."""
    path = folder / "model.json"
    if not path.is_file():
        raise BundleError(f"{folder} holds no model.json", remedy="run the export stage first (`dvc repro`)")
    return sha256_file(path)


def complete(name: str, bundle_hash: str, judged: str) -> Version | None:
    """The bundle's version, if nothing is left to do for it under these metrics and floors."""
    version = find_version(name, bundle_hash)
    return version if version is not None and version.tags.get(JUDGED_TAG) == judged else None


def judgement(metrics: Mapping[str, Any], floors: FloorsConfig) -> str:
    """What a version was judged by, as the tag JUDGED_TAG holds it: other floors ask for another judgement."""
    return sha256_json({"metrics": metrics, "floors": floors.model_dump()})[:16]


def alias_of(version: Version) -> str | None:
    """The alias that ganline gave, the better one first."""
    return next((alias for alias in (CHAMPION, CHALLENGER) if alias in version.aliases), None)


def registration(version: Version, verdict: Verdict, *, created: bool) -> Registration:
    return Registration(version.name, version.version, alias_of(version), created, verdict)


def ready_model(
    store: Store,
    folder: Path,
    bundle_hash: str,
    *,
    lineage: Lineage,
    files: Mapping[str, Path | bytes],
    run_id: str | None,
) -> str:
    """Id of a READY logged model that holds the bundle; half-uploaded ones of an interrupted call are deleted."""
    from mlflow.entities import LoggedModelStatus

    from ganline.integrations.mlflow_package import save_package

    query = f"tags.`{BUNDLE_TAG}` = '{bundle_hash}'"
    for model in store.client.search_logged_models([store.experiment_id], filter_string=query):
        if model.status == LoggedModelStatus.READY:
            return str(model.model_id)
        store.client.delete_logged_model(model.model_id)
    run_id = run_id or own_run(store, bundle_hash, lineage)
    model = store.client.create_logged_model(
        store.experiment_id, name=lineage.dataset, source_run_id=run_id, tags={BUNDLE_TAG: bundle_hash} | lineage.tags()
    )
    with tempfile.TemporaryDirectory(prefix="ganline-") as temporary:
        package = Path(temporary) / "model"
        save_package(package, folder, model_id=model.model_id, run_id=run_id, replay_files=files)
        store.client.log_model_artifacts(model.model_id, str(package))
    store.client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    return str(model.model_id)


def own_run(store: Store, bundle_hash: str, lineage: Lineage) -> str:
    """A finished run for a bundle that comes without one; the same run on every call."""
    query = f"tags.`{BUNDLE_TAG}` = '{bundle_hash}'"
    if found := store.client.search_runs([store.experiment_id], filter_string=query, max_results=1):
        return str(found[0].info.run_id)
    tags = {BUNDLE_TAG: bundle_hash} | lineage.tags()
    run = store.client.create_run(store.experiment_id, run_name=f"register {lineage.dataset}", tags=tags)
    store.client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def make_version(store: Store, name: str, bundle_hash: str, model_id: str) -> Version:
    """Create the version, tagged in the same transaction. Two machines that race on one server end with one version."""
    run_id = store.client.get_logged_model(model_id).source_run_id
    if not store.client.search_registered_models(f"name='{name}'"):
        store.client.create_registered_model(name)
    made = store.client.create_model_version(
        name, source=f"models:/{model_id}", run_id=run_id, tags={BUNDLE_TAG: bundle_hash}, model_id=model_id
    )
    same = [version for version in versions(name) if version.tags.get(BUNDLE_TAG) == bundle_hash]
    if int(made.version) != same[0].version:
        store.client.delete_model_version(name, str(made.version))
    return same[0]


def give_alias(store: Store, version: Version, verdict: Verdict) -> None:
    """challenger for the newest that passes. Aliases that were given are never taken away.

    Neither the champion is challenger, nor a version that a rollback took back: only `promote --version` may ask again.
    """
    if not verdict.passed or version.tags.get(PROMOTION_TAG, "").startswith(TAKEN_BACK):
        return
    known = versions(version.name)
    if holder(known, CHAMPION) != version.version and (holder(known, CHALLENGER) or 0) < version.version:
        store.client.set_registered_model_alias(version.name, CHALLENGER, str(version.version))


def download_bundle(uri: str) -> Path:
    """The checked bundle of `models:/NAME@ALIAS` or `models:/NAME/VERSION`, in a folder named by its hash.

    Raises RegistryError if the registry has no such model, version or alias, or cannot be asked.
    """
    match = MODEL_URI.fullmatch(uri)
    if match is None:
        raise RegistryError(f"{uri!r} names no model", expected="models:/NAME@ALIAS or models:/NAME/VERSION")
    version = resolve(match["name"], match["wanted"].removeprefix("/"))
    return cached_bundle(version, hash_of(version))


def cached_bundle(version: Version, bundle_hash: str) -> Path:
    """The bundle in the local cache, fetched if it is not there or damaged."""
    from ganline.registry.bundle import copy_bundle, open_bundle

    folder = home() / "cache" / "bundles" / bundle_hash
    with lock("download"):
        with suppress(BundleError):
            if open_bundle(folder).hash == bundle_hash:
                return folder
        with tempfile.TemporaryDirectory(prefix="ganline-") as temporary, translated(store_uri()):
            bundle = copy_bundle(fetch(version, Path(temporary)), folder)
    if bundle.hash != bundle_hash:
        raise RegistryError(
            f"models:/{version.name}/{version.version} holds another bundle: {bundle.hash}",
            expected=f"{bundle_hash}, as its tag {BUNDLE_TAG} says",
            remedy="its artifacts were changed after registration: register the model again",
        )
    return folder


def model_json(version: Version) -> dict[str, Any]:
    """What a version's model.json says, without the rest of its bundle. Its bytes are checked: their hash is the tag's.

    Raises RegistryError if it cannot be had.
    """
    bundle_hash = hash_of(version)
    folder = home() / "cache"
    for kept in (folder / "bundles" / bundle_hash / MODEL_JSON, folder / "kinds" / f"{bundle_hash}.json"):
        if kept.is_file() and sha256_file(kept) == bundle_hash:
            return read_json(kept)
    with tempfile.TemporaryDirectory(prefix="ganline-") as temporary, translated(store_uri()):
        path = fetch(version, Path(temporary), MODEL_JSON)
        if not path.is_file() or sha256_file(path) != bundle_hash:
            raise RegistryError(
                f"the bundle of {version.name} version {version.version} "
                + ("was changed after registration" if path.is_file() else "is not where the registry says"),
                expected=f"model.json with sha256 {bundle_hash} at {version.location}",
                remedy="restore its artifacts; if it is champion, `ganline rollback` to another version, "
                "or delete the version in MLflow",
            )
        if not path.is_relative_to(temporary):
            return read_json(path)
        write_bytes(folder / "kinds" / f"{bundle_hash}.json", path.read_bytes())
        return read_json(path)


def hash_of(version: Version) -> str:
    """The hash of a version's bundle. Raises RegistryError if ganline did not register it."""
    bundle_hash = version.tags.get(BUNDLE_TAG)
    # The tag becomes a folder's name, and a registry may be anybody's: nothing but a hash will do.
    if bundle_hash is None or not HASH.fullmatch(bundle_hash):
        raise RegistryError(
            f"models:/{version.name}/{version.version} was not registered by ganline: its tag {BUNDLE_TAG} is "
            f"{bundle_hash!r}",
            remedy="name another version",
        )
    return bundle_hash


def fetch(version: Version, temporary: Path, part: str = "") -> Path:
    """A version's bundle, or one file of it: where it lies, if that is on this machine; else downloaded."""
    place = urlsplit(version.location)
    if place.scheme in ("", "file"):
        return Path(unquote(place.path)) / "artifacts" / "bundle" / part
    store = open_store()
    from mlflow.artifacts import download_artifacts

    uri = f"{version.location}/artifacts/bundle/{part}".rstrip("/")
    return Path(download_artifacts(uri, dst_path=str(temporary), tracking_uri=store.uri))
