"""What `make` really calls: what users say arrives letter by letter, and nobody else's settings do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from tests.unit.hostile import EVERYTHING
from tests.unit.wheels import write_wheel

ROOT = Path(__file__).parents[2]
WATCHED = ("PYTHONPATH", "PYTHONHOME", "GIT_DIR", "GIT_INDEX_FILE", "PIP_TARGET", "PIP_CONSTRAINT", "BASH_ENV")
PYTHON = f"""#!{sys.executable}
import json, os, sys
known = ("PYTEST_ADDOPTS", "PIP_INDEX_URL", *{WATCHED!r})
print(json.dumps({{"arguments": sys.argv[1:], "environment": {{k: os.environ[k] for k in known if k in os.environ}}}}))
"""
NASTY = [
    "/my pictures",
    "a$HOME",
    "$$x ${Y} $(RES)",
    "$(shell touch made)",
    "`touch made`",
    "$(touch made)",
    '"; touch made; "',
    "'; touch made; '",
    "a;b & c | d > made",
    "a#b",
    "100%",
    "a\nb",
    "trail ",  # make itself strips what leads
    "back\\slash\\",
    "-x",
    "~/x*?[y]",
    "日本",
    "\udcff",
]


@pytest.fixture
def checkout(tmp_path) -> Path:
    """The Makefile with an environment that looks installed; its python prints what it was called with."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name in ("python", "ruff", "mypy", "deptry"):
        (tmp_path / ".venv" / "bin" / name).write_text(PYTHON)
        (tmp_path / ".venv" / "bin" / name).chmod(0o755)
    # What it looks for first is not there; it has a test of its own.
    (tmp_path / "src" / "ganline").mkdir(parents=True)
    (tmp_path / "src" / "ganline" / "doctor.py").touch()
    for stamp in (".installed", ".installed-study", ".installed-dev"):
        (tmp_path / ".venv" / stamp).touch()
    return tmp_path


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "PYTEST"))}
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=folder,
        env=outside | environment,
        capture_output=True,
        text=True,
        errors="surrogateescape",
    )


def called(folder: Path, *arguments: str, **environment: str) -> dict:
    """The last call of the environment's python."""
    done = make(folder, *arguments, **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_make_run_passes_on_what_was_asked_and_nothing_else(checkout) -> None:
    ganline = ["-P", "-m", "ganline", "run"]
    for asked, options in (
        ([], []),
        (["PRESET=mnist"], ["--preset=mnist"]),
        (["DATA=/p", "RES=64"], ["--data=/p", "--res=64"]),
        (["DATA=/p", "NAME=cats", "ACCEPT=1"], ["--data=/p", "--name=cats", "--accept"]),
    ):
        # Some systems set NAME.
        assert called(checkout, "run", *asked, NAME="a-computer", AS="as")["arguments"] == ganline + options


@pytest.mark.parametrize("goal", ["run", "speedup"])
@pytest.mark.parametrize("value", ["", "0", "no", "1 "])
def test_only_accept_1_accepts_changed_data(checkout, goal, value) -> None:
    assert "--accept" not in called(checkout, goal, f"ACCEPT={value}")["arguments"]
    assert "--accept" in called(checkout, goal, "ACCEPT=1")["arguments"]


@pytest.mark.parametrize("value", NASTY)
def test_what_users_say_arrives_letter_by_letter_and_is_never_run(checkout, value) -> None:
    before = sorted(checkout.iterdir())
    for target, name, option in (
        *(("run", name, f"--{name.lower()}") for name in ("DATA", "PRESET", "RES", "NAME")),
        ("speedup", "PRESET", "--preset"),
        ("ui", "PORT", "--port"),
    ):
        assert called(checkout, target, f"{name}={value}")["arguments"][-1] == f"{option}={value}"
    assert called(checkout, "run", DATA=value)["arguments"][-1] == f"--data={value}"  # from the environment
    assert sorted(checkout.iterdir()) == before


@pytest.mark.parametrize("target", ["test", "test-slow", "check"])
def test_arguments_for_the_tests_keep_their_quotes_and_are_never_run(checkout, target) -> None:
    before = sorted(checkout.iterdir())
    arguments = "-k 'a and b' --x $(touch made) `touch made` ; touch made"
    call = called(checkout, target, f"ARGS={arguments}", PYTEST_ADDOPTS="--mine")
    assert call["arguments"] == ["-m", "pytest"]
    options = call["environment"]["PYTEST_ADDOPTS"]
    assert options.startswith("--mine ")
    assert options.endswith(f" {arguments}")
    assert ("-m slow" in options) == (target == "test-slow")
    assert sorted(checkout.iterdir()) == before


@pytest.mark.parametrize("argument", ["DATA=/my pictures", "RES=64", "NAME=cats"])
def test_make_speedup_refuses_what_it_would_ignore_before_an_install(checkout, argument) -> None:
    shutil.rmtree(checkout / ".venv")
    done = make(checkout, "speedup", argument)
    assert done.returncode
    assert "data.source" in done.stderr
    assert not (checkout / ".venv").exists()


OF_BOTH, OF_RUN = ("PRESET=no-such-preset", "ACCEPT=0"), ("DATA=/no/such/folder", "DATA=" + "d" * 300)


@pytest.mark.parametrize(("goal", "asked"), [*product(("run", "speedup"), OF_BOTH), *product(("run",), OF_RUN)])
def test_what_cannot_be_done_is_refused_before_an_install(checkout, goal, asked) -> None:
    shutil.rmtree(checkout / ".venv")
    shutil.copyfile(ROOT / "src" / "ganline" / "doctor.py", checkout / "src" / "ganline" / "doctor.py")
    done = make(checkout, goal, asked)
    assert done.returncode == 2
    assert "error: " in done.stdout and "expected: " in done.stdout
    assert "Traceback" not in done.stderr
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize(("goal", "extra"), [("speedup", "study"), ("test", "dev")])
def test_a_goal_installs_the_extra_that_it_reads(checkout, goal, extra) -> None:
    (checkout / ".venv" / f".installed-{extra}").unlink()
    assert f"-c constraints.txt -e '.[{extra}]'" in make(checkout, "-n", goal).stdout


def test_what_others_export_for_their_own_work_stays_outside(checkout) -> None:
    foreign = dict.fromkeys(WATCHED, "/elsewhere") | {"SHELLOPTS": "noexec", "CDPATH": "/", "MAKEFLAGS": "-j8"}
    call = called(checkout, "run", PIP_INDEX_URL="https://a.mirror/simple", **foreign)
    assert call["environment"] == {"PIP_INDEX_URL": "https://a.mirror/simple"}


@pytest.mark.parametrize("target", ["test", "run", "check"])
def test_a_dry_run_changes_nothing(checkout, target) -> None:
    (checkout / ".venv" / ".installing").touch()
    os.utime(checkout / "pyproject.toml")
    times = {path: path.stat().st_mtime_ns for path in checkout.rglob("*")}
    assert make(checkout, "-n", target).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in checkout.rglob("*")} == times


