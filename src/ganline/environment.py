"""Process defaults that must be set before the libraries they steer are imported. Imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Mapping

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


def without_git_context(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what would lead git into another repository than the one that a command names."""
    return {name: value for name, value in environment.items() if name not in GIT_CONTEXT}


def drop_git_context() -> None:
    """For a program of ours, at its start: it and its children work where they stand, not where a git hook stood."""
    for name in GIT_CONTEXT & os.environ.keys():
        del os.environ[name]
