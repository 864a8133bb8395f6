"""A file of the present folder is not imported where it is named like a library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ganline.cli import over_ranks
from ganline.integrations.dvc_repo import run_dvc
from ganline.integrations.mlflow_store import server_command, server_environment
from ganline.workspace import Workspace


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """The present folder, with such files."""
    for name in ("dvc", "mlflow", "uvicorn", "torch", "ganline"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the present folder ran')\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_of_dvc(folder) -> None:
    said: list[str] = []
    assert run_dvc(folder, ["--version"], say=said.append) == 0, said


def test_of_the_ui_and_the_server_that_it_starts() -> None:
    asks_for_help = [*server_command(5000), "--help"]
    for command in (asks_for_help, [asks_for_help[0], "-m", "uvicorn", "--version"]):
        done = subprocess.run(command, env=server_environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_of_training_over_ranks() -> None:
    assert over_ranks("--help", 1) == 0


def test_of_a_flow_and_the_server_that_it_starts(folder, monkeypatch) -> None:
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    env = Workspace(folder, folder).environment()
    done = subprocess.run([sys.executable, "-m", "uvicorn", "--version"], env=env, check=False)
    assert done.returncode == 0
