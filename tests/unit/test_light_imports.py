"""Commands that need no network start without torch and without the libraries of the line."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "torch",
    "mlflow",
    "prefect",
    "dvc",
    "great_expectations",
    "pandas",
    "scipy",
    "sklearn",
    "matplotlib",
    "requests",
}
LIGHT = ("ganline.config", "ganline.cli", "ganline.line", "ganline.promoting", "ganline.language.encoder_folder")
"""Modules that a command imports before it knows whether there is anything to do."""


@pytest.mark.parametrize("module", LIGHT)
def test_a_module_that_every_command_needs_is_light(module) -> None:
    code = f"import sys, {module}; print(sorted({{name.split('.')[0] for name in sys.modules}} & {HEAVY!r}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "[]", result.stderr
