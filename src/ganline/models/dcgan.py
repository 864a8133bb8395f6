"""DCGAN (Radford et al. 2016, arXiv 1511.06434).

`layout: paper`: G projects z to the stem and doubles by 4x4 transposed convolutions, BatchNorm and ReLU all along; D
halves by 4x4 strided convolutions, BatchNorm (not on its first layer) and LeakyReLU 0.2. The kernel is 4 instead of
the paper's 5, as in nearly every implementation since: an even kernel leaves no checkerboard at stride 2.
`layout: studio`: the CIFAR-10 network of StudioGAN (3,812,355 and 2,931,009 parameters at 32 px, z 128): no BatchNorm
on the projection, a 3x3 convolution to RGB, and in D a 3x3 convolution before each halving, summed over positions.
A class label enters G as a one-hot beside z, and D as a projection (Miyato & Koyama 2018).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from ganline.models.config import DCGANConfig, ImageSpec, stem_resolution
from ganline.models.layers import BatchNorm2d, one_hot, projected
from ganline.models.spec import Discriminator, Generator

LEAST_WIDTH = 16


def initialise(net: nn.Module) -> None:
    """The paper's initial weights: N(0, 0.02); BatchNorm's gains N(1, 0.02)."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(layer.weight, std=0.02)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, mean=1.0, std=0.02)


class DCGANGenerator(Generator):
    """z [N, z_dim] (and a one-hot label beside it) -> image [N, C, H, W] in [-1, 1]."""

    def __init__(self, config: DCGANConfig, image: ImageSpec, num_classes: int):
        super().__init__()
        self.z_dim, self.num_classes, studio = config.z_dim, num_classes, config.layout == "studio"
        side, doublings = stem_resolution(image.resolution)
        widths = [max(config.g_width >> i, LEAST_WIDTH) for i in range(doublings + 1 if studio else doublings)]
        self.shape = (widths[0], side, side)
        self.project = nn.Linear(config.z_dim + num_classes, widths[0] * side**2)
        layers: list[nn.Module] = [] if studio else [BatchNorm2d(widths[0]), nn.ReLU()]
        for a, b in pairwise(widths):
            layers += [nn.ConvTranspose2d(a, b, 4, stride=2, padding=1), BatchNorm2d(b), nn.ReLU()]
        last = nn.Conv2d(widths[-1], image.channels, 3, padding=1)
        up = nn.ConvTranspose2d(widths[-1], image.channels, 4, stride=2, padding=1)
        self.layers = nn.Sequential(*layers, last if studio else up, nn.Tanh())
        initialise(self)

    def forward(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        if self.num_classes:
            z = torch.cat([z, one_hot(label, self.num_classes, z)], 1)
        return self.layers(self.project(z).unflatten(1, self.shape))


class DCGANDiscriminator(Discriminator):
    """image [N, C, H, W] -> logits [N]. BatchNorm: reals and fakes pass apart, as in the paper."""

    mixes_samples = True

    def __init__(self, config: DCGANConfig, image: ImageSpec, num_classes: int):
        super().__init__()
        self.num_classes, self.studio = num_classes, config.layout == "studio"
        side, halvings = stem_resolution(image.resolution)
        widths = [config.d_width << i for i in range(halvings)]
        layers: list[nn.Module] = []
        for a, b in pairwise([image.channels, *widths]):
            if self.studio:
                layers += [nn.Conv2d(a, b, 3, padding=1), BatchNorm2d(b), nn.LeakyReLU(0.2)]
                layers += [nn.Conv2d(b, b, 4, stride=2, padding=1), BatchNorm2d(b), nn.LeakyReLU(0.2)]
            else:
                norm = [BatchNorm2d(b)] if layers else []
                layers += [nn.Conv2d(a, b, 4, stride=2, padding=1), *norm, nn.LeakyReLU(0.2)]
        if self.studio:
            wide = 2 * widths[-1]
            layers += [nn.Conv2d(widths[-1], wide, 3, padding=1), BatchNorm2d(wide), nn.LeakyReLU(0.2)]
        features = 2 * widths[-1] if self.studio else widths[-1] * side**2
        self.layers = nn.Sequential(*layers)
        self.logit = nn.Linear(features, 1)
        initialise(self)
        if num_classes:
            self.embed = nn.Embedding(num_classes, features)
            nn.init.normal_(self.embed.weight, std=features**-0.5)

    def forward(self, image: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        x = self.layers(image)
        x = x.sum((2, 3)) if self.studio else x.flatten(1)
        return projected(x, self.logit, self.embed(label) if self.num_classes else None)
