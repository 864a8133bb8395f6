"""G_ema: the exponential moving average of G's weights, which is the model that is measured and shipped."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def update_ema(G_ema: nn.Module, G: nn.Module, decay: float) -> None:
    """G_ema <- decay * G_ema + (1 - decay) * G for parameters and float buffers; other buffers are copied."""
    averaged, current = list(G_ema.state_dict().values()), list(G.state_dict().values())
    floats = [(a, b) for a, b in zip(averaged, current, strict=True) if a.is_floating_point()]
    torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], 1.0 - decay)
    for a, b in zip(averaged, current, strict=True):
        if not a.is_floating_point():
            a.copy_(b)
