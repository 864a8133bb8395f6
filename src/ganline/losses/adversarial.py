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
    """`d_loss(real, fake)` and `g_loss(real, fake)`; whether they tie logits to 0, the border of real and fake."""

    d_loss: LogitLoss
    g_loss: LogitLoss
    has_level: bool = True

    def accuracy(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        """Share of D's right answers, a scalar: logits on their side of 0; without a level, reals above their fakes."""
        if not self.has_level:
            return (real > fake).float().mean()
        return ((real > 0).float().mean() + (fake < 0).float().mean()) / 2


def non_saturating_d(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy on logits, summed over real and fake (Goodfellow et al. 2014, arXiv 1406.2661, eq. 1)."""
    return softplus(-real).mean() + softplus(fake).mean()


def non_saturating_g(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """-log D(G(z)) (ibid., section 3)."""
    return softplus(-fake).mean()


def minimax_g(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """log(1 - D(G(z))), the saturating original (ibid., eq. 1); D's side is `non_saturating_d`."""
    return -softplus(fake).mean()


def least_squares_d(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """LSGAN with targets 1 for real and 0 for fake (Mao et al. 2017, arXiv 1611.04076, eq. 9)."""
    return 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean()


def least_squares_g(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """LSGAN's generator, with target 1 (ibid.)."""
    return 0.5 * (fake - 1).square().mean()


def wasserstein_d(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """The critic's estimate of -W1 (Arjovsky et al. 2017, arXiv 1701.07875, eq. 3); it needs a Lipschitz bound."""
    return fake.mean() - real.mean()


def hinge_d(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Hinge loss (Lim & Ye 2017, arXiv 1705.02894)."""
    return relu(1 - real).mean() + relu(1 + fake).mean()


def raise_fake_g(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """-D(G(z)), the generator's side of the hinge and Wasserstein losses."""
    return -fake.mean()


def relativistic_d(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Relativistic pairing (Huang et al. 2024, R3GAN, arXiv 2501.05441, eq. 2): each real against its fake."""
    return softplus(fake - real).mean()


def relativistic_g(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """The mirror image of `relativistic_d`."""
    return softplus(real - fake).mean()


ADVERSARIAL: Mapping[str, Adversarial] = {
    "minimax": Adversarial(non_saturating_d, minimax_g),
    "non_saturating": Adversarial(non_saturating_d, non_saturating_g),
    "least_squares": Adversarial(least_squares_d, least_squares_g),
    "wasserstein": Adversarial(wasserstein_d, raise_fake_g, has_level=False),
    "hinge": Adversarial(hinge_d, raise_fake_g),
    "relativistic": Adversarial(relativistic_d, relativistic_g, has_level=False),
}
