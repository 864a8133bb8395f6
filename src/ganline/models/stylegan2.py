"""StyleGAN2 (Karras et al. 2020, arXiv 1912.04958), as configured by StyleGAN2-ADA for small images (arXiv 2006.06676).

G: mapping network, modulated convolutions with noise, skip connections to the image; D: strided convolutions with
blurred halving (`d_layout: orig`, the CIFAR-10 choice) or residual ones. The maths is the official one without its
custom kernels: the style scales the input and the demodulation the output of one dense convolution. A label is embedded
beside z in G; in D a mapping network of its own turns it into the vector that the features are projected on. At 32 px
the defaults have 19,947,539 and 20,720,641 parameters, with ten classes 20,215,315 and 23,089,664.
Deviations: no clamp of activations (bf16 has fp32's range); groups of minibatch standard deviation are consecutive
samples.
Style mixing and noise are drawn per sample; without draws (evaluation) the noise is a fixed map and nothing is mixed.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import conv2d, conv_transpose2d

from ganline import ranks
from ganline.devices import full_precision
from ganline.models.config import ImageSpec, StyleGAN2Config, stem_resolution
from ganline.models.layers import (
    EqualConv,
    EqualLinear,
    Stochastic,
    downsample,
    filtered,
    leaky,
    minibatch_stddev,
    one_hot,
    pixel_norm,
    upsample,
    wide,
    widths_from_stem,
)
from ganline.models.spec import Discriminator, Generator

GAIN = math.sqrt(2.0)
W_AVG_DECAY = 0.995


def act(x: torch.Tensor) -> torch.Tensor:
    """LeakyReLU that keeps unit variance."""
    return leaky(x) * GAIN


def modulated(x: torch.Tensor, weight: torch.Tensor, style: torch.Tensor, *, demodulate: bool, up: bool = False):
    """Convolution with a weight of each sample's own, w'[n, o, i] = s[n, i] w[o, i], demodulated (eqs. 1 and 3).

    x [N, I, H, W], weight [O, I, k, k], style [N, I] -> [N, O, H, W], or twice the side, blurred, if `up`.
    """
    x = x * style[:, :, None, None].to(x.dtype)
    if up:
        x = conv_transpose2d(x, weight.transpose(0, 1).flip(2, 3), stride=2)  # the side is 2 H + 1
        x = filtered(x, x.shape[2] - 1, pad=1, gain=2.0)
    else:
        x = conv2d(x, weight, padding=weight.shape[-1] // 2)
    if not demodulate:
        return x
    with full_precision(x):
        scale = (wide(style).square() @ weight.square().sum((2, 3)).T + 1e-8).rsqrt()
    return x * scale[:, :, None, None].to(x.dtype)


def mapping_layers(sizes: list[int]) -> nn.ModuleList:
    """The dense layers of a mapping network, which learn a hundred times slower than the others."""
    return nn.ModuleList(EqualLinear(a, b, lr_gain=0.01) for a, b in pairwise(sizes))


def affine(layer: EqualLinear, w: torch.Tensor) -> torch.Tensor:
    """Styles [N, C] of w [N, w_dim], in w's precision."""
    with full_precision(w):
        return layer(w)


