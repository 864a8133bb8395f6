"""MLFLOW_TRACKING_URI and PREFECT_API_URL that lead nowhere: said in seconds, before anything runs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from ganline import line, network
from ganline.errors import ConfigError, GanlineError, RegistryError, WorkspaceError
from ganline.integrations import mlflow_store
from ganline.integrations.mlflow_store import (
    check_addresses,
    is_embedded,
    server_command,
    server_environment,
    store_uri,
    translated,
)
from ganline.integrations.prefect_server import check_server, flow_environment
from ganline.workspace import Workspace
from tests.unit import servers

ROOT = Path(__file__).parents[3]
DEAD = {
    "refused": (servers.refusing, "refused"),
    "silent": (servers.silent, "within"),
    "mail": (servers.mail, "does not speak http"),
    "unknown": (lambda: nullcontext("no-such-host.invalid"), "not known|no answer within"),
    "web": (lambda: servers.web({}), "is no Prefect API"),
    "broken": (lambda: servers.web({"/version": (502, ""), "/api/flows/count": (502, "")}), "502"),
}


@pytest.fixture
def impatient(monkeypatch) -> None:
    monkeypatch.setattr(network, "SECONDS", 0.5)


@pytest.mark.parametrize("kind", DEAD)
def test_a_dead_prefect_server_is_told_with_its_remedy(impatient, kind) -> None:
    server, reason = DEAD[kind]
    with server() as place, pytest.raises(WorkspaceError, match=reason) as caught:
        check_server({"PREFECT_API_URL": f"http://me:secret@{place}/api"})
    assert "unset it" in caught.value.remedy
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "login"),
    [
        ({}, ""),
        ({"PREFECT_API_KEY": "pnu_1"}, " Bearer pnu_1"),
        ({"PREFECT_API_AUTH_STRING": "admin:pass"}, " Basic YWRtaW46cGFzcw=="),
    ],
)
def test_a_living_prefect_server_is_asked_as_its_client_would(settings, login) -> None:
    asked: list[str] = []
    with servers.web({"/api/flows/count": (200, "3")}, asked) as place:
        check_server({"PREFECT_API_URL": f"http://{place}/api"} | settings)
    assert asked == [f"POST /api/flows/count{login}"]


def test_headers_of_the_user_reach_the_gateway_before_the_prefect_server() -> None:
    asked: list[str] = []
    url = {"PREFECT_API_KEY": "pnu_1"}
    with servers.web({"/api/flows/count": (200, "3")}, asked) as place:
        url["PREFECT_API_URL"] = f"http://{place}/api"
        for headers in (
            '{"authorization": "Gate 1"}',
            '{"X-Other": 2}',
            "no JSON",
            "[1]",
            '{"Authorization": "Gate 3"}',
        ):
            check_server(url | {"PREFECT_CLIENT_CUSTOM_HEADERS": headers})
    assert [line.partition("count ")[2] for line in asked] == ["Gate 1", *["Bearer pnu_1"] * 3, "Gate 3"]


def test_a_prefect_url_or_certificate_that_cannot_be_read_is_told() -> None:
    with pytest.raises(WorkspaceError, match="no URL"):
        check_server({"PREFECT_API_URL": "http://[::1:4200/api"})
    with servers.web({}) as place, pytest.raises(WorkspaceError, match=r"/no/such\.pem"):
        check_server({"PREFECT_API_URL": f"https://{place}/api", "PREFECT_API_SSL_CERT_FILE": "/no/such.pem"})


@pytest.mark.parametrize(
    "settings",
    [
        {"PREFECT_CLIENT_CUSTOM_HEADERS": '{"Authorization": "secret'},
        {"PREFECT_API_URL": "http://me:secret@[::1:4200/api", "PREFECT_API_KEY": "secret"},
    ],
)
def test_prefect_settings_that_cannot_be_read_are_told_without_their_values(tmp_path, settings) -> None:
    env = os.environ | settings | {"PREFECT_HOME": str(tmp_path)}
    command = [sys.executable, "-P", ROOT / "flows" / "pipeline.py", "model"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "error: Prefect cannot use its settings: " in done.stderr
    assert "secret" not in done.stderr and "Traceback" not in done.stderr


FOLLOWER = """
import logging, time
from pathlib import Path
from flows import pipeline

def fail(*_):
    raise RuntimeError("API request to http://me:secret@host/api failed")

pipeline.FOLLOW_SECONDS, pipeline.load_config, pipeline.effects.begun_training = 0.1, str, fail
with pipeline.following(Path(), logging.getLogger("test")):
    time.sleep(0.5)
