"""Adversarial losses: logits in, scalar out. Each is a pair (loss of D, loss of G) of pure functions.

Every function takes `real, fake`: logits [N] of D on real and generated images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch.nn.functional import relu, softplus

LogitLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Adversarial:
    """`d_loss(real, fake)` and `g_loss(real, fake)`."""

    d_loss: LogitLoss
    g_loss: LogitLoss


def non_saturating_d(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy on logits, summed over real and fake (Goodfellow et al. 2014, arXiv 1406.2661, eq. 1)."""
    return softplus(-real).mean() + softplus(fake).mean()


def non_saturating_g(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """-log D(G(z)) (ibid., section 3)."""
    return softplus(-fake).mean()


def hinge_d(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Hinge loss (Lim & Ye 2017, arXiv 1705.02894)."""
    return relu(1 - real).mean() + relu(1 + fake).mean()


def hinge_g(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """-D(G(z)), the generator's side of the hinge loss."""
    return -fake.mean()


def relativistic_d(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Relativistic pairing (Huang et al. 2024, R3GAN, arXiv 2501.05441, eq. 2): each real against its fake."""
    return softplus(fake - real).mean()


def relativistic_g(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """The mirror image of `relativistic_d`."""
    return softplus(real - fake).mean()


ADVERSARIAL: Mapping[str, Adversarial] = {
    "non_saturating": Adversarial(non_saturating_d, non_saturating_g),
    "hinge": Adversarial(hinge_d, hinge_g),
    "relativistic": Adversarial(relativistic_d, relativistic_g),
}
