"""The whole line behind a proxy that never answers, with planted secrets and a home of its own: nothing asks the
proxy, nothing lies outside, nothing leaks."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from ganline.environment import CACHES
from tests.line.canaries import CANARIES, CHANGED, NEW, leaks, packages, patched_names, planted_project
from tests.line.project import Project
from tests.unit.servers import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
VARIABLES = ("http_proxy", "https_proxy", "all_proxy")


@contextmanager
def deaf_proxy() -> Iterator[tuple[str, list[bytes]]]:
    """Its URL, and what was said to it; it answers nothing."""
    said: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            peers = []
            while True:
                try:
                    peers.append(server.accept()[0])
                except OSError:
                    return
                said.append(b"a connection")

        threading.Thread(target=listen, daemon=True).start()
        yield f"http://me:secret@127.0.0.1:{server.getsockname()[1]}", said
        server.shutdown(socket.SHUT_RDWR)


def run(project: Project, env: dict[str, str], *command: str) -> tuple[int, str, float]:
    """Exit code, output and seconds of a command."""
    started = time.monotonic()
    done = subprocess.run(
        command, cwd=project.root, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1200
    )
    return done.returncode, done.stdout, time.monotonic() - started


@dataclass(frozen=True)
class Behind:
    """A project that ran behind the proxy: what it printed, what was said to the proxy, the folder of all it wrote."""

    project: Project
    env: dict[str, str]
    output: str
    said: list[bytes]
    folder: Path


@pytest.fixture(scope="module")
def behind(tmp_path_factory) -> Iterator[Behind]:
    """The checkout and a preset, with planted secrets, a home of its own and a proxy that never answers."""
    folder = tmp_path_factory.mktemp("behind")
    project = planted_project(folder)
    (project.root / "presets" / "other.yaml").write_text("train: {seed: 11}\nregister: {name: other}\n")
    with deaf_proxy() as (url, said):
        proxies = dict.fromkeys((*VARIABLES, *map(str.upper, VARIABLES)), url)
        outside = {name: value for name, value in project.environment().items() if name not in CACHES}
        env, output = outside | proxies, ""
        for options in ([], ["--preset", "other"]):
            code, told, _ = run(project, env, "ganline", "run", *options)
            assert code == 0, told
            output += told
        assert said == []
        yield Behind(project, env, output, said, folder)


def test_the_line_runs_behind_a_deaf_proxy_and_writes_nothing_outside_the_project(behind) -> None:
    assert "tiny version 1, alias champion" in behind.output
    assert "other version 1, alias" in behind.output
    assert "Traceback" not in behind.output
    assert list((behind.folder / "home").rglob("*")) == []
    assert sorted(path.name for path in behind.folder.iterdir()) == ["home", "project", "tmp"]
    assert (behind.project.root / ".ganline" / "cache" / "dvc").is_dir()  # else it would lie under /var/tmp


def test_no_planted_secret_is_in_what_the_flow_writes_in_the_checkout_and_isolated(behind) -> None:
    """Prefect's database and logs, a workspace, the registry."""
    assert leaks(behind.folder, behind.project) == []
    assert [name for name, secret in CANARIES.items() if secret.decode() in behind.output] == []
    travelled = {NEW, CHANGED, "presets/other.yaml"}
    found = [patched_names(package) for package in packages(behind.project)]
    assert len(found) == 2
    assert travelled in found  # of the checkout
    assert travelled | {"params.yaml"} in found  # of the workspace, whose parameters are its own
    assert list((behind.project.root / ".ganline" / "prefect").glob("*.db")), "Prefect's database was not looked at"


def test_models_come_from_a_server_on_loopback(behind, tmp_path) -> None:
    project, env, port = behind.project, behind.env, free_port()
    log = (tmp_path / "ui.log").open("w")
    command = ["ganline", "ui", "--port", str(port)]
    ui = subprocess.Popen(command, cwd=project.root, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        end = time.monotonic() + 180
        with requests.Session() as session:
            session.trust_env = False
            while True:
                try:
                    if session.get(f"http://127.0.0.1:{port}/health", timeout=5).ok:
                        break
                except requests.RequestException:
                    assert time.monotonic() < end, (tmp_path / "ui.log").read_text()
                    time.sleep(1)
        there = env | {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}", "GANLINE_HOME": str(tmp_path / "home")}
        load = "import ganline, sys; print(ganline.load('models:/tiny@champion').sample(n=2, seed=0).shape)"
        code, output, _ = run(project, there, sys.executable, "-c", load)
        assert code == 0, output
        assert output.splitlines()[-1].startswith("(2, ")
    finally:
        os.killpg(ui.pid, signal.SIGTERM)
        ui.wait(timeout=60)
    assert behind.said == []


@pytest.mark.parametrize("variable", ["PREFECT_API_URL", "MLFLOW_TRACKING_URI"])
def test_a_dead_server_is_told_before_anything_is_written(behind, variable) -> None:
    project, env = behind.project, behind.env
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        dead = env | {variable: f"http://127.0.0.1:{deaf.getsockname()[1]}/api"}
        before = sorted((project.root / ".ganline").iterdir())
        code, output, seconds = run(project, dead, "ganline", "run", "--preset", "digits")
    assert code == 1
    assert variable in output and "unset it" in output
    assert "Traceback" not in output
    assert seconds < 60  # the imports of a loaded machine included
    assert sorted((project.root / ".ganline").iterdir()) == before


def test_a_download_names_the_proxy_without_its_password(behind) -> None:
    project = behind.project
    env = {name: value for name, value in behind.env.items() if name != "GANLINE_MIRROR"}
    project.set_params({"data": {"source": {"name": "mnist"}}})
    code, output, seconds = run(project, env, "ganline", "fetch", "--accept")
    assert code == 1
    assert "the proxy http://127.0.0.1:" in output and "answers nothing within 5 s" in output
    assert "correct or unset" in output
    assert "secret" not in output and "Traceback" not in output
    assert seconds < 60
    assert behind.said  # it was asked: what is published lies behind it
