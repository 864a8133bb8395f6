"""G_ema: the exponential moving average of G's weights, which is the model that is measured and shipped."""

from __future__ import annotations

import torch
from torch import nn

from ganline.devices import Compute
from ganline.models.sampling import latents as draw_latents
from ganline.models.sampling import random_labels
from ganline.models.spec import Generator
from ganline.seeds import derive, generator

RECALIBRATION_BATCHES = 32


@torch.no_grad()
def update_ema(G_ema: nn.Module, G: nn.Module, decay: float) -> None:
    """G_ema <- decay * G_ema + (1 - decay) * G for parameters and float buffers; other buffers are copied.

    Running statistics of G that a pass made non-finite (fp16 overflows) are first set to G_ema's: its update was
    masked, but BatchNorm would remember it for ever.
    """
    for kept, buffer in zip(G_ema.buffers(), G.buffers(), strict=True):
        if buffer.is_floating_point():
            torch.where(buffer.isfinite(), buffer, kept, out=buffer)
    averaged, current = ([*net.parameters(), *net.buffers()] for net in (G_ema, G))
    floats = [(a, b) for a, b in zip(averaged, current, strict=True) if a.is_floating_point()]
    torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], 1.0 - decay)
    for a, b in zip(averaged, current, strict=True):
        if not a.is_floating_point():
            a.copy_(b)


@torch.no_grad()
def recalibrate(G: Generator, *, seed: int, label_weights: torch.Tensor | None, compute: Compute) -> None:
    """Set BatchNorm statistics to those of the present weights, over RECALIBRATION_BATCHES batches of fresh latents.

    Labels are drawn as evaluation draws them, in proportion to `label_weights` [num_classes]; None for a G without
    classes. Averages of running statistics are not the statistics of averaged weights (Izmailov et al. 2018, arXiv
    1803.05407, section 3.2). A pure function of the weights, the labels' weights and the seed.
    """
    norms = [m for m in G.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches that follow
    if not norms:
        return
    G.train()
    for chunk in range(RECALIBRATION_BATCHES):
        z = draw_latents(derive(seed, "recalibrate"), chunk, G.z_dim).to(compute.device, compute.dtype)
        label = None
        if label_weights is not None:
            label = random_labels(derive(seed, "recalibrate"), chunk, len(label_weights), label_weights)
        if G.tell is not None:
            asked = torch.zeros(len(z), dtype=torch.int64) if label is None else label
            label = G.tell(asked, generator(derive(seed, "recalibrate"), "prompt", chunk)).to(compute.dtype)
        G(z, None if label is None else label.to(compute.device))
    G.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
