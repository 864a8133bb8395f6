"""R3GAN (Huang et al. 2024, "The GAN is dead; long live the GAN!", arXiv 2501.05441; brownvc/R3GAN).

Residual stages without normalisation: block = 1x1, grouped 3x3, 1x1 that starts at zero, with a bias and LeakyReLU 0.2
between; [1, 2, 1] resampling between stages (with the zero-order hold: [1, 3, 3, 1]); a learned basis at the smallest
side. The published CIFAR-10 networks (width 768 at 4 to 32 px, 2 blocks a stage, groups of 16 channels) have
20,732,160 and 20,683,776 parameters, with ten classes 20,781,952 and 21,280,512: a label enters G as an embedding as
long as z, and D as the product with an embedding as wide as its last stage. Narrow networks for short budgets: lower
`width` and `blocks`.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import leaky_relu

from ganline.devices import full_precision
from ganline.models.config import ImageSpec, R3GANConfig, stem_resolution
from ganline.models.layers import downsample, one_hot, upsample, wide
from ganline.models.spec import Discriminator, Generator

SLOPE = 0.2
GAIN = math.sqrt(2 / (1 + SLOPE**2))


def conv(inputs: int, outputs: int, kernel: int, *, gain: float, groups: int = 1, bias: bool = False) -> nn.Conv2d:
    """A convolution with weights N(0, gain^2 / fan in) (He et al. 2015)."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=bias)
    nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def dense(inputs: int, outputs: int, *, gain: float = 1.0) -> nn.Linear:
    """A linear layer without bias, weights N(0, gain^2 / fan in)."""
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(layer.weight, std=gain / math.sqrt(inputs))
    return layer


class Block(nn.Module):
    """x + 1x1(act(3x3(act(1x1(x))))); `depth` blocks in all scale the initial weights (Fixup, arXiv 1901.09321)."""

    def __init__(self, width: int, config: R3GANConfig, *, depth: int):
        super().__init__()
        wide = width * config.expansion
        gain = GAIN * depth ** (-1 / 4)
        groups = max(wide // config.group_width, 1) if config.group_width else 1
        self.expand = conv(width, wide, 1, gain=gain, bias=True)
        self.mix = conv(wide, wide, 3, gain=gain, groups=groups, bias=True)
        self.reduce = conv(wide, width, 1, gain=0.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = leaky_relu(self.expand(x), SLOPE, inplace=True)
        h = leaky_relu(self.mix(h), SLOPE, inplace=True)
        return x + self.reduce(h)


class Resample(nn.Module):
    """Twice or half the side, with a 1x1 convolution on the small side where the width changes."""

    def __init__(self, inputs: int, outputs: int, *, up: bool):
        super().__init__()
        self.up = up
        self.change = conv(inputs, outputs, 1, gain=1.0) if inputs != outputs else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return upsample(self.change(x)) if self.up else self.change(downsample(x))


class R3Generator(Generator):
    """z [N, z_dim] and label [N] (embedded beside z) -> image [N, C, H, W], unbounded (no tanh)."""

    def __init__(self, config: R3GANConfig, image: ImageSpec, num_classes: int):
        super().__init__()
        self.z_dim, self.num_classes = config.z_dim, num_classes
        side, _ = stem_resolution(image.resolution)
        widths = config.widths(image)
        depth = config.blocks * len(widths)
        if num_classes:
            self.embed = dense(num_classes, config.z_dim)
        self.basis = nn.Parameter(torch.randn(widths[0], side, side))
        self.weights = dense(config.z_dim * (2 if num_classes else 1), widths[0])
        layers: list[nn.Module] = [Block(widths[0], config, depth=depth) for _ in range(config.blocks)]
        for a, b in pairwise(widths):
            layers += [Resample(a, b, up=True), *(Block(b, config, depth=depth) for _ in range(config.blocks))]
        self.layers = nn.Sequential(*layers)
        self.to_image = conv(widths[-1], image.channels, 1, gain=1.0)

    def forward(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        if self.num_classes:
            z = torch.cat([z, self.embed(one_hot(label, self.num_classes, z))], 1)
        x = self.basis * self.weights(z)[:, :, None, None]
        return self.to_image(self.layers(x.contiguous(memory_format=torch.channels_last)))


class R3Discriminator(Discriminator):
    """image [N, C, H, W] and label [N] -> logits [N]; samples do not influence one another."""

    def __init__(self, config: R3GANConfig, image: ImageSpec, num_classes: int):
        super().__init__()
        self.num_classes = num_classes
        side, _ = stem_resolution(image.resolution)
        widths = config.widths(image)[::-1]
        depth = config.blocks * len(widths)
        self.from_image = conv(image.channels, widths[0], 1, gain=1.0)
        layers: list[nn.Module] = [Block(widths[0], config, depth=depth) for _ in range(config.blocks)]
        for a, b in pairwise(widths):
            layers += [Resample(a, b, up=False), *(Block(b, config, depth=depth) for _ in range(config.blocks))]
        self.layers = nn.Sequential(*layers)
        self.basis = nn.Parameter(torch.randn(widths[-1], side, side) / side)
        outputs = widths[-1] if num_classes else 1
        self.logit = dense(widths[-1], outputs)
        if num_classes:
            self.embed = dense(num_classes, outputs, gain=1 / math.sqrt(outputs))

    def forward(self, image: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        x = self.layers(self.from_image(image))
        with full_precision(x):
            x = self.logit((wide(x) * self.basis).sum((2, 3)))  # each channel against its own pattern
            return (x * self.embed(one_hot(label, self.num_classes, x))).sum(1) if self.num_classes else x.squeeze(1)
