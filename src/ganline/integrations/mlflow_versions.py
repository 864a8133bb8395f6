"""What the model registry holds, read as plain values: from the embedded database directly, else through MLflow.

Importing MLflow and opening its store takes 3 to 5 seconds; reading three tables takes milliseconds. The direct way
only ever reads, and hands over to MLflow's own client wherever the tables are not as expected.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from ganline.errors import RegistryError
from ganline.integrations.mlflow_store import (
    embedded_database,
    embedded_store,
    is_embedded,
    open_store,
    store_uri,
    translated,
)

log = logging.getLogger(__name__)

# MLflow keeps deleted versions as rows in this stage.
DELETED = "Deleted_Internal"
VERSIONS = (
    "SELECT version, coalesce(storage_location, source), source FROM model_versions"
    " WHERE name = ? AND current_stage IS NOT ?"
)
TAGS = "SELECT version, key, value FROM model_version_tags WHERE name = ?"
ALIASES = "SELECT alias, version FROM registered_model_aliases WHERE name = ?"
NAMES = "SELECT name FROM registered_models ORDER BY name"


@dataclass(frozen=True)
class Version:
    """One version of a registered model. `location` is the URI of its artifacts, `model_id` the logged model's."""

    name: str
    version: int
    location: str
    model_id: str
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()


def versions(name: str) -> list[Version]:
    """All versions of a model, oldest first; empty if there is no such model or no store yet."""
    if is_embedded():
        database = embedded_store()
        if database is None:
            return []
        try:
            return read_versions(database, name)
        except sqlite3.Error as error:
            log.debug("reading the embedded registry directly failed (%s): asking MLflow", error)
    return ask_versions(name)


def model_names() -> list[str]:
    """Names of all registered models; empty if there is no store yet."""
    if is_embedded():
        database = embedded_store()
        if database is None:
            return []
        try:
            with closing(connect(database)) as connection:
                return [name for (name,) in connection.execute(NAMES)]
        except sqlite3.Error as error:
            log.debug("reading the embedded registry directly failed (%s): asking MLflow", error)
    with translated(store_uri()):
        return sorted(model.name for model in open_store().client.search_registered_models())


def find_version(name: str, bundle_hash: str) -> Version | None:
    """The version that holds this bundle, or None."""
    found = [version for version in versions(name) if version.tags.get("ganline.bundle") == bundle_hash]
    return found[0] if found else None


def holder(known: Sequence[Version], alias: str) -> int | None:
    """Number of the version that holds an alias, None if none does."""
    return next((version.version for version in known if alias in version.aliases), None)


def resolve(name: str, wanted: str) -> Version:
    """The version named by an alias (`@champion`) or a number. Raises RegistryError naming what there is."""
    known = versions(name)
    if not known:
        raise no_such_model(name)
    alias = wanted.removeprefix("@")
    for version in known:
        if (wanted.startswith("@") and alias in version.aliases) or wanted == str(version.version):
            return version
    aliases = [f"@{alias} (version {version.version})" for version in known for alias in version.aliases]
    raise RegistryError(
        f"the model {name} has no {'alias' if wanted.startswith('@') else 'version'} {alias!r}",
        expected=f"a version from {known[0].version} to {known[-1].version}, or an alias: "
        + (", ".join(aliases) or "none is set, because no version has passed the floors"),
        remedy=f"name one of them, such as models:/{name}/{known[-1].version}",
    )


def no_such_model(name: str) -> RegistryError:
    if is_embedded() and not embedded_database().is_file():
        return RegistryError(
            f"there is no model registry yet: {embedded_database()} does not exist",
            remedy="run `make run` first, or set MLFLOW_TRACKING_URI (or GANLINE_HOME) to where the models are",
        )
    names = model_names()
    return RegistryError(
        f"the registry has no model {name!r} with a version",
        expected="one of: " + (", ".join(names) if names else "(it has no models yet)"),
        remedy="correct the name" if names else "run `make run`, which registers one",
    )


def connect(database: Path) -> sqlite3.Connection:
    """The database, read-only."""
    return sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=5.0)


def read_versions(path: Path, name: str) -> list[Version]:
    """Versions from the tables of MLflow's schema."""
    with closing(connect(path)) as database:
        rows = database.execute(VERSIONS, (name, DELETED)).fetchall()
        tags = database.execute(TAGS, (name,)).fetchall()
        aliases = database.execute(ALIASES, (name,)).fetchall()
    return assemble(name, rows, tags, aliases)


def ask_versions(name: str) -> list[Version]:
    """Versions through MLflow's client."""
    with translated(store_uri()):
        client = open_store().client
        if "'" in name:
            return []
        found = client.search_model_versions(f"name='{name}'")
        if not found:
            return []
        rows = [(int(v.version), client.get_model_version_download_uri(name, v.version), str(v.source)) for v in found]
        tags = [(int(v.version), key, value) for v in found for key, value in v.tags.items()]
        aliases = list(client.get_registered_model(name).aliases.items())
    return assemble(name, rows, tags, aliases)


def assemble(
    name: str,
    rows: Sequence[tuple[int, str, str]],
    tags: Sequence[tuple[int, str, str]],
    aliases: Sequence[tuple[str, int | str]],
) -> list[Version]:
    """Rows of three tables as versions, oldest first."""
    return [
        Version(
            name=name,
            version=version,
            location=location,
            model_id=source.removeprefix("models:/"),
            tags={key: value for v, key, value in tags if v == version},
            aliases=tuple(sorted(alias for alias, v in aliases if int(v) == version)),
        )
        for version, location, source in sorted(rows)
    ]
