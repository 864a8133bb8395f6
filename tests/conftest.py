"""Fixtures that several rooms' tests share."""

# NOTE FOR THE OWNER OF THIS FILE: an earlier tests/conftest.py (untracked, written about 23:10) was overwritten by
# mistake at 23:12 by the engineer of the MLflow room, who had not seen that it existed. Its content is lost here:
# please add it back below, keep `make_bundle`, and remove this note.

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ganline.images import grid, png_bytes
from ganline.models import ImageSpec
from ganline.models.mlp import MLPConfig
from ganline.registry.bundle import GENERATOR, ModelSpec, write_bundle

MakeBundle = Callable[..., Path]


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
