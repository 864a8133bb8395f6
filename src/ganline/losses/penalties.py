"""Gradient penalties: of D with respect to images, and of G with respect to w. Each is differentiable once more."""

from __future__ import annotations

import math

import torch

from ganline.devices import full_precision


def squared_gradient_norms(logits: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """|d logits_i / d image_i|^2 of each sample, [N]: its mean is R1 on real images, R2 on fake ones.

    Mescheder et al. 2018, arXiv 1801.04406, eq. 9 (without the factor gamma / 2). `logits` [N] come from `images`
    [N, C, H, W] with requires_grad. Where samples influence one another through batch statistics, it is the gradient
    of all logits' sum that is taken, as in the official StyleGAN2. For a linear critic w.x each value is |w|^2.
    """
    with full_precision(images):  # autocast would round the derivative of what is kept from it
        (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(1)


def between(real: torch.Tensor, fake: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """Points on the lines from real to fake images [N, C, H, W] at `place` [N] in [0, 1], as leaves of a new graph."""
    return torch.lerp(real, fake, place.view(-1, 1, 1, 1).to(real.dtype)).detach().requires_grad_()


def gradient_penalty(logits: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """(|d logits_i / d image_i| - 1)^2 of each sample, [N] (Gulrajani et al. 2017, arXiv 1704.00028, eq. 3).

    For a linear critic w.x each value is (|w| - 1)^2.
    """
    return ((squared_gradient_norms(logits, images) + 1e-12).sqrt() - 1).square()


def path_lengths(images: torch.Tensor, w: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """|J_w^T y| of each sample, [N], with y = noise / sqrt(pixels) (Karras et al. 2020, arXiv 1912.04958, eq. 4).

    `images` [N, C, H, W] come from `w` [N, num_ws, w_dim] with requires_grad; squares are averaged over num_ws, as in
    the official code. For a linear G(w) = A w at one w each, it is |A^T y|.
    """
    y = noise / math.sqrt(images.shape[2] * images.shape[3])
    with full_precision(w):
        (gradient,) = torch.autograd.grad((images * y).sum(), w, create_graph=True)
    return gradient.square().sum(2).mean(1).sqrt()
