"""What every generator and discriminator agrees on: image and conditioning specs, call signatures."""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field


class ImageSpec(BaseModel):
    """Size of the images a model makes: square, grey (1) or RGB (3)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    resolution: int = Field(ge=8)
    channels: Literal[1, 3]


class Conditioning(BaseModel):
    """What a model is told beside z. `labels` name the classes; empty means unconditional."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    labels: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        return len(self.labels)


class GeneratorCall(Protocol):
    """G: z [N, z_dim] float32, label [N] int64 or None -> image [N, C, H, W] in about [-1, 1]."""

    z_dim: int

    def __call__(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor: ...


class DiscriminatorCall(Protocol):
    """D: image [N, C, H, W] in [-1, 1], label [N] int64 or None -> logits [N]; higher means more real."""

    def __call__(self, image: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor: ...
