"""The shared list of all variants: every family, resolution and conditioning is tested whole."""

from __future__ import annotations

from typing import Any

from ganline.models import Conditioning, ImageSpec

LABELS = ("a", "b", "c")
FAMILIES: dict[str, dict[str, Any]] = {
    "mlp": {"name": "mlp", "z_dim": 8, "widths": (16, 24)},
    "pixelshuffle": {"name": "pixelshuffle", "z_dim": 8, "g_width": 16, "d_width": 8},
    "dcgan": {"name": "dcgan", "z_dim": 8, "g_width": 16, "d_width": 8},
    "wgan": {"name": "wgan", "z_dim": 8, "g_width": 8, "d_width": 8},
    "sngan": {"name": "sngan", "z_dim": 8, "g_width": 8, "d_width": 8},
    "progressive": {"name": "progressive", "z_dim": 8, "width_base": 256, "width_max": 16},
    "stylegan2": {"name": "stylegan2", "z_dim": 8, "w_dim": 8, "width_base": 256, "width_max": 16, "mbstd_group": 16},
    "r3gan": {"name": "r3gan", "z_dim": 8, "width": 16, "blocks": 1, "group_width": 8},
}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "non_saturating": {"adversarial": "non_saturating", "r1_gamma": 0.2, "penalty_every": 4},
    "minimax": {"adversarial": "minimax"},
    "least_squares": {"adversarial": "least_squares"},
    "hinge": {"adversarial": "hinge"},
    "wasserstein_clip": {"adversarial": "wasserstein", "clip": 0.05, "n_critic": 2},
    "wasserstein_gp": {"adversarial": "wasserstein", "gp_weight": 10.0, "penalty_every": 1, "drift": 0.001},
    "path_length": {"adversarial": "non_saturating", "r1_gamma": 0.1, "path_length_weight": 2.0},
    "scheduled": {"adversarial": "relativistic", "r1_gamma": {"start": 0.1, "end": 0.01}, "penalty_every": 1},
    "relativistic": {"adversarial": "relativistic", "r1_gamma": 0.1, "r2_gamma": 0.1, "penalty_every": 2},
}
SIZES = [(16, 1), (28, 1), (32, 3), (64, 3)]


def image_spec(resolution: int, channels: int) -> ImageSpec:
    return ImageSpec(resolution=resolution, channels=channels)  # type: ignore[arg-type]


def conditioning(conditional: bool) -> Conditioning:
    return Conditioning(labels=LABELS if conditional else ())


ADA = {"p": {"start": 0.2, "kimg": 0.5, "every": 3}}
# Every family, every objective, every augmentation at least once, with and without labels: (family, objective, …).
TRAININGS: dict[str, tuple[str, str, bool, dict[str, Any]]] = {
    "mlp": ("mlp", "non_saturating", False, {}),
    "mlp least squares": ("mlp", "least_squares", True, {}),
    "pixelshuffle": ("pixelshuffle", "relativistic", True, {}),
    "pixelshuffle ada": (
        "pixelshuffle",
        "non_saturating",
        True,
        {"augment": ADA},
    ),
    "dcgan": ("dcgan", "minimax", False, {}),
    "dcgan augmented": ("dcgan", "non_saturating", True, {"augment": {"p": 0.5}}),
    "wgan clip": ("wgan", "wasserstein_clip", False, {}),
    "wgan gp": ("wgan", "wasserstein_gp", True, {}),
    "sngan": ("sngan", "hinge", True, {}),
    "progressive": ("progressive", "wasserstein_gp", False, {}),
    "progressive conditional": ("progressive", "relativistic", True, {}),
    "stylegan2": ("stylegan2", "path_length", False, {"model.mixing": 0.9}),
    "stylegan2 ada": ("stylegan2", "non_saturating", True, {"augment": ADA}),
    "r3gan": ("r3gan", "relativistic", False, {"augment": {"p": {"start": 0.0, "end": 0.5}}}),
    "r3gan conditional": ("r3gan", "scheduled", True, {"mirror": True}),
}


def training(name: str, **options: Any) -> dict[str, Any]:
    """The `train` section of one of TRAININGS."""
    family, objective, conditional, extra = TRAININGS[name]
    section = train_section(family, objective, conditional=conditional) | options
    for key, value in extra.items():
        if key.startswith("model."):
            section["model"] |= {key.removeprefix("model."): value}
        else:
            section[key] = value
    return section


def train_section(family: str, objective: str, *, conditional: bool, total_kimg: float = 0.32) -> dict[str, Any]:
    G_adam, D_adam = ({"lr": {"start": 1e-3, "end": 1e-4}} for _ in "GD")
    return {
        "total_kimg": total_kimg,
        "batch": 16,
        "precision": "fp32",
        "model": FAMILIES[family] | {"class_conditional": conditional},
        "objective": OBJECTIVES[objective],
        "G_optimizer": G_adam,
        "D_optimizer": D_adam,
        "tick_kimg": 0.064,
        "sample_kimg": 0.16,
        "checkpoint_seconds": 0.0,
    }
