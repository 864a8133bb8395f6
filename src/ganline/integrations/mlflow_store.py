"""Where MLflow keeps runs and models: the embedded store under `<home>/mlflow`, or the server that the user names.

`home` is GANLINE_HOME, or `.ganline` in the checkout. MLFLOW_TRACKING_URI, when set, wins. Importing this module
does not import MLflow (3 to 4 seconds).
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from ganline import __version__, network
from ganline.environment import SAFE_PATH, set_defaults
from ganline.errors import ConfigError, GanlineError, RegistryError
from ganline.home import home
from ganline.integrations.mlflow_moved import reroot, settle_default
from ganline.network import NoAnswer
from ganline.sharing import public_address, without_userinfo

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "ganline"
LOCK_SECONDS = 120.0
ADDRESSES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
DATABASES = {"sqlite": 0, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
"""Kinds of databases that MLflow knows, and the port of each."""
SERVER_OPTIONS = frozenset(
    f"MLFLOW_{name}"
    for name in (
        *("BACKEND_STORE_URI", "READ_REPLICA_BACKEND_STORE_URI", "REGISTRY_STORE_URI", "WORKSPACE_STORE_URI"),
        *("DEFAULT_ARTIFACT_ROOT", "ARTIFACTS_DESTINATION", "ARTIFACTS_ONLY", "TRACE_ARCHIVAL_CONFIG"),
        *("STATIC_PREFIX", "GUNICORN_OPTS", "UVICORN_OPTS", "EXPOSE_PROMETHEUS"),
    )
)
RESTORE = "restore it from a copy; to begin a new registry instead, move the folder around it away"
WRITER_TAG = "ganline.version"
# MLflow waits up to 7 x 120 s for a server that does not answer; a user at a terminal should not. Its progress bars
# count files of a few kilobytes.
SETTINGS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def embedded_database() -> Path:
    """The embedded store's sqlite file."""
    return home() / "mlflow" / "mlflow.db"


def named(variable: str) -> str:
    """The address in a variable; blank counts as unset."""
    return os.environ.get(variable, "").strip()


def store_uri() -> str:
    """The tracking URI: MLFLOW_TRACKING_URI, else the embedded store's, absolute."""
    return named("MLFLOW_TRACKING_URI") or f"sqlite:///{embedded_database()}"


def registry_uri() -> str:
    """Where models are: MLFLOW_REGISTRY_URI, else where runs are."""
    return named("MLFLOW_REGISTRY_URI") or store_uri()


def is_embedded() -> bool:
    """Whether the store is our own sqlite file, for runs and for models."""
    ours = f"sqlite:///{embedded_database()}"
    return all(named(variable) in ("", ours) for variable in ADDRESSES)


def embedded_store() -> Path | None:
    """The embedded store's sqlite file, if there is one; it is made this checkout's own first, should it be a copy.

    Raises RegistryError where it cannot be read.
    """
    database = embedded_database()
    if not database.is_file():
        return None
    if not database.stat().st_size:
        raise RegistryError(f"{database} is empty: it was cut short", remedy=RESTORE)
    with translated(f"sqlite:///{database}"):
        reroot(database, database.with_name("artifacts"), lock=lambda: lock("schema"))
    return database


@dataclass(frozen=True)
class Store:
    """An open store: its client, and the experiment in which our runs lie."""

    uri: str
    client: MlflowClient
    experiment_id: str


def open_store() -> Store:
    """Open the store; the embedded one is made on first use, once, even where several processes ask.

    Raises RegistryError if MLflow is not installed, or the server does not answer.
    """
    set_defaults()
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    check_addresses()
    uri = store_uri()
    if is_embedded():
        embedded_store()
    with translated(uri):
        client_type = mlflow_client_type()
        # Two processes that create the schema at once corrupt it, hence the lock around the first client.
        with lock("schema"):
            if is_embedded() and not embedded_database().exists():
                make_database(client_type)
            client = client_type(tracking_uri=uri, registry_uri=registry_uri())
            return Store(uri, client, our_experiment(client))


