"""The end of MLflow runs whose training no longer goes on: failed, stopped, or killed without a word.

A training that goes on later makes its run RUNNING again (`Follower.reopen`).
"""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

from ganline.files import read_json, sha256_json
from ganline.home import is_held
from ganline.integrations.mlflow_store import embedded_store, is_embedded, open_store, store_uri, translated
from ganline.integrations.mlflow_tracking import MACHINE_TAG, RECIPE_TAG, Status, follower
from ganline.integrations.mlflow_versions import connect

log = logging.getLogger(__name__)

RUNNING = (
    "SELECT 1 FROM runs JOIN tags USING (run_uuid)"
    " WHERE status = 'RUNNING' AND lifecycle_stage = 'active' AND key = ? LIMIT 1"
)


def end_idle_runs(work: Path, status: Status, *, recipe: str | None = None) -> list[str]:
    """End the runs of this machine that are RUNNING while no process trains them; returns their names.

    Only trainings are ended: runs with a recipe. `work` holds a folder for each recipe, with its training's lock.
    `recipe` narrows the search to one. Cheap where the embedded store has no such run. Raises RegistryError if the
    store fails.
    """
    if is_embedded() and not some_are_running():
        return []
    query = "attributes.status = 'RUNNING'" + (f" AND tags.`{RECIPE_TAG}` = '{recipe}'" if recipe else "")
    ended = []
    with translated(store_uri()):
        store = open_store()
        for run in store.client.search_runs([store.experiment_id], filter_string=query):
            tags = run.data.tags
            if RECIPE_TAG not in tags:
                continue  # a decision, or a run of the user's
            folder = work / tags[RECIPE_TAG][:16]
            if (is_embedded() or is_of_machine(folder, tags.get(MACHINE_TAG))) and not is_held(folder / ".lock"):
                store.client.set_terminated(run.info.run_id, status=status)
                ended.append(str(run.info.run_name))
    if ended:
        follower.cache_clear()  # they take their run for RUNNING
    return ended


def some_are_running() -> bool:
    """Whether a training's run is RUNNING in the embedded store; read directly, as in mlflow_versions.py."""
    database = embedded_store()
    if database is None:
        return False
    try:
        with closing(connect(database)) as connection:
            return connection.execute(RUNNING, (RECIPE_TAG,)).fetchone() is not None
    except sqlite3.Error as error:
        log.debug("reading the embedded store directly failed (%s): asking MLflow", error)
        return True


def is_of_machine(folder: Path, machine: str | None) -> bool:
    """Whether a recipe was last trained here by the machine that a run's tag names: on a server lie others' runs."""
    described = folder / "machine.json"
    return described.is_file() and sha256_json(read_json(described)) == machine
