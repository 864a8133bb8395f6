"""`kill -9` of everything at awkward moments, then the same command again: as if nothing had happened."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.line.project import Project, make_project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

# When a kill is due: what the log says, or a file that exists only meanwhile. From fetching over checkpoints and the
# making of MLflow's tables to registering.
MOMENTS = ["fetch", "Running stage 'manifest'", "Running stage 'prepare'", "training starts", "kimg"]
MOMENTS += ["file:.ganline/*/*/checkpoints/.partial-step-*", "file:.ganline/mlflow/.partial-mlflow.db"]
MOMENTS += ["Running stage 'evaluate'", "Running stage 'export'", "export: ran", "Validating input example"]

LONGER = {"train": {"total_kimg": 16, "tick_kimg": 0.32}}
BEGUN = "training starts|training resumes"


def is_due(project: Project, moment: str, log: Path) -> bool:
    if moment.startswith("file:"):
        return any(project.root.glob(moment.removeprefix("file:")))
    text = log.read_text()
    return any(words in text for words in moment.split("|"))


def start(project: Project, log: Path, *options: str) -> subprocess.Popen[bytes]:
    command = ["ganline", "run", *options]
    with log.open("w") as out:
        return subprocess.Popen(
            command, cwd=project.root, env=project.environment(), stdout=out, stderr=out, start_new_session=True
        )


def wait_for(project: Project, moment: str, log: Path, process: subprocess.Popen[bytes]) -> bool:
    """Whether the moment came before the line ended."""
    end = time.monotonic() + 240.0
    while time.monotonic() < end and process.poll() is None:
        if is_due(project, moment, log):
            return True
        time.sleep(0.01)
    return False


def kill_when(project: Project, moment: str, log: Path, *options: str, delay: float) -> bool:
    """Run the line, kill its whole process group `delay` seconds after the moment came. False if it ended before."""
    process = start(project, log, *options)
    if wait_for(project, moment, log, process):
        time.sleep(delay)
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


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = make_project(tmp_path_factory.mktemp("calm"), LONGER)
    project.must("ganline", "run")
    return project


def assert_same_outs(one: Project, two: Project) -> None:
    mine, theirs = one.outs(), two.outs()
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if mine[name] != theirs[name]] == []


def test_kills_at_every_moment_end_in_the_same_bits_one_run_and_no_process_left(undisturbed, tmp_path) -> None:
    project = make_project(tmp_path / "killed", LONGER)
    rng, kills = random.Random(7), 0
    for number, moment in enumerate(MOMENTS):
        if "mlflow" in moment:  # its tables are made once: make them again
            shutil.rmtree(project.root / ".ganline" / "mlflow", ignore_errors=True)
        delay = 0.0 if moment.startswith("file:") else rng.uniform(0.0, 0.7)
        kills += kill_when(project, moment, tmp_path / f"{number}.log", delay=delay)
        time.sleep(2.0)
        assert stragglers(project) == [], f"after kill {number} at {moment!r}"
    assert kills == len(MOMENTS)
    output = project.must("ganline", "run")
    assert "tiny version 1, alias champion" in output
    assert_same_outs(project, undisturbed)
    assert_one_whole_run(project, undisturbed.outs()["train/history.jsonl"].decode().count("\n"))


PROCESSES = ["ganline run", "flows/pipeline.py", "-m ganline.leash dvc", "ganline train"]


def find_process(project: Project, words: str) -> psutil.Process:
    """The process of the project's line whose command holds the words; not a shell around it."""
    for process in psutil.process_iter(["cmdline", "cwd", "name"]):
        inside = str(process.info["cwd"] or "").startswith(str(project.root))
        if inside and words in " ".join(process.info["cmdline"] or []) and process.info["name"] not in ("sh", "bash"):
            return process
    raise AssertionError(f"no process {words!r}")


def test_one_killed_process_takes_the_others_along_and_the_line_goes_on_where_it_was(undisturbed, tmp_path) -> None:
    project = make_project(tmp_path / "killed", LONGER)
    for number, words in enumerate(PROCESSES):
        log = tmp_path / f"{number}.log"
        process = start(project, log)
        assert wait_for(project, BEGUN, log, process), log.read_text()
        assert wait_for(project, "file:.ganline/*/*/checkpoints/step-*/COMMITTED", log, process), log.read_text()
        find_process(project, words).kill()
        assert process.wait(timeout=60) != 0
        time.sleep(2.0)
        assert stragglers(project) == [], f"after {words!r} was killed"
    output = project.must("ganline", "run")
    assert "training resumes at" in output
    assert "tiny version 1, alias champion" in output
    assert_same_outs(project, undisturbed)
    assert_one_whole_run(project, undisturbed.outs()["train/history.jsonl"].decode().count("\n"))


def test_a_preset_killed_while_its_workspace_is_made_ends_as_if_never_killed(undisturbed, tmp_path) -> None:
    project = make_project(tmp_path / "killed", LONGER)
    (project.root / "presets" / "other.yaml").write_text("register: {name: other}\n")
    for number, moment in enumerate(("file:.ganline/ws/other", "file:.ganline/ws/other/src", "training starts")):
        assert kill_when(project, moment, tmp_path / f"{number}.log", "--preset", "other", delay=0.0)
        time.sleep(2.0)
        assert stragglers(project) == []
    assert "other version 1, alias champion" in project.must("ganline", "run", "--preset", "other")
    assert_same_outs(Project(project.root / ".ganline" / "ws" / "other"), undisturbed)


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
