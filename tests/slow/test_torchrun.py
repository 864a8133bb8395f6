"""`ganline train` over two ranks: one is killed, all go on from the checkpoint, and the end is the undisturbed one."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.line.project import Project, make_project

pytestmark = pytest.mark.slow

LONGER = {"train": {"total_kimg": 4.0, "checkpoint_seconds": 0.0}}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Project:
    """A tiny project up to where training begins."""
    project = make_project(tmp_path_factory.mktemp("ranks"), LONGER)
    project.must("ganline", "fetch")
    project.must("dvc", "repro", "extractor")
    return project


@pytest.fixture(scope="module")
def whole(prepared) -> dict[str, bytes]:
    """What an undisturbed training makes."""
    clean(prepared)
    finish(start(prepared))
    assert '"world_size": 2' in (work_of(prepared) / "machine.json").read_text()
    return prepared.outs()


def start(project: Project) -> subprocess.Popen[str]:
    env = project.environment() | {"GANLINE_RANKS": "2"}
    return subprocess.Popen(
        ["ganline", "train"], cwd=project.root, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: subprocess.Popen[str]) -> str:
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output[-3000:]
    return output


def clean(project: Project) -> None:
    for folder in ("artifacts/train", ".ganline/work"):
        subprocess.run(["rm", "-rf", str(project.root / folder)], check=True)


def ranks_of(process: subprocess.Popen[str]) -> dict[str, psutil.Process]:
    """The training processes below the launcher, by rank."""
    found = {}
    for child in psutil.Process(process.pid).children(recursive=True):
        environment = child.environ()
        if "RANK" in environment:
            found[environment["RANK"]] = child
    return found


def work_of(project: Project) -> Path:
    (folder,) = (project.root / ".ganline" / "work").iterdir()
    return folder


@pytest.mark.parametrize("victim", ["0", "1"])
def test_a_killed_rank_costs_nothing_but_time(prepared, whole, victim) -> None:
    clean(prepared)
    process = start(prepared)
    deadline = time.monotonic() + 120
    checkpoints = prepared.root / ".ganline" / "work"
    while not list(checkpoints.glob("*/checkpoints/step-*/COMMITTED")):
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()[0][-3000:]
        time.sleep(0.05)
    os.kill(ranks_of(process)[victim].pid, signal.SIGKILL)
    output = finish(process)
    assert "training resumes at" in output
    assert prepared.outs() == whole


def test_an_uneven_share_is_refused_in_words(prepared) -> None:
    env = prepared.environment() | {"GANLINE_RANKS": "3"}
    done = subprocess.run(
        ["ganline", "train"], cwd=prepared.root, env=env, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode != 0
    assert "a batch of 16 cannot be shared by 3 ranks" in done.stderr
