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


FAKE_PYTHON = """#!/bin/bash
case "$*" in *"-m venv"*) mkdir -p .venv/bin; rm -rf .venv/lib; cp "$0" .venv/bin/python;; esac
"""


@pytest.mark.parametrize("place", ["moved", "copied", "linked", "here"])
def test_an_environment_that_was_made_for_another_folder_is_made_anew(checkout, tmp_path_factory, place) -> None:
    """pip's pointer to the code that an environment runs says where it was made."""
    original = tmp_path_factory.mktemp("original of mine")
    (original / "src").mkdir()
    (checkout / "src").mkdir()
    packages = checkout / ".venv" / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    if place == "linked":
        (checkout / ".venv").rename(original / "venv")
        (checkout / ".venv").symlink_to(original / "venv")
    source = {"moved": original / "gone", "here": checkout / "src"}.get(place, original / "src")
    (packages / "__editable__.ganline-0.1.0.pth").write_text(f"{source}\n")
    python = checkout / "fake-python"
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    command = ["make", f"PYTHON={python}", ".venv/.installed"]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("was made for another folder" in done.stdout) == (place != "here")
    assert not (checkout / ".venv").is_symlink()
    if place == "linked":  # the other checkout's environment is not ours to clear
        assert (original / "venv" / "lib").is_dir()
