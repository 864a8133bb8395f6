"""`kill -9` of everything at awkward moments, then the same command again: as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.line.project import Project, make_project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

# What the log says when a kill is due: from fetching over checkpoints to registering.
MOMENTS = ["fetch", "Running stage 'manifest'", "Running stage 'prepare'", "training starts", "kimg", "kimg"]
MOMENTS += ["Running stage 'evaluate'", "Running stage 'export'", "export: ran", "Validating input example"]

LONGER = {"train": {"total_kimg": 8, "tick_kimg": 0.32}}


def kill_when(project: Project, words: str, log: Path, *, delay: float, within: float = 240.0) -> bool:
    """Run the line, kill its whole process group `delay` seconds after `words` shows. False if it ended before."""
    with log.open("w") as out:
        process = subprocess.Popen(
            ["ganline", "run"],
            cwd=project.root,
            env=project.environment(),
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    end = time.monotonic() + within
    while time.monotonic() < end and process.poll() is None:
        if words in log.read_text():
            time.sleep(delay)
            break
        time.sleep(0.02)
    killed = process.poll() is None
    if killed:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return killed


def stragglers(project: Project) -> list[str]:
    found = []
    for process in psutil.process_iter(["cmdline", "cwd", "status"]):
        inside = str(process.info["cwd"] or "").startswith(str(project.root))
        if inside and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(" ".join(process.info["cmdline"] or []))
    return found


def test_ten_kills_end_in_the_same_bits_one_run_and_no_process_left(tmp_path) -> None:
    undisturbed = make_project(tmp_path / "calm", LONGER)
    undisturbed.must("ganline", "run")
    project = make_project(tmp_path / "killed", LONGER)
    rng, kills = random.Random(7), 0
    for number, words in enumerate(MOMENTS):
        kills += kill_when(project, words, tmp_path / f"{number}.log", delay=rng.uniform(0.0, 0.7))
        time.sleep(2.0)
        assert stragglers(project) == [], f"after kill {number} at {words!r}"
    assert kills == len(MOMENTS)
    output = project.must("ganline", "run")
    assert "tiny version 1, alias champion" in output
    mine, theirs = project.outs(), undisturbed.outs()
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if mine[name] != theirs[name]] == []
    assert_one_whole_run(project, theirs["train/history.jsonl"].decode().count("\n"))


def assert_one_whole_run(project: Project, num_ticks: int) -> None:
    """One MLflow run, one version, every tick logged once."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{project.root}/.ganline/mlflow/mlflow.db"
    client = MlflowClient(uri, uri)
    experiments = [e.experiment_id for e in client.search_experiments()]
    runs = [run for run in client.search_runs(experiments) if "ganline.recipe" in run.data.tags]
    assert len(runs) == 1
    steps = [metric.step for metric in client.get_metric_history(runs[0].info.run_id, "loss_G")]
    assert len(steps) == len(set(steps)) == num_ticks
    assert [version.version for version in client.search_model_versions("name='tiny'")] in ([1], ["1"])