BACKEND = """
import os
from wheels import write_wheel
def build_editable(folder, config_settings=None, metadata_directory=None):
    return write_wheel(folder, "ganline", "def main():\\n    print('here')\\n", needs="needed")
"""
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "ganline"
version = "1"
"""
PIP_CONF = """
[global]
target = {0}/t
user = true
dry-run = true
[install]
no-deps = true
require-hashes = true
prefix = {0}/p
"""


def test_pip_s_user_settings_say_where_packages_are_found_but_not_what_is_installed_where(tmp_path) -> None:
    root, links, home = tmp_path / EVERYTHING, tmp_path / "links", tmp_path / "home"
    (root / "src" / "ganline").mkdir(parents=True)
    (root / ".git").mkdir()
    for name in ("Makefile", "src/ganline/doctor.py"):
        shutil.copyfile(ROOT / name, root / name)
    (root / "pyproject.toml").write_text(PROJECT)
    (root / "backend.py").write_text(BACKEND)
    (root / "constraints.txt").write_text("needed==1\n")
    (root / "yaml.py").write_text("raise SystemExit('shadowed')\n")
    shutil.copyfile(Path(__file__).with_name("wheels.py"), root / "wheels.py")
    links.mkdir()
    write_wheel(links, "needed", "")
    (home / ".config" / "pip").mkdir(parents=True)
    (home / ".config" / "pip" / "pip.conf").write_text(PIP_CONF.format(home))
    (tmp_path / "other.txt").write_text("needed==2\n")
    settings = {
        "pip.conf": {},
        "places": {"PIP_TARGET": f"{home}/a", "PIP_PREFIX": f"{home}/b", "PIP_ROOT": f"{home}/c", "PIP_USER": "1"},
        "choices": {"PIP_NO_DEPS": "1", "PIP_REQUIRE_HASHES": "1", "PIP_DRY_RUN": "1", "PIP_NO_BINARY": ":all:"},
        "constraints": {"PIP_CONSTRAINT": f"{tmp_path}/other.txt", "PIP_REQUIRE_VIRTUALENV": "1"},
        "python": {
            "PYTHONPATH": str(root),
            "PYTHONHOME": "/no",
            "PYTHONWARNINGS": "error",
            "CONDA_PREFIX": "/opt/conda",
        },
        "git": {"GIT_DIR": "/no", "GIT_WORK_TREE": "/no"},
    }
    for name, variables in settings.items():
        (root / ".venv" / ".installed").unlink(missing_ok=True)
        if name != "pip.conf":
            subprocess.run(
                [root / ".venv/bin/python", "-m", "pip", "uninstall", "-qy", "ganline", "needed"], check=True
            )
        network = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(links), "HOME": str(home)}
        done = make(root, ".venv/.installed", f"PYTHON={sys.executable}", **network, **variables)
        assert done.returncode == 0, (name, done.stdout, done.stderr)
        installed = subprocess.run([root / ".venv/bin/ganline"], env={}, capture_output=True, text=True)
        assert installed.stdout == "here\n", (name, installed.stderr)
        assert list(root.glob(".venv/lib/python*/site-packages/needed.py")), name
        assert not list(home.rglob("*.py")), name


FAKE_PYTHON = """#!/bin/bash
case "$*" in *"-m venv"*) mkdir -p .venv/bin; rm -rf .venv/lib; cp "$0" .venv/bin/python;; esac
"""


@pytest.mark.parametrize("place", ["moved", "copied", "linked", "here"])
def test_an_environment_that_was_made_for_another_folder_is_made_anew(checkout, tmp_path_factory, place) -> None:
    """pip's pointer to the code that an environment runs says where it was made."""
    original = tmp_path_factory.mktemp("original of mine")
    (original / "src").mkdir()
    (checkout / "src").mkdir(exist_ok=True)
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


@pytest.mark.parametrize("goal", ["test", "test-slow", "check"])
def test_the_tests_run_where_nothing_else_is_said(checkout, goal, monkeypatch) -> None:
    for name in ("ARGS", "WORKERS"):
        monkeypatch.delenv(name, raising=False)
    assert called(checkout, goal)["arguments"] == ["-m", "pytest"]
