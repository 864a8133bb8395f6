"""What `make` really calls, down to make's own built-in variables (AS, CC, …) and those of the user's environment."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path) -> Path:
    """The Makefile with an environment that looks installed."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").mkdir()
    for stamp in (".installed", ".installed-study"):
        (tmp_path / ".venv" / stamp).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ([], "ganline run"),
        (["PRESET=mnist"], 'ganline run --preset "mnist"'),
        (["DATA=/my pictures", "RES=64"], 'ganline run --data "/my pictures" --res "64"'),
        (["DATA=/p", "NAME=cats", "ACCEPT=1"], 'ganline run --data "/p" --name "cats" --accept'),
    ],
)
def test_make_run_passes_on_what_was_asked_and_nothing_else(checkout, arguments, command) -> None:
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    env = outside | {"NAME": "a-computer", "AS": "as"}  # some systems set NAME
    done = subprocess.run(["make", "-n", "run", *arguments], cwd=checkout, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert " ".join(done.stdout.split()) == f"exec .venv/bin/{command}"


@pytest.mark.parametrize("argument", ["DATA=/my pictures", "RES=64", "NAME=cats"])
def test_make_speedup_refuses_what_it_would_ignore(checkout, argument) -> None:
    done = subprocess.run(["make", "-n", "speedup", argument], cwd=checkout, capture_output=True, text=True)
    assert done.returncode and "data.source" in done.stderr


def test_make_speedup_passes_on_the_preset(checkout) -> None:
    told = subprocess.run(
        ["make", "-n", "--no-print-directory", "speedup", "PRESET=tiny"], cwd=checkout, capture_output=True, text=True
    )
    assert told.stdout.split() == ["exec", ".venv/bin/ganline", "speedup", "--preset", '"tiny"']


@pytest.mark.parametrize(("goal", "extra"), [("speedup", "study"), ("test", "dev")])
def test_a_goal_installs_the_extra_that_it_reads(checkout, goal, extra) -> None:
    (checkout / ".venv" / ".installed-study").unlink()
    told = subprocess.run(["make", "-n", goal], cwd=checkout, capture_output=True, text=True)
    assert f"-c constraints.txt -e '.[{extra}]'" in told.stdout, told.stderr