"""


def test_a_warning_of_the_follower_loses_the_password(tmp_path) -> None:
    env = os.environ | {"PREFECT_HOME": str(tmp_path)}  # a process of its own: Prefect sets up its logging
    done = subprocess.run([sys.executable, "-c", FOLLOWER], cwd=ROOT, env=env, capture_output=True, text=True)
    assert "API request to http://host/api failed" in done.stderr and "secret" not in done.stderr


def test_a_prefect_server_that_refuses_our_login_or_another_path_is_told(monkeypatch) -> None:
    with servers.web({"/api/flows/count": (401, "Unauthorized"), "/": (200, "<html>")}) as place:
        with pytest.raises(WorkspaceError, match="PREFECT_API_AUTH_STRING"):
            check_server({"PREFECT_API_URL": f"http://{place}/api"})
        with pytest.raises(WorkspaceError, match="its URL ends with /api"):
            check_server({"PREFECT_API_URL": f"http://{place}"})


def test_without_a_server_nothing_is_asked() -> None:
    check_server({})
    check_server({"PREFECT_API_URL": ""})


def test_a_flow_keeps_its_state_in_ours_whatever_prefect_s_variables_say(tmp_path) -> None:
    elsewhere = {
        "PREFECT_HOME": "/elsewhere",
        "PREFECT_PROFILE": "work",
        "PREFECT_API_DATABASE_CONNECTION_URL": "postgresql://h/db",
        "PREFECT_RESULTS_LOCAL_STORAGE_PATH": "/elsewhere",
        "PREFECT_LOGGING_SETTINGS_PATH": "/elsewhere",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
    }
    kept = {"PREFECT_API_URL": "http://h/api", "PREFECT_LOGGING_LEVEL": "DEBUG", "PATH": "/bin"}
    env = flow_environment(elsewhere | kept, tmp_path)
    assert env.items() >= kept.items()
    assert not {*elsewhere.values()} & {*env.values()}


SETTINGS_FILES = {
    ".env": """
PREFECT_HOME=/elsewhere
PREFECT_PROFILES_PATH=/elsewhere/profiles.toml
PREFECT_SERVER_DATABASE_CONNECTION_URL=sqlite+aiosqlite:////elsewhere/database
PREFECT_SERVER_DATABASE_NAME=/elsewhere/name
PREFECT_LOCAL_STORAGE_PATH=/elsewhere/storage
PREFECT_MEMO_STORE_PATH=/elsewhere/memo
PREFECT_LOGGING_SETTINGS_PATH=/elsewhere/logging
PREFECT_SERVER_EPHEMERAL_ENABLED=false
PREFECT_API_URL=http://h/api
""",
    "prefect.toml": """
home = "/elsewhere"
profiles_path = "/elsewhere/profiles.toml"
api.url = "http://h/api"
server.memo_store_path = "/elsewhere/memo"
server.database.connection_url = "sqlite+aiosqlite:////elsewhere/database"
server.ephemeral.enabled = false
results.local_storage_path = "/elsewhere/storage"
logging.config_path = "/elsewhere/logging"
""",
}
SETTINGS_FILES["pyproject.toml"] = "[tool.prefect]" + SETTINGS_FILES["prefect.toml"]
SHOW = """
from prefect.settings import get_current_settings
settings = get_current_settings()
assert settings.server.ephemeral.enabled
print(settings.api.url)
for variable, value in settings.to_environment_variables(include_secrets=True).items():
    print(variable, value)
