"""The deployment on a real Prefect server: cron gives scheduled runs, and a worker completes one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests

from tests.line.project import Project, make_project
from tests.unit.servers import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@contextmanager
def background(project: Project, env: dict[str, str], *command: str, log: str) -> Iterator[subprocess.Popen[bytes]]:
    with (project.root / log).open("w") as out:
        process = subprocess.Popen(command, cwd=project.root, env=env, stdout=out, stderr=out, start_new_session=True)
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def until(probe, *, within: float, every: float = 1.0):
    """The first truthy answer of `probe`."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            if answer := probe():
                return answer
        except requests.RequestException:
            pass
        time.sleep(every)
    raise AssertionError(f"no answer within {within} s")


def test_nightly_is_scheduled_and_a_worker_completes_a_run(tmp_path) -> None:
    project = make_project(tmp_path / "deployed")
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    env = project.environment() | {
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_API_URL": api,
        "PWD": str(project.root),
    }
    (tmp_path / "prefect").mkdir()

    def prefect(*arguments: str) -> str:
        result = subprocess.run(
            ["prefect", "--no-prompt", *arguments],
            cwd=project.root,
            env=env,
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def runs(**where: object) -> list[dict]:
        return requests.post(f"{api}/flow_runs/filter", json=where, timeout=10).json()

    with background(
        project, env, "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), log="server.log"
    ):
        until(lambda: requests.get(f"{api}/health", timeout=5).ok, within=120)
        prefect("work-pool", "create", "ganline", "--type", "process")
        prefect("deploy", "--all")
        scheduled = {"state": {"type": {"any_": ["SCHEDULED"]}}}
        waiting = until(lambda: runs(flow_runs=scheduled), within=120)
        assert all(run["auto_scheduled"] for run in waiting)
        assert len({run["expected_start_time"] for run in waiting}) > 1
        deployment = requests.get(f"{api}/deployments/name/refresh/nightly", timeout=10).json()
        assert deployment["schedules"][0]["schedule"]["cron"] == "0 3 * * *"
        with background(project, env, "prefect", "worker", "start", "--pool", "ganline", log="worker.log"):
            prefect("deployment", "run", "refresh/nightly")
            finished = {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]}}}

            def outcome() -> list[dict]:
                return [run for run in runs(flow_runs=finished) if run["deployment_id"] == deployment["id"]]

            ended = until(outcome, within=480, every=3.0)
    log = (project.root / "worker.log").read_text()
    assert ended[0]["state_type"] == "COMPLETED", json.dumps(ended[0]["state"]) + log[-4000:]
    assert "tiny version 1, alias champion" in project.must(
        "ganline", "run", timeout=600
    )  # the deployment registered it; the checkout finds the same bundle
