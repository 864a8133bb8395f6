"""Shared by all tests: quiet libraries, a state folder that is never the developer's own, a small real bundle."""

from __future__ import annotations

import os
import signal

from ganline.environment import set_defaults

if "PYTEST_XDIST_WORKER" in os.environ:  # two processes with two threads each would wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")
set_defaults()

# A shell starts what it puts into the background with these ignored, and children inherit that. Tests of stops send
# them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ganline.images import grid, png_bytes
from ganline.models import ImageSpec
from ganline.models.config import MLPConfig
from ganline.registry.bundle import GENERATOR, ModelSpec, write_bundle

MakeBundle = Callable[..., Path]
LONGEST = ("speedup.py", "kills.py", "flow.py", "stops.py", "hostile_paths.py", "tests/line/")
"""Files whose tests come first: begun last, they would keep one of two processes waiting."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not any(name in item.path.as_posix() for name in LONGEST))


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """GANLINE_HOME of each test is a folder of its own."""
    monkeypatch.setenv("GANLINE_HOME", str(tmp_path_factory.mktemp("home")))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "PREFECT_API_URL", "GANLINE_MIRROR", "GANLINE_OWNER"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def make_bundle(tmp_path: Path) -> MakeBundle:
    """A function that writes a real bundle with random weights; another seed makes another model."""

    def make(seed: int = 0, *, conditional: bool = True, channels: int = 1, name: str = "bundle") -> Path:
        model = MLPConfig(z_dim=4, widths=(8,), class_conditional=conditional)
        spec = ModelSpec(
            dataset="shapes",
            model=model,
            image=ImageSpec(resolution=8, channels=channels),
            labels=("circle", "square", "half circle"),
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            weights = spec.build_generator().state_dict()
        picture = np.random.default_rng(seed).integers(0, 256, (4, channels, 8, 8), dtype=np.uint8)
        extras = {"card.md": f"# shapes {seed}\n".encode(), "samples.png": png_bytes(grid(picture))}
        folder = tmp_path / f"{name}-{seed}"
        write_bundle(folder, spec, networks={GENERATOR: weights}, extras=extras)
        return folder

    return make
