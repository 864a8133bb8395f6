"""Layers that several families share: sizes, normalisation over ranks, drawn noise, equalised weights, resampling.

Every layer works at any floating dtype and can be differentiated twice; none needs a custom kernel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from torch.nn.functional import conv2d, leaky_relu, linear

from ganline import ranks
from ganline.devices import full_precision
from ganline.draws import Draws
from ganline.models.config import stem_resolution


def widths_from_stem(resolution: int, *, base: int, most: int) -> list[int]:
    """Channels at each side from the stem to the full resolution: min(base / side, most), as in the StyleGANs."""
    side, doublings = stem_resolution(resolution)
    return [max(min(base // (side << i), most), 4) for i in range(doublings + 1)]


def batch_norm_over_ranks(norm: nn.modules.batchnorm._BatchNorm, x: torch.Tensor) -> torch.Tensor:
    """Training-mode batch normalisation with the statistics of the whole batch, wherever its rows are."""
    axes = [axis for axis in range(x.ndim) if axis != 1]
    shape = [1, -1] + [1] * (x.ndim - 2)
    wide = x if x.dtype == torch.float64 else x.float()
    count = wide.numel() // wide.shape[1] * ranks.size()
    mean = ranks.total(wide.sum(axes)) / count
    centred = wide - mean.view(shape)
    var = ranks.total(centred.square().sum(axes)) / count
    if norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None:
        norm.num_batches_tracked += 1
        momentum = norm.momentum if norm.momentum is not None else 1.0 / float(norm.num_batches_tracked)
        norm.running_mean.lerp_(mean.detach(), momentum)
        norm.running_var.lerp_(var.detach() * count / (count - 1), momentum)
    y = centred * (var + norm.eps).rsqrt().view(shape)
    if norm.affine:
        y = y * norm.weight.view(shape) + norm.bias.view(shape)
    return y.to(x.dtype)


class BatchNorm1d(nn.BatchNorm1d):
    """nn.BatchNorm1d whose statistics are those of all ranks (SyncBatchNorm has no CPU path)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return batch_norm_over_ranks(self, x) if self.training and ranks.size() > 1 else super().forward(x)


class BatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d whose statistics are those of all ranks."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return batch_norm_over_ranks(self, x) if self.training and ranks.size() > 1 else super().forward(x)


class ConditionalBatchNorm2d(nn.Module):
    """Batch normalisation whose gain and bias are a class's own (Dumoulin et al. 2017, arXiv 1610.07629, eq. 5)."""

    def __init__(self, width: int, num_classes: int):
        super().__init__()
        self.norm = BatchNorm2d(width, affine=False)
        self.gain, self.bias = nn.Embedding(num_classes, width), nn.Embedding(num_classes, width)
        nn.init.ones_(self.gain.weight)
        nn.init.zeros_(self.bias.weight)

    def forward(self, x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        gain, bias = self.gain(label)[:, :, None, None], self.bias(label)[:, :, None, None]
        return self.norm(x) * gain.to(x.dtype) + bias.to(x.dtype)


class Stochastic(nn.Module):
    """A layer that draws while it trains. The trainer lends it `draws` for a pass; without them it evaluates."""

    draws: Draws | None = None


@contextmanager
def drawing(module: nn.Module, draws: Draws) -> Iterator[None]:
    """Lend `draws` to every Stochastic layer of a network."""
    layers = [layer for layer in module.modules() if isinstance(layer, Stochastic)]
    for layer in layers:
        layer.draws = draws
    try:
        yield
    finally:
        for layer in layers:
            layer.draws = None


class Dropout(Stochastic):
    """Dropout (Srivastava et al. 2014) whose mask is a function of the sample: equal on any number of ranks."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.draws is None or not self.p:
            return x
        return x * (self.draws.uniform(len(x), *x.shape[1:]) >= self.p).to(x.dtype) / (1 - self.p)


class EqualLinear(nn.Module):
    """Linear with equalised learning rate (Karras et al. 2018, arXiv 1710.10196, section 4.1).

    Weights are N(0, 1 / lr_gain) and scaled at run time by lr_gain / sqrt(fan in), so that Adam moves all alike.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: float | None = 0.0, lr_gain: float = 1.0, gain: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr_gain)
        self.bias = None if bias is None else nn.Parameter(torch.full((outputs,), bias / lr_gain))
        self.scale, self.lr_gain = gain * lr_gain / math.sqrt(inputs), lr_gain

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self.weight * self.scale, None if self.bias is None else self.bias * self.lr_gain)


class EqualConv(nn.Module):
    """Convolution with equalised learning rate; odd kernels keep the side."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, bias: bool = True, gain: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale, self.padding = gain / math.sqrt(inputs * kernel**2), kernel // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return conv2d(x, self.weight * self.scale, self.bias, padding=self.padding)


def leaky(x: torch.Tensor) -> torch.Tensor:
    """LeakyReLU 0.2, in place."""
    return leaky_relu(x, 0.2, inplace=True)


def pixel_norm(x: torch.Tensor) -> torch.Tensor:
    """Each position's features [N, C, …] brought to unit mean square (Karras et al. 2018, eq. 2)."""
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