class Mapping(Stochastic):
    """z [N, z_dim] and label [N] -> w [N, num_ws, w_dim]; a share of the samples switches to a second z on the way."""

    def __init__(self, config: StyleGAN2Config, *, num_ws: int, num_classes: int):
        super().__init__()
        self.num_ws, self.num_classes, self.mixing, self.z_dim = num_ws, num_classes, config.mixing, config.z_dim
        inputs = config.z_dim + (config.w_dim if num_classes else 0)
        self.layers = mapping_layers([inputs] + [config.w_dim] * config.mapping_layers)
        if num_classes:
            self.embed = EqualLinear(num_classes, config.w_dim)
        self.register_buffer("w_avg", torch.zeros(config.w_dim))
        self.w_avg: torch.Tensor

    def one(self, z: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
        """w [N, w_dim] of one latent each."""
        with full_precision(z):
            x = pixel_norm(z)
            if self.num_classes:
                x = torch.cat([x, pixel_norm(self.embed(one_hot(label, self.num_classes, z)))], 1)
            for layer in self.layers:
                x = act(layer(x))
        return x

    def forward(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        w = self.one(z, label)
        if self.draws is None:
            return w[:, None].expand(-1, self.num_ws, -1)
        with torch.no_grad():
            self.w_avg.lerp_(ranks.average(w.mean(0)), 1 - W_AVG_DECAY)
        w = w[:, None].expand(-1, self.num_ws, -1)
        if not self.mixing:
            return w
        other = self.one(self.draws.normal(len(z), self.z_dim).to(z.dtype), label)[:, None]
        chance, place = self.draws.uniform(len(z), 2).T
        first = torch.where(chance < self.mixing, 1 + (place * (self.num_ws - 1)).floor(), float(self.num_ws))
        late = torch.arange(self.num_ws, device=z.device) >= first[:, None]
        return torch.where(late[:, :, None], other, w)


class StyledConv(Stochastic):
    """Modulated 3x3 convolution, noise, bias, activation; twice the side if `up`."""

    def __init__(self, inputs: int, outputs: int, *, w_dim: int, side: int, up: bool):
        super().__init__()
        self.up, self.side = up, side
        self.style = EqualLinear(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise", torch.randn(side, side))
        self.noise: torch.Tensor

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        x = modulated(x, self.weight, affine(self.style, w), demodulate=True, up=self.up)
        noise = self.noise if self.draws is None else self.draws.normal(len(x), 1, self.side, self.side)
        return act(x + noise.to(x.dtype) * self.noise_strength + self.bias[:, None, None].to(x.dtype))


class ToImage(nn.Module):
    """Modulated 1x1 convolution to pixels, without demodulation."""

    def __init__(self, inputs: int, channels: int, *, w_dim: int):
        super().__init__()
        self.style = EqualLinear(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.scale = 1 / math.sqrt(inputs)

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        image = modulated(x, self.weight, affine(self.style, w) * self.scale, demodulate=False)
        return image + self.bias[:, None, None]  # in the bias's precision: images are summed in it


class StyleGenerator(Generator):
    """z [N, z_dim] and label [N] -> image [N, C, H, W], unbounded: `synthesis(mapping(z, label))`."""

    def __init__(self, config: StyleGAN2Config, image: ImageSpec, num_classes: int):
        super().__init__()
        self.z_dim, self.num_classes = config.z_dim, num_classes
        side, doublings = stem_resolution(image.resolution)
        widths = widths_from_stem(image.resolution, base=config.width_base, most=config.width_max)
        self.mapping = Mapping(config, num_ws=2 * doublings + 2, num_classes=num_classes)
        self.constant = nn.Parameter(torch.randn(widths[0], side, side))
        convs = [StyledConv(widths[0], widths[0], w_dim=config.w_dim, side=side, up=False)]
        for a, b in pairwise(widths):
            side *= 2
            convs.append(StyledConv(a, b, w_dim=config.w_dim, side=side, up=True))
            convs.append(StyledConv(b, b, w_dim=config.w_dim, side=side, up=False))
        self.convs = nn.ModuleList(convs)
        self.to_image = nn.ModuleList(ToImage(width, image.channels, w_dim=config.w_dim) for width in widths)

    def synthesis(self, w: torch.Tensor) -> torch.Tensor:
        """w [N, num_ws, w_dim] -> image [N, C, H, W]. Each side's image reads the style of the convolution after it."""
        x = self.constant.expand(len(w), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        x = self.convs[0](x, w[:, 0])
        image = self.to_image[0](x, w[:, 1])
        for i, to_image in enumerate(self.to_image):
            if i:
                x = self.convs[2 * i - 1](x, w[:, 2 * i - 1])
                x = self.convs[2 * i](x, w[:, 2 * i])
                image = upsample(image) + to_image(x, w[:, 2 * i + 1])
        return image

    def forward(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        return self.synthesis(self.mapping(z, label))

    def truncated(self, z: torch.Tensor, label: torch.Tensor | None, psi: float) -> torch.Tensor:
        """Truncation in w: w_avg + psi (w - w_avg) (Karras et al. 2019, arXiv 1812.04948, appendix B)."""
        return self.synthesis(self.mapping.w_avg + psi * (self.mapping(z, label) - self.mapping.w_avg))


class DownConv(nn.Module):
    """Two 3x3 convolutions, the second on a blurred image with stride 2; with a skip beside them if `residual`."""

    def __init__(self, inputs: int, outputs: int, *, residual: bool):
        super().__init__()
        self.first = EqualConv(inputs, inputs, 3)
        self.second = EqualConv(inputs, outputs, 3)
        self.skip = EqualConv(inputs, outputs, 1, bias=False) if residual else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = act(self.first(x))
        h = filtered(h, h.shape[2] + 1, pad=2)
        h = act(conv2d(h, self.second.weight * self.second.scale, self.second.bias, stride=2))
        return h if self.skip is None else (h + self.skip(downsample(x))) * math.sqrt(0.5)


class StyleDiscriminator(Discriminator):
    """image [N, C, H, W] and label [N] -> logits [N]."""

    mixes_samples = True

    def __init__(self, config: StyleGAN2Config, image: ImageSpec, num_classes: int):
        super().__init__()
        self.num_classes, self.group = num_classes, config.mbstd_group
        side, _ = stem_resolution(image.resolution)
        widths = widths_from_stem(image.resolution, base=config.width_base, most=config.width_max)[::-1]
        self.from_image = EqualConv(image.channels, widths[0], 1)
        residual = config.d_layout == "resnet"
        self.blocks = nn.ModuleList(DownConv(a, b, residual=residual) for a, b in pairwise(widths))
        self.end = EqualConv(widths[-1] + 1, widths[-1], 3)
        self.features = EqualLinear(widths[-1] * side**2, widths[-1])
        self.logit = EqualLinear(widths[-1], widths[-1] if num_classes else 1)
        if num_classes:
            self.embed = EqualLinear(num_classes, widths[-1])
            self.mapping = mapping_layers([widths[-1]] * (config.d_mapping_layers + 1))

    def forward(self, image: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        x = act(self.from_image(image))
        for block in self.blocks:
            x = block(x)
        x = act(self.end(minibatch_stddev(x, group=self.group)))
        x = act(self.features(x.flatten(1)))
        with full_precision(x):
            x = self.logit(wide(x))
            if not self.num_classes:
                return x.squeeze(1)
            c = pixel_norm(self.embed(one_hot(label, self.num_classes, x)))
            for layer in self.mapping:
                c = act(layer(c))
            return (x * c).sum(1) / math.sqrt(x.shape[1])
