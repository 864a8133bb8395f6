"""Runs whose training no longer goes on are ended; those at work, ended, or of other machines stay as they are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from ganline import effects
from ganline.errors import RegistryError
from ganline.files import write_json
from ganline.integrations import mlflow_runs, mlflow_store
from ganline.integrations.mlflow_runs import end_idle_runs
from ganline.integrations.mlflow_tracking import find_or_start_run, finish, follow

pytestmark = pytest.mark.usefixtures("embedded")

MACHINE = {"torch": "2.13.0", "threads": 2}


@pytest.fixture
def begun(request, home):
    """A function that begins a training: (recipe, run id, work folder)."""

    def begin(name: str) -> tuple[str, str, Path]:
        recipe = f"{name}-{request.node.name}".ljust(64, "0")
        work = home / "work" / recipe[:16]
        work.mkdir(parents=True, exist_ok=True)
        write_json(work / "machine.json", MACHINE)
        return recipe, find_or_start_run(recipe, MACHINE, name=name), work

    return begin


def status(run_id: str) -> str:
    return str(mlflow_store.open_store().client.get_run(run_id).info.status)


def test_before_there_is_a_store_nothing_is_made(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GANLINE_HOME", str(tmp_path / "fresh"))
    assert end_idle_runs(tmp_path / "work", "KILLED") == []
    assert not (tmp_path / "fresh").exists()


def test_a_run_that_nobody_trains_is_ended_one_at_work_and_a_finished_one_are_not(begun, home) -> None:
    (_, left, _), (_, busy, work), (_, done, _) = begun("left"), begun("busy"), begun("done")
    finish(done, metrics={})
    with FileLock(work / ".lock"):
        assert end_idle_runs(home / "work", "KILLED") == ["left"]
    assert (status(left), status(busy), status(done)) == ("KILLED", "RUNNING", "FINISHED")
    assert end_idle_runs(home / "work", "FAILED") == ["busy"]
    assert end_idle_runs(home / "work", "KILLED") == []


def test_only_the_recipe_that_is_named(begun, home) -> None:
    (recipe, mine, _), (_, other, _) = begun("mine"), begun("other")
    assert end_idle_runs(home / "work", "FAILED", recipe=recipe) == ["mine"]
    assert (status(mine), status(other)) == ("FAILED", "RUNNING")
    end_idle_runs(home / "work", "KILLED")


def test_runs_that_are_no_trainings_are_let_be(begun, home) -> None:
    _, left, _ = begun("left")
    store = mlflow_store.open_store()
    users = store.client.create_run(store.experiment_id, run_name="my own").info.run_id
    decision = store.client.create_run(store.experiment_id, tags={"ganline.promotion": "shapes"}).info.run_id
    assert end_idle_runs(home / "work", "KILLED") == ["left"]
    assert (status(left), status(users), status(decision)) == ("KILLED", "RUNNING", "RUNNING")


NOTHING_TO_END = """
import sys, time
from pathlib import Path
from ganline import effects
began = time.process_time()
effects.end_abandoned_runs(Path.cwd())
print("mlflow" in sys.modules, time.process_time() - began)
"""


def test_where_no_training_is_running_mlflow_is_not_imported(begun, home, tmp_path) -> None:
    def run() -> str:
        command = [sys.executable, "-c", NOTHING_TO_END]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout

    _, left, _ = begun("left")
    store = mlflow_store.open_store()
    store.client.create_run(store.experiment_id, run_name="my own")
    assert run().startswith("True")
    assert status(left) == "KILLED"
    assert run().startswith("False")


def test_on_a_server_runs_of_other_machines_are_let_be(begun, home, monkeypatch) -> None:
    _, mine, _ = begun("mine")
    _, other, work = begun("other")
    write_json(work / "machine.json", MACHINE | {"threads": 64})
    monkeypatch.setattr(mlflow_runs, "is_embedded", lambda: False)
    assert end_idle_runs(home / "work", "KILLED") == ["mine"]
    assert (status(mine), status(other)) == ("KILLED", "RUNNING")
    monkeypatch.undo()


def test_a_training_that_goes_on_is_running_again_in_the_same_process(begun, home) -> None:
    _, run_id, work = begun("resumed")

    def tell(step: int) -> None:
        with (work / "history.jsonl").open("a") as history:
            history.write(json.dumps({"step": step, "nimg": step * 64, "loss_G": 1.0}) + "\n")
        follow(run_id, work)

    tell(1)
    assert "resumed" in end_idle_runs(home / "work", "KILLED")
    tell(2)
    assert status(run_id) == "RUNNING"


def test_while_another_workspace_is_at_work_nothing_is_called_abandoned(begun, home, tmp_path) -> None:
    _, left, _ = begun("left")
    locks = home / "locks"
    locks.mkdir(exist_ok=True)
    with FileLock(locks / "checkout.lock"), FileLock(locks / "mnist.lock"):
        effects.end_abandoned_runs(tmp_path)
        assert status(left) == "RUNNING"
    with FileLock(locks / "checkout.lock"):  # our own
        effects.end_abandoned_runs(tmp_path)
    assert status(left) == "KILLED"


def test_a_store_s_trouble_is_a_warning(monkeypatch, caplog, tmp_path) -> None:
    def refuse(*_: object, **__: object) -> list[str]:
        raise RegistryError("the server does not answer")

    monkeypatch.setattr(mlflow_runs, "end_idle_runs", refuse)
    effects.end_abandoned_runs(tmp_path)
    assert "MLflow cannot end a run just now: the server does not answer" in caplog.text
