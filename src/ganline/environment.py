"""Process defaults that must be set before the libraries they steer are imported. Imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ganline.errors import ConfigError

# OpenMP workers that spin without end made batch-1 work up to 100 times slower on shared cores: let them sleep, but
# only after a short spin, or small convolutions pay for a wake-up each
# (benchmarks/threads.py: 1.5 times the images per second of sleeping at once).
# CUBLAS_WORKSPACE_CONFIG is what torch asks for before it promises deterministic matrix products.
DEFAULTS: Mapping[str, str] = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "10000",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "HF_HUB_OFFLINE": "1",
}
# A process of ours imports what is installed, not a file of the present folder that is named like a library (`-P`).
SAFE_PATH = {"PYTHONSAFEPATH": "1"}
NO_PROXY = ("no_proxy", "NO_PROXY")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Folders of the libraries' caches, by the variable that each documents.
CACHES: Mapping[str, str] = {
    "MPLCONFIGDIR": "matplotlib",
    "DVC_SITE_CACHE_DIR": "dvc",
    "TORCHINDUCTOR_CACHE_DIR": "torchinductor",
    "TRITON_CACHE_DIR": "triton",
    "CUDA_CACHE_PATH": "cuda",
}


# What git exports to its hooks and aliases (`git rev-parse --local-env-vars`), and others that change what a path or a
# patch means. Set, they lead every git below us, DVC's included, into another repository. GIT_CONFIG_COUNT
# is not among them: people set it on purpose, for instance to trust a folder (safe.directory).
GIT_CONTEXT = frozenset(
    f"GIT_{name}"
    for name in (
        *("DIR", "WORK_TREE", "IMPLICIT_WORK_TREE", "COMMON_DIR", "INDEX_FILE", "PREFIX", "NAMESPACE"),
        *("OBJECT_DIRECTORY", "ALTERNATE_OBJECT_DIRECTORIES", "QUARANTINE_PATH", "SHALLOW_FILE", "GRAFT_FILE"),
        *("CONFIG", "CONFIG_PARAMETERS", "REPLACE_REF_BASE", "NO_REPLACE_OBJECTS", "INTERNAL_SUPER_PREFIX"),
        *("LITERAL_PATHSPECS", "GLOB_PATHSPECS", "NOGLOB_PATHSPECS", "ICASE_PATHSPECS"),
        *("ATTR_SOURCE", "EXTERNAL_DIFF", "DIFF_OPTS"),
    )
)


def set_defaults() -> None:
    """Set every default that the user has not set."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    bypass_proxies_on_loopback()


def bypass_proxies_on_loopback() -> None:
    """Where a proxy is set, this process and its children reach servers on this machine without it.

    Prefect's ephemeral server and `ganline ui` listen on loopback. Both spellings of the variable get the hosts,
    because libraries differ in which one they read; what the user has stays, and a `*` covers everything.
    """
    if not any(value and is_proxy(name) for name, value in os.environ.items()):
        return
    known = {name: os.environ.get(name, "") for name in NO_PROXY}
    for name in NO_PROXY:
        named = known[name] or next(filter(None, known.values()), "")
        hosts = [host.strip() for host in named.split(",") if host.strip()]
        os.environ[name] = named if "*" in hosts else ",".join(dict.fromkeys([*hosts, *LOOPBACK]))


def is_proxy(variable: str) -> bool:
    """Whether a variable names a proxy: http_proxy, ALL_PROXY, …"""
    return variable.lower().endswith("_proxy") and variable.lower() != "no_proxy"


def cache_folders(state: Path) -> dict[str, str]:
    """Variables that keep libraries' caches in our state folder, not in the user's home folder or under /var/tmp."""
    return {name: str(state / "cache" / folder) for name, folder in CACHES.items()}


def make_caches() -> None:
    """Make the folders of libraries' caches with our rights (DVC would let everybody write into its own).

    Raises ConfigError for a variable of the user's that names a folder which cannot be made.
    """
    for name in CACHES:
        folder = os.environ.get(name)
        try:
            if folder:
                Path(folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"{name}={folder} cannot be used: {error.strerror}",
                expected="a folder for a library's cache",
                remedy=f"correct {name}, or unset it: the cache then lies in the project",
            ) from error


def asked_ranks() -> int:
    """GANLINE_RANKS, 1 where it is not set. Raises ConfigError if it is no count."""
    text = os.environ.get("GANLINE_RANKS", "1")
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(
            f"GANLINE_RANKS is {text!r}",
            expected="how many processes share each batch: 1, 2, …",
            remedy="set it to the number of GPUs, or unset it",
        )
    return int(text)


def check_share(batch: int, ranks: int, key: str) -> None:
    """Raise ConfigError if ranks cannot share a batch, which `key` of params.yaml sets, evenly."""
    if batch % ranks:
        raise ConfigError(
            f"a batch of {batch} cannot be shared by {ranks} ranks (GANLINE_RANKS)",
            expected=f"{key} to be a multiple of the number of ranks",
            remedy=f"set {key} to {-(-batch // ranks) * ranks}, or GANLINE_RANKS to another number",
        )


def without_git_context(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what would lead git into another repository than the one that a command names."""
    return {name: value for name, value in environment.items() if name not in GIT_CONTEXT}


def drop_git_context() -> None:
    """For a program of ours, at its start: it and its children work where they stand, not where a git hook stood."""
    for name in GIT_CONTEXT & os.environ.keys():
        del os.environ[name]
