"""An embedded store that was copied or moved serves and takes models where it is now, and never where it was."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import ganline
from ganline.errors import RegistryError
from ganline.integrations import mlflow_moved
from ganline.integrations.mlflow_moved import LOCATIONS
from ganline.integrations.mlflow_registry import Lineage, register
from ganline.integrations.mlflow_store import open_store
from ganline.integrations.mlflow_versions import versions
from ganline.registry.promotion import FloorsConfig

METRICS = {
    "fd": {"name": "fd_cnn_shapes@1a2b3c4d_n64", "split": "test", "value": 3.0, "n": 64, "floor": 0.02, "ratio": 150.0},
    "class_coverage": {"name": "class_coverage_cnn_shapes@1a2b3c4d", "value": 1.0},
    "copied_share": {"name": "copied_share_cnn_shapes@1a2b3c4d_n64", "value": 0.0, "floor": 0.0},
    "extractors": {"first": {"name": "cnn_shapes@1a2b3c4d", "task": "classifier"}},
}


def enter(folder: Path) -> None:
    lineage = Lineage(recipe="r" * 64, machine="m" * 64, dataset="shapes")
    register(folder, name="shapes", floors=FloorsConfig(fd_max=5.0), metrics=METRICS, lineage=lineage, replay_files={})


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A state folder without a store yet: the first test makes one, the others copy it."""
    return tmp_path_factory.mktemp("made here") / ".ganline"


@pytest.fixture
def original(made, make_bundle, monkeypatch) -> Path:
    monkeypatch.setenv("GANLINE_HOME", str(made))
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    enter(make_bundle(1))
    shutil.rmtree(made / "cache", ignore_errors=True)
    return made


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


def locations(state: Path) -> list[str]:
    with closing(sqlite3.connect(state / "mlflow" / "mlflow.db")) as database:
        return [
            str(location)
            for table, column in LOCATIONS
            for (location,) in database.execute(f"SELECT {column} FROM {table}")
            if location and not location.startswith("models:/")
        ]


@pytest.mark.parametrize("moved", [False, True], ids=["copied", "moved"])
def test_a_store_at_another_place_leaves_the_original_alone(
    original, make_bundle, tmp_path, monkeypatch, moved
) -> None:
    state = tmp_path / "another place" / ".ganline"
    shutil.copytree(original, state)
    hidden = original.with_name("away")
    before = files(original)
    if moved:  # for this test only: the original is gone
        original.rename(hidden)
    try:
        monkeypatch.setenv("GANLINE_HOME", str(state))
        ganline.load("models:/shapes/1")
        enter(make_bundle(2))
        assert [version.version for version in versions("shapes")] == [1, 2]
        ganline.load("models:/shapes/2")
        artifacts = (state / "mlflow" / "artifacts").as_uri()
        assert all(location.startswith(artifacts) for location in locations(state)), locations(state)
    finally:
        if moved:
            assert not original.exists()  # nothing was made where it had been
            hidden.rename(original)
    assert files(original) == before


def test_the_same_store_by_another_name_is_not_a_copy(original, tmp_path, monkeypatch) -> None:
    before = locations(original)
    link = tmp_path / "link"
    link.symlink_to(original.parent)
    monkeypatch.chdir(link)
    monkeypatch.setattr("ganline.integrations.mlflow_store.home", lambda start=None: link / ".ganline")
    assert len(versions("shapes")) == 1
    open_store()
    assert locations(original) == before


def test_a_database_that_was_copied_without_its_models_is_refused(original, tmp_path, monkeypatch) -> None:
    (tmp_path / ".ganline" / "mlflow").mkdir(parents=True)
    shutil.copyfile(original / "mlflow" / "mlflow.db", tmp_path / ".ganline" / "mlflow" / "mlflow.db")
    monkeypatch.setenv("GANLINE_HOME", str(tmp_path / ".ganline"))
    for act in (lambda: versions("shapes"), open_store):
        with pytest.raises(RegistryError, match="without the folder artifacts") as caught:
            act()
    assert "cp -a" in caught.value.remedy


KILLED_IN_A_TRANSACTION = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
for command in ("PRAGMA cache_size=1", "PRAGMA cache_spill=1", "PRAGMA synchronous=OFF", "BEGIN IMMEDIATE"):
    database.execute(command)
for i in range(300):
    row = (f"{i}-" + "x" * 200, "y" * 200)
    database.execute("INSERT INTO experiments (name, artifact_location) VALUES (?, ?)", row)
os._exit(9)
"""


def test_a_copy_of_a_store_that_was_killed_while_it_wrote_leaves_the_original_alone(
    original, tmp_path, monkeypatch
) -> None:
    state = tmp_path / "copy" / ".ganline"
    killed = tmp_path / "killed"
    shutil.copytree(original, killed)  # its locations are the original's
    subprocess.run([sys.executable, "-c", KILLED_IN_A_TRANSACTION, str(killed / "mlflow" / "mlflow.db")], check=False)
    shutil.copytree(killed, state)
    journal = state / "mlflow" / "mlflow.db-journal"
    assert journal.stat().st_size > 512
    before = files(original)
    monkeypatch.setenv("GANLINE_HOME", str(state))
    store = open_store()
    run = store.client.create_run(store.experiment_id)
    store.client.log_text(run.info.run_id, "of the copy", "notes.txt")
    assert files(original) == before
    assert len(versions("shapes")) == 1
    assert not journal.exists()
    artifacts = (state / "mlflow" / "artifacts").as_uri()
    assert all(location.startswith(artifacts) for location in locations(state)), locations(state)
    assert files(original) == before


def test_a_copy_that_another_process_holds_locked_is_refused(original, tmp_path, monkeypatch) -> None:
    state = tmp_path / "copy" / ".ganline"
    shutil.copytree(original, state)
    monkeypatch.setenv("GANLINE_HOME", str(state))
    monkeypatch.setattr(mlflow_moved, "LOCKED_SECONDS", 0.1)
    with closing(sqlite3.connect(state / "mlflow" / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for act in (lambda: versions("shapes"), open_store):
            with pytest.raises(RegistryError, match="database is locked") as caught:
                act()
            assert "wait until the process" in caught.value.remedy
    assert len(versions("shapes")) == 1
