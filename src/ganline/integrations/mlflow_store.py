"""Where MLflow keeps runs and models: the embedded store under `<home>/mlflow`, or the server that the user names.

`home` is GANLINE_HOME, or `.ganline` in the checkout. MLFLOW_TRACKING_URI, when set, wins. Importing this module
does not import MLflow (3 to 4 seconds).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from filelock import FileLock, Timeout

from ganline.environment import set_defaults
from ganline.errors import ConfigError, GanlineError, RegistryError
from ganline.home import home

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "ganline"
LOCK_SECONDS = 120.0
PROBE_SECONDS = 5.0
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


def store_uri() -> str:
    """The tracking URI: MLFLOW_TRACKING_URI, else the embedded store's, absolute."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{embedded_database()}"


def is_embedded() -> bool:
    """Whether the store is our own sqlite file, for runs and for models."""
    ours = f"sqlite:///{embedded_database()}"
    return all(os.environ.get(name) in (None, "", ours) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"))


def without_userinfo(url: str) -> str:
    """The URL without `user:password@`."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


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
    uri = store_uri()
    if uri.startswith(("http://", "https://")):
        probe(uri)
    with translated(uri):
        client_type = mlflow_client_type()
        # Two processes that create the schema at once corrupt it, hence the lock around the first client.
        with lock("schema"):
            if is_embedded() and not embedded_database().exists():
                make_database(client_type)
            client = client_type(tracking_uri=uri, registry_uri=os.environ.get("MLFLOW_REGISTRY_URI") or uri)
            return Store(uri, client, our_experiment(client))


def make_database(client_type: type[MlflowClient]) -> None:
    """Make the embedded store's tables beside their place, then rename: a kill meanwhile leaves no half a schema."""
    partial = embedded_database().with_name(".partial-mlflow.db")
    for left in partial.parent.glob(f"{partial.name}*"):
        left.unlink()
    client_type(tracking_uri=f"sqlite:///{partial}").search_experiments(max_results=1)
    partial.replace(embedded_database())


def our_experiment(client: MlflowClient) -> str:
    """Id of the experiment `ganline`, made or restored where needed."""
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        location = (home() / "mlflow" / "artifacts").as_uri() if is_embedded() else None
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


def probe(uri: str) -> None:
    """Fail in seconds where no server answers. Any HTTP answer counts: a proxy may ask for a login on /health."""
    import requests

    try:
        requests.get(uri.rstrip("/") + "/health", timeout=PROBE_SECONDS)
    except requests.RequestException as error:
        raise unreachable(uri, type(error).__name__) from error


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


def unreachable(uri: str, reason: str) -> RegistryError:
    return RegistryError(
        f"the MLflow server at {without_userinfo(uri)} does not answer ({reason})",
        expected="a running MLflow server where MLFLOW_TRACKING_URI points",
        remedy="start it, correct MLFLOW_TRACKING_URI, or unset it to use the embedded store",
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
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RegistryError(
            f"MLflow at {without_userinfo(uri)} refused: {first_line}",
            remedy="see the message; `ganline --debug …` shows the whole trace",
        ) from error


@contextmanager
def as_current(uri: str) -> Iterator[None]:
    """Make `uri` MLflow's global store meanwhile: resolving `models:/m-…` asks the global one, not the client's."""
    if os.environ.get("MLFLOW_TRACKING_URI"):
        yield
        return
    import mlflow

    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # unsets its environment variable too
