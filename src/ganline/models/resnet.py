"""Pre-activation residual blocks of the ResNet GANs (Gulrajani et al. 2017, arXiv 1704.00028, appendix F).

The normalisation is passed in: `wgan.py` and `sngan.py` differ in it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate, relu

from ganline.models.layers import ConditionalBatchNorm2d

MakeNorm = Callable[[int], nn.Module]


def conv(inputs: int, outputs: int, kernel: int, *, gain: float = 2.0**0.5) -> nn.Conv2d:
    """A convolution that keeps the side, with uniform Glorot weights (`gain` is 1 on a shortcut)."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    nn.init.xavier_uniform_(layer.weight, gain)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


class UpBlock(nn.Module):
    """Twice the side: norm, ReLU, nearest upsampling, 3x3, norm, ReLU, 3x3, beside an upsampled 1x1 shortcut."""

    def __init__(self, inputs: int, outputs: int, *, norm: MakeNorm):
        super().__init__()
        self.norms = nn.ModuleList([norm(inputs), norm(outputs)])
        self.convs = nn.ModuleList([conv(inputs, outputs, 3), conv(outputs, outputs, 3)])
        self.shortcut = conv(inputs, outputs, 1, gain=1.0)

    def forward(self, x: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
        h = relu(apply_norm(self.norms[0], x, label))
        h = self.convs[0](interpolate(h, scale_factor=2))
        h = self.convs[1](relu(apply_norm(self.norms[1], h, label)))
        # A 1x1 convolution commutes with nearest upsampling: a quarter of the work on the small side.
        return h + interpolate(self.shortcut(x), scale_factor=2)


def apply_norm(norm: nn.Module, x: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
    return norm(x, label) if isinstance(norm, ConditionalBatchNorm2d) else norm(x)


class DownBlock(nn.Module):
    """D's block: (norm,) ReLU, 3x3, (norm,) ReLU, 3x3 (, average pooling), beside a shortcut where sizes change.

    `first` blocks see pixels: no ReLU before the first convolution, and the shortcut pools before its 1x1.
    """

    def __init__(self, inputs: int, outputs: int, *, down: bool, first: bool = False, norm: MakeNorm | None):
        super().__init__()
        self.down, self.first = down, first
        make_norm = norm or (lambda width: nn.Identity())
        self.norms = nn.ModuleList([nn.Identity() if first else make_norm(inputs), make_norm(outputs)])
        self.convs = nn.ModuleList([conv(inputs, outputs, 3), conv(outputs, outputs, 3)])
        self.shortcut = conv(inputs, outputs, 1, gain=1.0) if inputs != outputs or down else None
        self.shortcut_norm = make_norm(inputs) if self.shortcut is not None else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x if self.first else relu(self.norms[0](x))
        h = self.convs[1](relu(self.norms[1](self.convs[0](h))))
        h = avg_pool2d(h, 2) if self.down else h
        if self.shortcut is None:
            return h + x
        # Pooling commutes with the 1x1 convolution: it comes first, on a quarter of the positions.
        pooled = self.shortcut_norm(x)
        return h + self.shortcut(avg_pool2d(pooled, 2) if self.down else pooled)
