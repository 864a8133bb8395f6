"""A small generator of the deployable family whose BatchNorms have something to fold."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ganline.images import to_pixels
from ganline.models.spec import Generator
from ganline.seeds import generator
from tests.unit.variants import FAMILIES, LABELS, conditioning, image_spec


def small(
    family: str = "pixelshuffle",
    *,
    conditional: bool = True,
    resolution: int = 16,
    channels: int = 1,
    seed: int = 0,
    **config_of: Any,
) -> Any:
    """A G of a family with drawn weights, and statistics and gains that are not those of the start; in evaluation."""
    from pydantic import TypeAdapter

    from ganline.models import ModelConfig

    config = TypeAdapter(ModelConfig).validate_python(FAMILIES[family] | {"class_conditional": conditional} | config_of)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        G: Generator = config.build_generator(image_spec(resolution, channels), conditioning(conditional))
        for layer in G.modules():
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                assert layer.running_mean is not None and layer.running_var is not None
                layer.running_mean.normal_(std=0.3)
                layer.running_var.uniform_(0.3, 2.0)
                if layer.affine:
                    nn.init.normal_(layer.weight, mean=1.0, std=0.2)
                    nn.init.normal_(layer.bias, std=0.2)
    return G.eval().requires_grad_(False)


def drawn(G: Generator, n: int, *, conditional: bool = True, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor | None]:
    """z [n, z_dim], and labels [n] of a conditional G."""
    z = torch.randn(n, G.z_dim, generator=generator(seed, "test z"))
    return z, torch.randint(len(LABELS), (n,), generator=generator(seed, "test label")) if conditional else None


def levels_apart(image: torch.Tensor, exact: torch.Tensor) -> int:
    """The largest difference of two images in pixels, each of them floats in [-1, 1] or pixels."""
    return int((to_pixels(image).int() - to_pixels(exact).int()).abs().max())
