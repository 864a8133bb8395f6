"""The Prefect server of a run: the one that PREFECT_API_URL names, else an ephemeral one with its state in ours.

Importing this module does not import Prefect (2 seconds).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganline import network
from ganline.errors import WorkspaceError
from ganline.network import NoAnswer

API_URL, API_KEY, AUTH_STRING = "PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING"
CUSTOM_HEADERS = "PREFECT_CLIENT_CUSTOM_HEADERS"
TLS_INSECURE, CERTIFICATE = "PREFECT_API_TLS_INSECURE_SKIP_VERIFY", "PREFECT_API_SSL_CERT_FILE"
# How to reach a server, and how much to say. Everything else (profiles, databases, storage of results) would decide
# where a run writes.
KEPT = frozenset(
    {
        *(API_URL, API_KEY, AUTH_STRING, TLS_INSECURE, CERTIFICATE),
        *("PREFECT_API_REQUEST_TIMEOUT", "PREFECT_API_ENABLE_HTTP2", CUSTOM_HEADERS),
        *("PREFECT_CLOUD_API_URL", "PREFECT_CLOUD_UI_URL", "PREFECT_DEBUG_MODE"),
        *("PREFECT_LOGGING_LEVEL", "PREFECT_LOGGING_COLORS", "PREFECT_SERVER_LOGGING_LEVEL"),
        *("PREFECT_SERVER_ANALYTICS_ENABLED", "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"),
    }
)

# Where Prefect writes, by the names that win over their older aliases. Without these variables, a `.env`, prefect.toml
# or pyproject.toml of the present folder would decide.
PLACES: Mapping[str, str] = {
    "PREFECT_HOME": "{home}",
    "PREFECT_PROFILES_PATH": "{home}/profiles.toml",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:///{home}/prefect.db",
    "PREFECT_SERVER_MEMO_STORE_PATH": "{home}/memo_store.toml",
    "PREFECT_RESULTS_LOCAL_STORAGE_PATH": "{home}/storage",
    "PREFECT_LOGGING_CONFIG_PATH": "{home}/logging.yml",
}


def flow_environment(env: Mapping[str, str], home: Path) -> dict[str, str]:
    """Environment of a flow's process: Prefect writes below `home`, whatever the user's variables and files say."""
    kept = {name: value for name, value in env.items() if not name.startswith("PREFECT_") or name in KEPT}
    places = {name: place.replace("{home}", str(home / "prefect")) for name, place in PLACES.items()}
    return kept | places | {"PREFECT_SERVER_EPHEMERAL_ENABLED": "true"}


def check_server(env: Mapping[str, str]) -> None:
    """Raise WorkspaceError, in seconds, if PREFECT_API_URL is set and no Prefect server answers there as us."""
    url = env.get(API_URL, "").strip()
    if not url:
        return
    remedy = f"start it (prefect server start), correct {API_URL}, or unset it: a run brings its own server"
    with network.must_answer(WorkspaceError, "Prefect", API_URL, url, remedy=remedy):
        answer = network.ask(
            "POST", url.rstrip("/") + "/flows/count", json={}, headers=login(env), verify=verification(env)
        )
        if answer.status_code in (401, 403):
            raise NoAnswer(f"it refuses our login ({answer.status_code} {answer.reason}): see {API_KEY}, {AUTH_STRING}")
        if not answer.ok or not answer.text.strip().isdecimal():
            raise NoAnswer(
                f"what answers there is no Prefect API ({answer.status_code} {answer.reason})"
                + ("" if url.rstrip("/").endswith("/api") or "/accounts/" in url else "; its URL ends with /api")
            )


def login(env: Mapping[str, str]) -> dict[str, str]:
    """The headers with which Prefect's client presents itself; those that the user sets win, as they do there."""
    headers = {}
    if key := env.get(API_KEY):
        headers = {"Authorization": f"Bearer {key}"}
    elif pair := env.get(AUTH_STRING):
        headers = {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode("ascii")}
    return headers | custom_headers(env)


def custom_headers(env: Mapping[str, str]) -> dict[str, str]:
    """The headers of PREFECT_CLIENT_CUSTOM_HEADERS; none where it is no mapping in JSON, which Prefect itself says."""
    try:
        headers: Any = json.loads(env.get(CUSTOM_HEADERS, ""))
    except ValueError:
        return {}
    return {name: str(value) for name, value in headers.items()} if isinstance(headers, dict) else {}


def verification(env: Mapping[str, str]) -> bool | str:
    if env.get(TLS_INSECURE, "").lower() in ("true", "1"):
        return False
    return env.get(CERTIFICATE) or True
