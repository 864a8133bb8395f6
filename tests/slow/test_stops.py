"""A stop reaches all that was started: the server of the MLflow UI, the processes of a line, its MLflow run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from tests.line.project import Project, make_project
from tests.slow.test_kills import BEGUN, LONGER, start, stragglers, wait_for
from tests.unit.servers import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("stops"), LONGER)


def gone(project: Project, *, within: float = 15.0) -> bool:
    end = time.monotonic() + within
    while time.monotonic() < end:
        if not stragglers(project):
            return True
        time.sleep(0.2)
    return False


def is_free(port: int) -> bool:
    """Whether nobody listens any more: threads of a killed process may hold its socket for a moment."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with socket.socket() as probing:
            if probing.connect_ex(("127.0.0.1", port)):
                return True
        time.sleep(0.2)
    return False


def answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    end = time.monotonic() + 180
    while time.monotonic() < end and process.poll() is None:
        try:
            return bool(urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).status == 200)
        except OSError:
            time.sleep(0.3)
    return False


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL], ids=lambda s: s.name)
def test_the_server_of_ganline_ui_ends_with_it(project, stop) -> None:
    port = free_port()
    command = ["ganline", "ui", "--port", str(port)]
    process = subprocess.Popen(command, cwd=project.root, env=project.environment(), start_new_session=True)
    try:
        assert answers(port, process)
        process.send_signal(stop)
        process.wait(timeout=60)
        assert gone(project), stragglers(project)
    finally:
        process.kill()
    assert is_free(port)


def test_a_port_that_is_taken_is_told(project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        taken = project.run("ganline", "ui", "--port", str(port))
    assert taken.returncode == 1
    assert f"port {port} cannot be used" in taken.stdout and "ganline ui --port" in taken.stdout


def run_states(project: Project) -> list[str]:
    from mlflow import MlflowClient

    uri = f"sqlite:///{project.root}/.ganline/mlflow/mlflow.db"
    client = MlflowClient(uri, uri)
    experiments = [each.experiment_id for each in client.search_experiments()]
    return [run.info.status for run in client.search_runs(experiments)]


def flow_states(project: Project) -> list[str]:
    import sqlite3

    with sqlite3.connect(project.root / ".ganline" / "prefect" / "prefect.db") as database:
        return [row[0] for row in database.execute("select state_type from flow_run order by created")]


def begin_training(project: Project, log: Path) -> subprocess.Popen[bytes]:
    process = start(project, log)
    for _ in range(3):  # four minutes each
        if process.poll() is None and wait_for(project, BEGUN, log, process):
            break
    else:
        raise AssertionError(log.read_text())
    end = time.monotonic() + 240
    while time.monotonic() < end and not (database_is_made(project) and "RUNNING" in run_states(project)):
        time.sleep(0.5)
    assert run_states(project) == ["RUNNING"]
    return process


def database_is_made(project: Project) -> bool:
    return (project.root / ".ganline" / "mlflow" / "mlflow.db").exists()


ENDLESS = {"train": {"total_kimg": 100_000, "tick_kimg": 0.32}}


def test_a_stopped_training_ends_its_run_and_goes_on_in_the_same_one(tmp_path) -> None:
    project = make_project(tmp_path / "stopped", ENDLESS)
    project.must("ganline", "fetch")
    project.must("dvc", "repro", "reference")
    for number, (stop, whole_group) in enumerate(
        [(signal.SIGTERM, False), (signal.SIGINT, True), (signal.SIGHUP, False)]
    ):
        log = tmp_path / f"{number}.log"
        process = begin_training(project, log)
        (os.killpg if whole_group else os.kill)(process.pid, stop)
        assert process.wait(timeout=60) == 130, log.read_text()
        assert gone(project), stragglers(project)
        assert run_states(project) == ["KILLED"], log.read_text()
        assert "RUNNING" not in flow_states(project)
        text = log.read_text()
        assert "run the same command again" in text
        for noise in ("Traceback", "NoneType", "Crash", "Error"):
            assert noise not in text
    # Nobody says goodbye after kill -9: the next run does.
    process = begin_training(project, tmp_path / "killed.log")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert gone(project)
    assert run_states(project) == ["RUNNING"]
    project.set_params({"validate": {"suite": "mnist"}})
    refused = project.run("ganline", "run")
    assert refused.returncode == 1
    assert run_states(project) == ["KILLED"]
    assert_says_once_where_it_stopped(refused.stdout)
    # A training that fails ends its run as FAILED.
    project.set_params({"validate": {"suite": "digits"}})
    process = begin_training(project, tmp_path / "failed.log")
    trainer = next(
        each
        for each in psutil.process_iter(["cmdline", "cwd"])
        if each.info["cwd"] == str(project.root) and (each.info["cmdline"] or [""])[-1] == "train"
        if each.name() not in ("sh", "bash")
    )
    trainer.kill()
    assert process.wait(timeout=120) == 1
    assert run_states(project) == ["FAILED"]


def assert_says_once_where_it_stopped(text: str) -> None:
    """The step's own words, then one message that names it."""
    assert "failed: There are 70,000 images: 5,000" in text
    told = text.splitlines()
    assert [line for line in told if "the line stopped" in line] == [
        "error: the line stopped at validate: its last lines say why"
    ]
    assert told[-1].startswith("  to do: mend it and run the same command again")
    for noise in ("NoneType", "Traceback", "Task run failed", "Finished in state Failed"):
        assert noise not in text
