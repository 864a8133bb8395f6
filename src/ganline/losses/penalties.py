"""Gradient penalties on D."""

from __future__ import annotations

import torch


def squared_gradient_norm(logits: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Mean over the batch of |d logits_i / d image_i|^2: R1 on real, R2 on fake images.

    Mescheder et al. 2018, arXiv 1801.04406, eq. 9 (without the factor gamma / 2).
    `logits` [N] must come from `images` [N, C, H, W] with requires_grad, through a D whose samples do not
    influence one another. For a linear critic w.x the value is |w|^2.
    """
    (gradient,) = torch.autograd.grad(logits.float().sum(), images, create_graph=True)
    return gradient.float().square().flatten(1).sum(1).mean()
