"""BatchNorm folded into the layer before it: an equal network for inference only, with a layer fewer at each place.

With running statistics m, v and affine g, b, norm(Wx + c) = (g / sqrt(v + eps)) (Wx + c - m) + b is again a linear map
of x (Jacob et al. 2018, arXiv 1712.05877, section 3.2). Done in float64 and rounded once.
"""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise
from typing import TypeVar

import torch
from torch import nn

from ganline.models.pixelshuffle import Gain, PixelShuffleGenerator
from ganline.models.spec import Generator

G = TypeVar("G", bound=Generator)
L = TypeVar("L", bound=nn.Module)
LINEAR, NORM = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d), (nn.BatchNorm1d, nn.BatchNorm2d)
SUB_PIXELS = 4
"""Channels that a pixel shuffle by two makes one of: 4c, …, 4c + 3 become channel c."""


def fold(generator: G) -> G:
    """A copy in evaluation mode whose BatchNorms are folded where the layer before them is known.

    Known are those in a row (`nn.Sequential`: Linear or convolution, BatchNorm) and, in the pixelshuffle family, the
    stem's and those behind a pixel shuffle. Other families keep theirs, and so does what is folded already: the copy
    computes the same all the same.
    """
    with torch.inference_mode(False):  # what is made within it can never be exported
        return folded_copy(generator)


def folded_copy(generator: G) -> G:
    every = (network for network in generator.modules() if isinstance(network, Generator))
    words = {id(network.tell): network.tell for network in every}  # shared: they may hold every prompt's embedding
    folded = deepcopy(generator, words).eval().requires_grad_(False)
    for row in [module for module in folded.modules() if isinstance(module, nn.Sequential)]:
        fold_row(row)
    for network in folded.modules():
        if isinstance(network, PixelShuffleGenerator) and isinstance(network.norms[0], NORM):
            fold_pixelshuffle(network)
    return folded


def fold_row(row: nn.Sequential) -> None:
    """Fold each BatchNorm that directly follows a linear layer, in place."""
    for (at, layer), (norm_at, norm) in pairwise(list(row.named_children())):
        if isinstance(layer, LINEAR) and isinstance(norm, NORM) and getattr(layer, "groups", 1) == 1:
            setattr(row, at, folded_layer(layer, *scale_and_shift(norm)))
            setattr(row, norm_at, nn.Identity())


def fold_pixelshuffle(network: PixelShuffleGenerator) -> None:
    """Fold the stem's BatchNorm, which sees the Linear's outputs as [N, side, side, width], and those of each stage,
    which see what a pixel shuffle made of the convolution's sub-pixels, in place. Activations then follow the products
    directly, and runtimes compute the two in one. The labels' gain goes into the weights that read them."""
    first, *others = network.norms
    scale, shift = scale_and_shift(first)
    assert isinstance(network.stem, nn.Linear)
    stem = folded_layer(network.stem, scale.repeat(network.side**2), shift.repeat(network.side**2))
    if isinstance(network.gain, Gain):
        stem.weight[:, network.z_dim :] *= network.gain.value
        network.gain = nn.Identity()
    network.stem = nn.Sequential(stem, network.acts[0])
    for i, norm in enumerate(others):
        scale, shift = (each.repeat_interleave(SUB_PIXELS) for each in scale_and_shift(norm))
        network.convs[i] = nn.Sequential(folded_layer(network.convs[i], scale, shift), network.acts[i + 1])
    network.norms, network.acts = (nn.ModuleList(nn.Identity() for _ in each) for each in (network.norms, network.acts))


def scale_and_shift(norm: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """What a BatchNorm in evaluation mode multiplies each channel by, and then adds: float64 [C] each."""
    assert isinstance(norm, NORM) and norm.running_mean is not None and norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.affine:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    return scale, shift + norm.bias.double() if norm.affine else shift


def folded_layer(layer: L, scale: torch.Tensor, shift: torch.Tensor) -> L:
    """The layer with its outputs [C] multiplied by `scale`, then `shift` added; it gets a bias if it had none."""
    assert isinstance(layer, LINEAR)
    axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
    shape = [-1 if i == axis else 1 for i in range(layer.weight.ndim)]
    folded = deepcopy(layer)
    bias = shift if layer.bias is None else layer.bias.double() * scale + shift
    folded.weight = nn.Parameter((layer.weight.double() * scale.view(shape)).to(layer.weight), requires_grad=False)
    folded.bias = nn.Parameter(bias.to(layer.weight), requires_grad=False)
    return folded
