"""The deployable convolutional GAN: Conv + BatchNorm + PixelShuffle only, so that it folds, quantises and exports.

Sub-pixel convolution: Shi et al. 2016, arXiv 1609.05158. Projection discriminator: Miyato & Koyama 2018,
arXiv 1802.05637, eq. 4.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from ganline.models.spec import Conditioning, ImageSpec


class PixelShuffleConfig(BaseModel):
    """Widths of the deployable family; every other size follows from the resolution."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: Literal["pixelshuffle"] = "pixelshuffle"
    z_dim: int = Field(default=64, ge=1)
    g_width: int = Field(default=128, ge=4)
    d_width: int = Field(default=64, ge=4)
    class_conditional: bool = True

    def build_generator(self, image: ImageSpec, conditioning: Conditioning) -> PixelShuffleGenerator:
        return PixelShuffleGenerator(self, image, conditioning.num_classes)

    def build_discriminator(self, image: ImageSpec, conditioning: Conditioning) -> PixelShuffleDiscriminator:
        return PixelShuffleDiscriminator(self, image, conditioning.num_classes)


def stem_resolution(resolution: int) -> tuple[int, int]:
    """(smallest side, number of doublings): 28 -> (7, 2), 32 -> (8, 2), 64 -> (8, 3)."""
    doublings = 0
    while resolution % 2 == 0 and resolution > 8:
        resolution, doublings = resolution // 2, doublings + 1
    return resolution, doublings


class PixelShuffleGenerator(nn.Module):
    """z [N, z_dim] and label [N] -> image [N, C, H, W] in [-1, 1]."""

    def __init__(self, config: PixelShuffleConfig, image: ImageSpec, num_classes: int):
        super().__init__()
        self.z_dim, self.width = config.z_dim, config.g_width
        self.side, doublings = stem_resolution(image.resolution)
        self.embed = nn.Embedding(num_classes, config.z_dim) if num_classes else None
        self.stem = nn.Linear(config.z_dim * (2 if num_classes else 1), self.width * self.side**2, bias=False)
        blocks: list[nn.Module] = []
        width = self.width
        for _ in range(doublings):
            out = max(width // 2, 16)
            blocks += [nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, out * 4, 3, padding=1, bias=False)]
            blocks += [nn.PixelShuffle(2)]
            width = out
        self.blocks = nn.Sequential(*blocks, nn.BatchNorm2d(width), nn.ReLU())
        self.to_image = nn.Conv2d(width, image.channels, 3, padding=1)

    def forward(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        if self.embed is not None:
            assert label is not None
            z = torch.cat([z, self.embed(label)], dim=1)
        x = self.stem(z).unflatten(1, (self.width, self.side, self.side))
        x = x.contiguous(memory_format=torch.channels_last)
        return torch.tanh(self.to_image(self.blocks(x)))


class PixelShuffleDiscriminator(nn.Module):
    """image [N, C, H, W] and label [N] -> logits [N]; no normalisation, so per-sample penalties are exact."""

    def __init__(self, config: PixelShuffleConfig, image: ImageSpec, num_classes: int):
        super().__init__()
        side, doublings = stem_resolution(image.resolution)
        width, channels = config.d_width, image.channels
        blocks: list[nn.Module] = []
        for _ in range(doublings):
            blocks += [nn.PixelUnshuffle(2), nn.Conv2d(channels * 4, width, 3, padding=1), nn.LeakyReLU(0.2)]
            channels, width = width, min(width * 2, 256)
        self.blocks = nn.Sequential(*blocks, nn.Conv2d(channels, channels, 3, padding=1), nn.LeakyReLU(0.2))
        self.features = nn.Sequential(nn.Linear(channels * side**2, 128), nn.LeakyReLU(0.2))
        self.logit = nn.Linear(128, 1)
        self.embed = nn.Embedding(num_classes, 128) if num_classes else None

    def forward(self, image: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        x = self.features(self.blocks(image).flatten(1))
        logits = self.logit(x).squeeze(1)
        if self.embed is not None:
            assert label is not None
            logits = logits + (self.embed(label) * x).sum(1) / x.shape[1] ** 0.5
        return logits