def make_database(client_type: type[MlflowClient]) -> None:
    """Make the embedded store's tables beside their place, then rename: a kill meanwhile leaves no half a schema."""
    partial = embedded_database().with_name(".partial-mlflow.db")
    for left in partial.parent.glob(f"{partial.name}*"):
        left.unlink()
    client_type(tracking_uri=f"sqlite:///{partial}").search_experiments(max_results=1)
    settle_default(partial, embedded_database().with_name("artifacts"))
    partial.replace(embedded_database())


def our_experiment(client: MlflowClient) -> str:
    """Id of the experiment `ganline`, made or restored where needed."""
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        # Without one MLflow would put files beside whatever the present folder is.
        location = None if is_server(store_uri()) else (home() / "mlflow" / "artifacts").as_uri()
        return str(client.create_experiment(EXPERIMENT, artifact_location=location))
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def mlflow_client_type() -> type[MlflowClient]:
    """MlflowClient. `import mlflow` alone would succeed on the repository's own folder `mlflow/`."""
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise RegistryError(
            f"MLflow is not installed: {error}", remedy="pip install -c constraints.txt mlflow"
        ) from error
    return MlflowClient


def is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def check_addresses() -> None:
    """Raise RegistryError or ConfigError, in seconds, where MLflow's variables name nothing that answers."""
    for variable in ADDRESSES:
        uri = named(variable)
        if uri and uri != f"sqlite:///{embedded_database()}":
            check_address(variable, uri)


def check_address(variable: str, uri: str) -> None:
    """`check_addresses` of one, each time anew: a server may end while a run goes on, and MLflow would wait."""
    remedy = f"start it, correct {variable}, or unset it to use the embedded store"
    with network.must_answer(RegistryError, "MLflow", variable, uri, remedy=remedy):
        probe_server(uri) if is_server(uri) else probe_database(variable, uri)


def probe_server(uri: str) -> None:
    """Raise NoAnswer where no MLflow server answers. One that asks for a login is left to MLflow's client."""
    answer = network.ask("GET", uri.rstrip("/") + "/version", verify=verification())
    if answer.status_code in (401, 403):
        return
    if not answer.ok or not re.fullmatch(r"\d+\.\d+\S*", answer.text.strip()):
        raise NoAnswer(f"what answers there is no MLflow server ({answer.status_code} {answer.reason})")


def verification() -> bool | str:
    """How MLflow's own client checks a server's certificate."""
    if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"):
        return False
    return os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or True