def minibatch_stddev(x: torch.Tensor, *, group: int) -> torch.Tensor:
    """Append one channel: how much the samples of a group differ, averaged over features and pixels (ibid., section 3).

    [N, C, H, W] -> [N, C + 1, H, W]. Groups are consecutive samples of the whole batch, so that ranks agree; a group
    that lies on several ranks is summed over them. The last group takes what is left if the batch is no multiple.
    """
    n, (start, whole) = len(x), (ranks.rank() * len(x), len(x) * ranks.size())
    group = min(group, whole)
    num_groups = max(whole // group, 1)
    own = torch.arange(start, start + n, device=x.device).div(group, rounding_mode="floor").clamp(max=num_groups - 1)
    member = torch.nn.functional.one_hot(own, num_groups).to(x.dtype if x.dtype == torch.float64 else torch.float32)
    sizes = torch.full((num_groups, 1), float(group), device=x.device, dtype=member.dtype)
    sizes[-1] += whole - group * num_groups
    flat = x.flatten(1).to(member.dtype)
    with full_precision(x):
        mean = ranks.total(member.T @ flat) / sizes
        var = ranks.total(member.T @ (flat - member @ mean).square()) / sizes
        spread = member @ (var + 1e-8).sqrt().mean(1, keepdim=True)
    return torch.cat([x, spread[:, :, None, None].expand(-1, 1, *x.shape[2:]).to(x.dtype)], 1)


@lru_cache(maxsize=256)
def filter_matrix(
    inputs: int, outputs: int, *, pad: int, stride: int, gain: float, device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """[outputs, inputs]: y_i = gain / 8 * (x_k + 3 x_{k+1} + 3 x_{k+2} + x_{k+3}), k = stride * i - pad; 0 beyond."""
    with torch.inference_mode(False):  # it is kept, and may be asked for first by a sampler
        matrix = torch.zeros(outputs, inputs, dtype=torch.float64)
        for i in range(outputs):
            for tap, weight in enumerate((1.0, 3.0, 3.0, 1.0)):
                if 0 <= (k := stride * i - pad + tap) < inputs:
                    matrix[i, k] = gain * weight / 8
        return matrix.to(device, dtype)


def along_both(x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] -> [N, C, H', W']: the matrix [H', H] on rows and on columns, in x's own precision.

    As products of matrices a filter costs a fifth of what pooling or a depthwise convolution does on a CPU in bf16, and
    is deterministic and differentiable at every order on any device.
    """
    n, c, h, w = x.shape
    with full_precision(x):
        rows = matrix @ x.permute(0, 2, 3, 1).reshape(n, h, w * c)
        return (matrix @ rows.view(n, -1, w, c)).permute(0, 3, 1, 2)


def filtered(x: torch.Tensor, outputs: int, *, pad: int, stride: int = 1, gain: float = 1.0) -> torch.Tensor:
    """Filtered by [1, 3, 3, 1] / 8 on each axis, times gain, to a side of `outputs` (see `filter_matrix`)."""
    how = {"pad": pad, "stride": stride, "gain": gain, "device": x.device, "dtype": x.dtype}
    return along_both(x, filter_matrix(x.shape[2], outputs, **how))


def upsample(x: torch.Tensor) -> torch.Tensor:
    """Twice the side: zeros between pixels, then [1, 3, 3, 1] / 4 on each axis (Karras et al. 2020, appendix B)."""
    side = x.shape[2]
    how = {"pad": 1, "stride": 2, "gain": 2.0, "device": x.device, "dtype": x.dtype}
    return along_both(x, filter_matrix(2 * side, side, **how).T)


def downsample(x: torch.Tensor) -> torch.Tensor:
    """Half the side, filtered by [1, 3, 3, 1] / 8 on each axis."""
    return filtered(x, x.shape[2] // 2, pad=1, stride=2)


def wide(x: torch.Tensor) -> torch.Tensor:
    """At least float32."""
    return x if x.dtype == torch.float64 else x.float()


def projected(x: torch.Tensor, logit: nn.Module, told: torch.Tensor | None = None) -> torch.Tensor:
    """Logits [N] of features [N, F], plus their product with what D is told of the class, [N, F], if anything.

    Miyato & Koyama 2018, arXiv 1802.05637, eq. 4. In full precision: near 10, logits in bf16 are 1/16 apart.
    """
    with full_precision(x):
        x = wide(x)
        logits = logit(x).squeeze(1)
        return logits if told is None else logits + (told * x).sum(1)


def one_hot(label: torch.Tensor | None, num_classes: int, like: torch.Tensor) -> torch.Tensor:
    """int64 [N] -> [N, num_classes] of like's dtype; a network built with classes must be told one.

    float [N, num_classes] is taken as it is: what an exported network is told (acceleration/export.py).
    """
    assert label is not None, "a class-conditional network needs labels"
    if label.is_floating_point():
        return label.to(like.dtype)
    return torch.nn.functional.one_hot(label, num_classes).to(like.dtype)


class SpectralNorm(nn.Module):
    """A weight divided by its largest singular value (Miyato et al. 2018, arXiv 1802.05957, algorithm 1).

    A parametrization: one power iteration a training pass, in full precision whatever autocast says (torch's own
    iterates in autocast's).
    """

    def __init__(self, weight: torch.Tensor):
        super().__init__()
        self.register_buffer("u", nn.functional.normalize(torch.randn(weight.shape[0]), dim=0))
        self.u: torch.Tensor

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        matrix = weight.flatten(1)
        with full_precision(weight):
            with torch.no_grad():
                v = nn.functional.normalize(matrix.T @ self.u, dim=0, eps=1e-12)
                u = nn.functional.normalize(matrix @ v, dim=0, eps=1e-12)
                if self.training:
                    self.u.copy_(u)
            return weight / (u @ (matrix @ v))


def spectral(layer: Any) -> Any:
    """The layer, its weight under SpectralNorm."""
    return nn.utils.parametrize.register_parametrization(layer, "weight", SpectralNorm(layer.weight))