print(settings.server.database.connection_url.get_secret_value())
"""


@pytest.mark.parametrize("name", SETTINGS_FILES)
def test_no_settings_file_of_the_present_folder_decides_where_a_flow_writes(tmp_path, name) -> None:
    (tmp_path / name).write_text(SETTINGS_FILES[name])
    env = flow_environment(os.environ, tmp_path / "state")
    done = subprocess.run([sys.executable, "-c", SHOW], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    unused = ("PREFECT_SERVER_DATABASE_NAME ",)  # a part of the URL where there is none
    assert [line for line in done.stdout.splitlines() if "elsewhere" in line and not line.startswith(unused)] == []
    assert done.stdout.startswith("http://h/api\n")  # which server is the user's choice


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"])
@pytest.mark.parametrize("kind", ["refused", "silent", "mail", "unknown", "broken"])
def test_a_dead_mlflow_server_is_told_with_its_remedy(impatient, monkeypatch, kind, variable) -> None:
    server, reason = DEAD[kind]
    with server() as place:
        monkeypatch.setenv(variable, f"http://me:secret@{place}")
        with pytest.raises(RegistryError, match=reason) as caught:
            check_addresses()
    assert variable in str(caught.value) and "unset it" in caught.value.remedy
    assert "secret" not in str(caught.value)


def test_what_answers_must_be_mlflow(monkeypatch) -> None:
    for page in ({"/version": (200, "<html>hello</html>")}, {}):
        with servers.web(page) as place:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{place}")
            with pytest.raises(RegistryError, match="no MLflow server"):
                check_addresses()
    for version in ({"/version": (200, "3.17.0")}, {"/version": (401, "log in")}, {"/version": (403, "log in")}):
        with servers.web(version) as place:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{place}")
            check_addresses()  # MLflow's own client presents the login


def test_a_server_that_ends_after_it_answered_is_named_at_once(monkeypatch) -> None:
    with servers.web({"/version": (200, "3.17.2")}) as place:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{place}")
        mlflow_store.check_addresses()
    with pytest.raises(RegistryError, match="does not answer"):
        mlflow_store.check_addresses()


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"])
def test_a_blank_address_is_unset(monkeypatch, variable) -> None:
    monkeypatch.setenv(variable, " ")
    check_addresses()
    assert is_embedded() and store_uri().startswith("sqlite:///")
    assert server_environment()["MLFLOW_REGISTRY_STORE_URI"] == store_uri()


def test_an_mlflow_url_that_cannot_be_read_is_told(monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://[::1:5000")
    with pytest.raises(RegistryError, match="no URL"):
        check_addresses()


def test_what_mlflow_says_of_its_server_loses_the_password() -> None:
    from mlflow import MlflowClient

    uri = "http://me:secret@127.0.0.1:9"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(RegistryError, match="failed") as caught, translated(uri):
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        MlflowClient(tracking_uri=uri).search_experiments()
    assert "secret" not in str(caught.value)


def test_a_silent_database_is_waited_for_seconds_and_a_socket_is_left_to_its_driver(impatient, monkeypatch) -> None:
    import sqlalchemy

    asked = []
    ended = threading.Event()

    class Silent:
        def connect(self) -> None:
            ended.wait(20)

    monkeypatch.setattr(sqlalchemy, "create_engine", lambda url: asked.append(url) or Silent())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql:///db?host=/var/run/postgresql")
    started = time.monotonic()
    with pytest.raises(RegistryError, match="no answer within"):
        check_addresses()
    ended.set()
    assert len(asked) == 1 and time.monotonic() - started < 4


@pytest.mark.parametrize(
    "uri",
    [
        *("file:///tmp/mlruns", "./mlruns", "/data/mlruns", "databricks", "databricks://profile", "htp://h", "uc:x"),
        *("sqlite:///mlflow.db", "sqlite://", "sqlite:////no/such/folder/mlflow.db", "localhost:5000", "//h:5000"),
    ],
)
def test_a_store_that_mlflow_or_we_cannot_use_is_refused_with_what_can_be(monkeypatch, uri) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI") as caught:
        check_addresses()
    assert "unset it" in caught.value.remedy


def test_a_database_that_is_down_or_without_driver_is_told_at_once(monkeypatch) -> None:
    with servers.refusing() as place:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"postgresql://me:secret@{place}/mlflow")
        with pytest.raises(RegistryError, match="refused") as caught:
            check_addresses()
    with servers.mail() as place:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"mysql+nodriver://me:secret@{place}/mlflow")
        with pytest.raises(GanlineError) as other:
            check_addresses()
    assert "secret" not in f"{caught.value}{other.value}"


def test_a_run_says_so_before_it_makes_a_workspace(monkeypatch, tmp_path) -> None:
    base = Workspace(tmp_path / "checkout", tmp_path / "home")
    for variable, scheme in (("PREFECT_API_URL", "http"), ("MLFLOW_TRACKING_URI", "http"), ("ALL_PROXY", "gopher")):
        with monkeypatch.context() as set_here, servers.refusing() as place:
            set_here.setenv(variable, f"{scheme}://{place}")
            for work in (line.run, line.speedup):
                started = time.monotonic()
                with pytest.raises(GanlineError, match=variable):
                    work(base, ("other", {}), accept=False)
                assert time.monotonic() - started < 4
    assert not base.home.exists()


def test_the_ui_s_server_writes_into_our_store_whatever_its_variables_say(monkeypatch) -> None:
    for name in ("BACKEND_STORE_URI", "REGISTRY_STORE_URI", "ARTIFACTS_DESTINATION", "DEFAULT_ARTIFACT_ROOT"):
        monkeypatch.setenv(f"MLFLOW_{name}", "/elsewhere")
    assert "/elsewhere" not in " ".join(server_command(5000)) + " ".join(server_environment().values())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret@host/db")
    addresses = {server_environment()[f"MLFLOW_{store}_STORE_URI"] for store in ("BACKEND", "REGISTRY")}
    assert addresses == {"postgresql://me:secret@host/db"}
    assert "secret" not in " ".join(server_command(5000))  # every user of the machine may read it


def test_a_user_s_dvc_configuration_moves_neither_cache_nor_index(tmp_path, monkeypatch) -> None:
    from dvc.repo import Repo

    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "config").write_text(
        "[core]\n    autostage = true\n[cache]\n    dir = /elsewhere\n    type = symlink\n"
    )
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "user"))
    project = tmp_path / "project"
    (project / ".dvc").mkdir(parents=True)
    (project / ".dvc" / "config").write_text((ROOT / ".dvc" / "config").read_text())
    subprocess.run(["git", "init", "-q", project], check=True)
    with Repo(str(project)) as repo:
        assert Path(repo.cache.local.path) == project / ".dvc" / "cache" / "files" / "md5"
        assert repo.cache.local.cache_types == ["reflink", "copy"]
        assert not repo.config["core"]["autostage"]
