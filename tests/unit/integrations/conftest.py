"""An embedded MLflow store for a module: making its tables takes seconds, so tests use names of their own in it."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def embedded(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The module's store in place of one for each test."""
    monkeypatch.setenv("GANLINE_HOME", str(home))
    return home
