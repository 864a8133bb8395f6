"""A checkout that was moved or copied: the embedded store's absolute locations follow it, and never lead back.

MLflow keeps, for each experiment, run and model, the absolute folder of its files. In a copy those are the original's:
what the copy registers would be written there.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ganline.errors import RegistryError

log = logging.getLogger(__name__)

LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
OURS = "SELECT artifact_location FROM experiments WHERE name = 'ganline'"
LOCKED_SECONDS = 30.0
"""How long another process may hold the database."""
# MLflow gives the experiment that it makes itself a folder in whatever the present folder is.
DEFAULT = "UPDATE experiments SET artifact_location = ? || '/0' WHERE experiment_id = 0 AND artifact_location LIKE ?"


def reroot(database: Path, artifacts: Path, *, lock: Callable[[], AbstractContextManager[None]]) -> None:
    """Where the store was made for another folder than `artifacts`, rewrite its locations, in one transaction.

    The same folder by another name (a symbolic link) is left. Raises RegistryError where only the database was copied,
    sqlite3.Error where it cannot be read: whose store it is, is not known then.
    """
    if is_at_home(database, artifacts):
        return
    with lock():
        before = made_for(database)
        if before is None or is_at_home(database, artifacts):  # another process was faster
            return
        if folder_of(before).is_dir() and not artifacts.is_dir():
            raise RegistryError(
                f"{database} was copied from {folder_of(before).parent}, without the folder artifacts beside it",
                expected=f"the models that it speaks of in {artifacts}",
                remedy=f"copy the whole folder: cp -a {folder_of(before).parent}/. {database.parent}",
            )
        with closing(sqlite3.connect(database, timeout=LOCKED_SECONDS)) as connection, connection:
            for table, column in LOCATIONS:
                connection.execute(
                    f"UPDATE {table} SET {column} = :here || substr({column}, length(:before) + 1)"
                    f" WHERE {column} = :before OR substr({column}, 1, length(:before) + 1) = :before || '/'",
                    {"here": artifacts.as_uri(), "before": before},
                )
            connection.execute(DEFAULT, (artifacts.as_uri(), "%/mlruns/0"))
    log.info("the MLflow store was made for %s: its locations now follow this checkout", folder_of(before).parent)


def settle_default(database: Path, artifacts: Path) -> None:
    """Give the experiment Default of a new store a folder in the store too."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(DEFAULT, (artifacts.as_uri(), "%/mlruns/0"))


def is_at_home(database: Path, artifacts: Path) -> bool:
    before = made_for(database)
    return before is None or before == artifacts.as_uri() or folder_of(before).resolve() == artifacts.resolve()


def made_for(database: Path) -> str | None:
    """The folder that the store was made for, as a URI; None if it is no folder of ours or has no tables yet.

    Opened for writing where that is allowed: a transaction that a kill cut short is rolled back first.
    """
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True, timeout=LOCKED_SECONDS)) as connection:
            row = connection.execute(OURS).fetchone()
    except sqlite3.OperationalError as error:
        if not str(error).startswith("no such table"):
            raise
        return None
    ours = row and urlsplit(row[0]).scheme in ("", "file") and row[0].endswith("/mlflow/artifacts")
    return row[0] if ours else None


def folder_of(location: str) -> Path:
    return Path(unquote(urlsplit(location).path))
