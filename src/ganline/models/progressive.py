"""Progressive growing (Karras et al. 2018, arXiv 1710.10196): G and D grow from the smallest side to the full one.

Equalised learning rate, pixel norm in G, minibatch standard deviation in D, fade-in of each new side. The level is a
function of images seen (`advance`): a whole number is a side that has settled, 2.3 is side 3 faded in by 0.3.
G always paints, and D always reads, the full side: small levels are enlarged and reduced without loss.
Deviations: labels enter D by projection (Miyato & Koyama 2018) instead of an auxiliary classifier, Adam's moments are
kept when a side is added, and G's first layer has a bias a value instead of one a channel. At 32 px, RGB, the defaults
have 20,727,308 and 20,726,785 parameters, the official code's but for that bias (7,680).
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate

from ganline.models.config import ImageSpec, ProgressiveConfig, stem_resolution
from ganline.models.layers import (
    EqualConv,
    EqualLinear,
    leaky,
    minibatch_stddev,
    one_hot,
    pixel_norm,
    projected,
    widths_from_stem,
)
from ganline.models.spec import Discriminator, Generator

GAIN = math.sqrt(2.0)


def level_at(share: float, *, grow_share: float, last: int) -> float:
    """0 -> 0; each level settles for a part and then fades to the next for an equal part; `last` from grow_share on."""
    parts = min(share / grow_share, 1.0) * 2 * last
    settled = min(int(parts // 2), last)
    return min(settled + max(parts - 2 * settled - 1, 0.0), float(last))


def shrink(x: torch.Tensor, factor: int) -> torch.Tensor:
    return avg_pool2d(x, factor) if factor > 1 else x


def enlarge(x: torch.Tensor, factor: int) -> torch.Tensor:
    return interpolate(x, scale_factor=factor) if factor > 1 else x


class Growing:
    """The level of a network that grows, carried in its state so that a bundle knows it."""

    grows = True
    level: float
    last: int
    grow_share: float

    def advance(self, share: float) -> None:
        """Be at the level of this share of the budget."""
        self.level = level_at(share, grow_share=self.grow_share, last=self.last)

    def top(self) -> tuple[int, float]:
        """(the largest side in use, how far it has faded in; 1.0 when it has settled)."""
        low = int(self.level)
        return (low + 1, self.level - low) if self.level > low else (low, 1.0)

    def get_extra_state(self) -> torch.Tensor:
        return torch.tensor(self.level, dtype=torch.float64)

    def set_extra_state(self, state: torch.Tensor) -> None:
        self.level = float(state)


class ProgressiveGenerator(Growing, Generator):
    """z [N, z_dim] and label [N] (one-hot beside z) -> image [N, C, H, W], unbounded (no tanh)."""

    def __init__(self, config: ProgressiveConfig, image: ImageSpec, num_classes: int):
        super().__init__()
        self.z_dim, self.num_classes, self.grow_share = config.z_dim, num_classes, config.grow_share
        self.side, self.last = stem_resolution(image.resolution)
        self.level = float(self.last)
        widths = widths_from_stem(image.resolution, base=config.width_base, most=config.width_max)
        self.project = EqualLinear(config.z_dim + num_classes, widths[0] * self.side**2, gain=GAIN / self.side)
        firsts = [EqualConv(a, b, 3, gain=GAIN) for a, b in pairwise(widths)]
        self.firsts = nn.ModuleList(firsts)  # the first convolution after each doubling; the stem has the projection
        self.seconds = nn.ModuleList(EqualConv(width, width, 3, gain=GAIN) for width in widths)
        self.to_image = nn.ModuleList(EqualConv(width, image.channels, 1) for width in widths)

    def forward(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        if self.num_classes:
            z = torch.cat([z, one_hot(label, self.num_classes, z)], 1)
        x = self.project(pixel_norm(z)).view(len(z), -1, self.side, self.side)
        x = pixel_norm(leaky(self.seconds[0](pixel_norm(leaky(x)))))
        top, fade = self.top()
        before = x
        for i in range(top):
            before = x
            x = pixel_norm(leaky(self.firsts[i](enlarge(x, 2))))
            x = pixel_norm(leaky(self.seconds[i + 1](x)))
        image = self.to_image[top](x)
        if fade < 1.0:
            image = torch.lerp(enlarge(self.to_image[top - 1](before), 2).to(image.dtype), image, fade)
        return enlarge(image, 2 ** (self.last - top))


class ProgressiveDiscriminator(Growing, Discriminator):
    """image [N, C, H, W] and label [N] -> logits [N]."""

    mixes_samples = True

    def __init__(self, config: ProgressiveConfig, image: ImageSpec, num_classes: int):
        super().__init__()
        self.num_classes, self.grow_share, self.group = num_classes, config.grow_share, config.mbstd_group
        side, self.last = stem_resolution(image.resolution)
        self.level = float(self.last)
        widths = widths_from_stem(image.resolution, base=config.width_base, most=config.width_max)
        self.from_image = nn.ModuleList(EqualConv(image.channels, width, 1, gain=GAIN) for width in widths)
        self.firsts = nn.ModuleList(EqualConv(width, width, 3, gain=GAIN) for width in widths[1:])
        self.seconds = nn.ModuleList(EqualConv(b, a, 3, gain=GAIN) for a, b in pairwise(widths))
        self.end = EqualConv(widths[0] + 1, widths[0], 3, gain=GAIN)
        self.features = EqualLinear(widths[0] * side**2, widths[0], gain=GAIN)
        self.logit = EqualLinear(widths[0], 1)
        if num_classes:
            self.embed = EqualLinear(num_classes, widths[0], bias=None, gain=math.sqrt(num_classes / widths[0]))

    def shown(self, real: torch.Tensor) -> torch.Tensor:
        top, fade = self.top()
        factor = 2 ** (self.last - top)
        image = shrink(real, factor)
        if fade < 1.0:
            image = torch.lerp(enlarge(shrink(image, 2), 2), image, fade)
        return enlarge(image, factor)

    def forward(self, image: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        top, fade = self.top()
        image = shrink(image, 2 ** (self.last - top))
        x = leaky(self.from_image[top](image))
        for i in reversed(range(top)):
            x = shrink(leaky(self.seconds[i](leaky(self.firsts[i](x)))), 2)
            if fade < 1.0 and i == top - 1:
                x = torch.lerp(leaky(self.from_image[i](shrink(image, 2))).to(x.dtype), x, fade)
        x = leaky(self.end(minibatch_stddev(x, group=self.group)))
        x = leaky(self.features(x.flatten(1)))
        told = self.embed(one_hot(label, self.num_classes, image)) if self.num_classes else None
        return projected(x, self.logit, told)
