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


def set_defaults() -> None:
    """Set every default that the user has not set."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
