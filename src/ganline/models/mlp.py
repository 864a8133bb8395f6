"""MLP GAN: the classic first GAN (Goodfellow et al. 2014, arXiv 1406.2661), in its widespread listing.

G: z 100 -> 256 -> 512 -> 1024 -> pixels, each hidden layer Linear + BatchNorm + ReLU, tanh at the end.
D: pixels -> 1024 -> 512 -> 256 -> 1, LeakyReLU 0.2 and dropout 0.25.
Deviation from the listing: D has no sigmoid. Binary cross-entropy is computed from logits, which is the same
function without the overflow of log(sigmoid(x)).
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import nn

from ganline.models.config import ImageSpec, MLPConfig
from ganline.models.layers import BatchNorm1d, Dropout, one_hot
from ganline.models.spec import Discriminator, Generator


class MLPGenerator(Generator):
    """z [N, z_dim] (and a one-hot label beside it) -> image [N, C, H, W] in [-1, 1]."""

    def __init__(self, config: MLPConfig, image: ImageSpec, num_classes: int):
        super().__init__()
        self.z_dim, self.num_classes = config.z_dim, num_classes
        self.shape = (image.channels, image.resolution, image.resolution)
        sizes = (config.z_dim + num_classes, *config.widths)
        hidden = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), BatchNorm1d(b), nn.ReLU())]
        self.layers = nn.Sequential(*hidden, nn.Linear(sizes[-1], math.prod(self.shape)), nn.Tanh())

    def forward(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        if self.num_classes:
            z = torch.cat([z, one_hot(label, self.num_classes, z)], dim=1)
        return self.layers(z).unflatten(1, self.shape)


class MLPDiscriminator(Discriminator):
    """image [N, C, H, W] (and a one-hot label beside its pixels) -> logits [N]."""

    def __init__(self, config: MLPConfig, image: ImageSpec, num_classes: int):
        super().__init__()
        self.num_classes = num_classes
        sizes = (image.channels * image.resolution**2 + num_classes, *reversed(config.widths))
        hidden = [
            layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.LeakyReLU(0.2), Dropout(config.dropout))
        ]
        self.layers = nn.Sequential(*hidden, nn.Linear(sizes[-1], 1))

    def forward(self, image: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        x = image.flatten(1)
        if self.num_classes:
            x = torch.cat([x, one_hot(label, self.num_classes, x)], dim=1)
        return self.layers(x).squeeze(1)
