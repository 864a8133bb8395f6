"""What a variant costs beside time: multiply-accumulates of an image, and bytes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def macs_of(G: nn.Module, z: torch.Tensor, condition: torch.Tensor | None = None) -> int:
    """Multiply-accumulates of one image: those of linear layers, convolutions and attention, as torch counts them while
    G makes the image of z [1, z_dim]. Of a language model that is every token's step, and its decoder.

    Additions, activations and normalisation are not counted. Forms of one network share the figure.
    """
    assert len(z) == 1, "the multiply-accumulates of one image"
    counter = FlopCounterMode(display=False)
    # The CPU's fused attention is unknown to the counter: as two matrix products it is counted.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        G(z, condition)
    return counter.get_total_flops() // 2


def bytes_of(form: nn.Module | Path) -> int:
    """What must be shipped: a file's size, or that of a network's parameters and buffers that are saved."""
    if isinstance(form, Path):
        return form.stat().st_size
    return sum(tensor.numel() * tensor.element_size() for tensor in form.state_dict().values())
