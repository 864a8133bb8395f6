"""The shared list of all variants: every family, resolution and conditioning is tested whole."""

from __future__ import annotations

from typing import Any

from ganline.models import Conditioning, ImageSpec

LABELS = ("a", "b", "c")
FAMILIES: dict[str, dict[str, Any]] = {
    "mlp": {"name": "mlp", "z_dim": 8, "widths": (16, 24)},
    "pixelshuffle": {"name": "pixelshuffle", "z_dim": 8, "g_width": 16, "d_width": 8},
}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "non_saturating": {"adversarial": "non_saturating", "r1_gamma": 0.2, "penalty_every": 4},
    "hinge": {"adversarial": "hinge"},
    "relativistic": {"adversarial": "relativistic", "r1_gamma": 0.1, "r2_gamma": 0.1, "penalty_every": 2},
}
SIZES = [(16, 1), (28, 1), (32, 3), (64, 3)]


def image_spec(resolution: int, channels: int) -> ImageSpec:
    return ImageSpec(resolution=resolution, channels=channels)  # type: ignore[arg-type]


def conditioning(conditional: bool) -> Conditioning:
    return Conditioning(labels=LABELS if conditional else ())


def train_section(family: str, objective: str, *, conditional: bool, total_kimg: float = 0.32) -> dict[str, Any]:
    adam = {"lr": {"start": 1e-3, "end": 1e-4}}
    return {
        "total_kimg": total_kimg,
        "batch": 16,
        "precision": "fp32",
        "model": FAMILIES[family] | {"class_conditional": conditional},
        "objective": OBJECTIVES[objective],
        "G_optimizer": adam,
        "D_optimizer": adam,
        "tick_kimg": 0.064,
        "sample_kimg": 0.16,
        "checkpoint_seconds": 0.0,
    }