def probe_database(variable: str, uri: str) -> None:
    """Raise ConfigError for a URI that is neither a server nor a database; NoAnswer where the database refuses.

    MLflow itself would try ten times, for minutes.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    try:
        url = make_url(uri)
    except SQLAlchemyError:
        url = None
    kind = url.get_backend_name() if url else None
    if url is None or kind not in DATABASES:
        raise ConfigError(
            f"{variable}={public_address(uri)} names no store that ganline can use",
            expected="http://HOST:PORT of an MLflow server, or a database: " + ", ".join(DATABASES),
            remedy=f"correct {variable}, or unset it to use the embedded store"
            " (MLflow keeps no runs in plain folders any more)",
        )
    if kind == "sqlite":
        path = Path(url.database or "")
        if not path.is_absolute() or not path.parent.is_dir():
            raise ConfigError(
                f"{variable}={uri} names "
                + ("a folder that does not exist" if path.is_absolute() else "another file in every folder"),
                expected="sqlite:// and the absolute path of a file in an existing folder: sqlite:////data/mlflow.db",
                remedy=f"correct {variable}, or unset it to use the embedded store",
            )
        return
    if url.host is not None:  # else a socket of this machine, which its driver finds
        network.connect(url.host, url.port or DATABASES[kind])
    try:
        engine = create_engine(url)
        network.within(lambda: engine.connect().close())
        engine.dispose()
    except ImportError as error:
        raise NoAnswer(f"its driver is not installed ({error})") from error
    except SQLAlchemyError as error:
        raise NoAnswer(str(error.__cause__ or error).splitlines()[0]) from error


def check_port(port: int) -> None:
    """Raise ConfigError where something on this machine listens on the port already."""
    with socket.socket() as probing:
        probing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probing.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigError(
                f"port {port} cannot be used: {error.strerror}",
                expected="a port on which nothing else listens",
                remedy=f"take another one: make ui PORT={port % 65535 + 1} (ganline ui --port)",
            ) from error


def check_store() -> None:
    """Before a run: whether the store that it will end in answers and lets us write. Raises RegistryError.

    The embedded store is ours and needs no look.
    """
    if is_embedded():
        return
    store = open_store()
    with translated(store.uri):
        store.client.set_experiment_tag(store.experiment_id, WRITER_TAG, __version__)


def server_command(port: int) -> list[str]:
    """`mlflow server` on loopback over our store, for the UI.

    One process: with more, uvicorn ends and starts again each that does not answer within 5 s, and on a busy machine,
    where importing MLflow takes longer, the UI never comes up.
    """
    options = {
        "--workers": "1",
        "--artifacts-destination": (home() / "mlflow" / "artifacts").as_uri(),  # else the present folder
    }
    command = [sys.executable, "-P", "-m", "ganline.leash", "mlflow", "server"]
    options |= {"--host": "127.0.0.1", "--port": str(port)}
    return command + [part for option in options.items() for part in option]


def server_environment() -> dict[str, str]:
    """The environment in which `mlflow server` takes our options and no others.

    The addresses of databases may hold passwords, and every user of the machine sees a command's arguments.
    """
    kept = {name: value for name, value in os.environ.items() if name not in SERVER_OPTIONS}
    return (
        kept
        | SAFE_PATH
        | {
            "MLFLOW_BACKEND_STORE_URI": store_uri(),
            "MLFLOW_REGISTRY_STORE_URI": registry_uri(),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
    )


@contextmanager
def lock(name: str) -> Iterator[None]:
    """One process at a time on this machine. Raises RegistryError if others hold it for LOCK_SECONDS."""
    folder = home() / "mlflow"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        held = FileLock(folder / f".{name}.lock", timeout=LOCK_SECONDS).acquire()
    except Timeout as error:
        raise RegistryError(
            f"another process has held {error.lock_file} for {LOCK_SECONDS:g} s",
            expected="no other promotion or registration at work on this machine",
            remedy="wait until it has ended, and run again",
        ) from error
    with held:
        yield


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """MLflow's and its database's exceptions as RegistryError: what users can cause has no traceback."""
    try:
        yield
    except GanlineError:
        raise
    except Exception as error:
        module = type(error).__module__.partition(".")[0]
        if module not in ("mlflow", "sqlalchemy", "alembic", "requests", "urllib3", "filelock", "sqlite3"):
            raise
        if "disk image is malformed" in str(error) or "file is not a database" in str(error):
            reason = error.__cause__ or error
            raise RegistryError(f"{embedded_database()} is damaged: {reason}", remedy=RESTORE) from error
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        is_locked = "database is locked" in first_line
        raise RegistryError(
            f"MLflow at {public_address(uri)} refused: {without_userinfo(first_line)}",
            remedy="wait until the process that writes to it has ended, and run again"
            if is_locked
            else "see the message; `ganline --debug …` shows the whole trace",
        ) from error


@contextmanager
def as_current(uri: str) -> Iterator[None]:
    """Make `uri` MLflow's global store meanwhile: resolving `models:/m-…` asks the global one, not the client's."""
    if named("MLFLOW_TRACKING_URI"):
        yield
        return
    import mlflow

    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # unsets its environment variable too
