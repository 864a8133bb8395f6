"""How a token is drawn: temperature, top-k, classifier-free guidance, and one Gaussian number a token.

The noise of an image is z [T], one standard normal number a token: token i is the quantile of its distribution at
Phi(z_i) (inverse transform sampling). So an image is a function of (z, condition), as a GAN's is, and a student can be
paired with its teacher's noise.
"""

from __future__ import annotations

import torch

from ganline.devices import running_sum


def guided(logits: torch.Tensor, guidance: float) -> torch.Tensor:
    """Logits [2B, V], conditions first -> [B, V] (Ho & Salimans 2022, arXiv 2207.12598, eq. 6)."""
    told, nothing = logits.chunk(2)
    return nothing + guidance * (told - nothing)


def draw(logits: torch.Tensor, z: torch.Tensor, *, temperature: float = 1.0, top_k: int | None = None) -> torch.Tensor:
    """Logits [B, V] and standard normal z [B] -> tokens int64 [B]: the quantile at Phi(z), in float32."""
    logits = logits.float() / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        least = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = torch.where(logits < least, torch.full_like(logits, -torch.inf), logits)
    cumulative = running_sum(logits.softmax(-1))
    # Scaled by the last sum, which rounding leaves beside 1: every quantile lies below it.
    level = phi(z)[:, None] * cumulative[:, -1:]
    return (cumulative < level).sum(-1).clamp(max=logits.shape[-1] - 1)


def phi(z: torch.Tensor) -> torch.Tensor:
    """The standard normal distribution function, in float32."""
    return 0.5 * torch.erfc(-z.float() * 2**-0.5)
