"""Gradient penalties on D."""

from __future__ import annotations

import torch


def squared_gradient_norms(logits: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """|d logits_i / d image_i|^2 of each sample, [N]: its mean is R1 on real images, R2 on fake ones.

    Mescheder et al. 2018, arXiv 1801.04406, eq. 9 (without the factor gamma / 2). `logits` [N] must come from
    `images` [N, C, H, W] with requires_grad, through a D whose samples do not influence one another.
    For a linear critic w.x each value is |w|^2.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(1)
