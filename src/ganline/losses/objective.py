"""The objective: which losses train which network, in which order and how often.

A phase is the unit of the trainer: it says which network learns, by which loss, and how many times a step. WGAN-GP
repeats D, R3GAN is D then G: all are lists of phases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from ganline.losses.adversarial import ADVERSARIAL
from ganline.losses.penalties import squared_gradient_norms
from ganline.models import DiscriminatorCall, GeneratorCall


@dataclass
class Batch:
    """What the phases of one step see. `real` [N, C, H, W] float in [-1, 1]; `z` [N, z_dim]; `label` [N] or None.

    Fakes are made once, for the labels of the reals: both sides of a pair show the same class, D's phase reads them
    detached, and G's phase sends its gradient through the same pass. `real_logits` [N] are D's latest, detached.
    """

    step: int
    real: torch.Tensor
    label: torch.Tensor | None
    z: torch.Tensor
    fake: torch.Tensor | None = None
    real_logits: torch.Tensor | None = field(default=None, repr=False)

    def painted(self, G: GeneratorCall) -> torch.Tensor:
        """G's images for this batch, with their graph."""
        if self.fake is None:
            self.fake = G(self.z, self.label)
        return self.fake


# (G, D, batch) -> (loss, statistics to log); all tensors on the device.
PhaseLoss = Callable[[GeneratorCall, DiscriminatorCall, Batch], tuple[torch.Tensor, dict[str, torch.Tensor]]]


@dataclass(frozen=True)
class Phase:
    """One kind of update: `trains` G or D by `loss`, `repeat` times a step, each time with a batch of its own."""

    name: str
    trains: Literal["G", "D"]
    loss: PhaseLoss
    repeat: int = 1


class ObjectiveConfig(BaseModel):
    """A named adversarial loss with optional R1 / R2 penalties, eager (`penalty_every: 1`) or lazy."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    adversarial: Literal["non_saturating", "hinge", "relativistic"] = "non_saturating"
    r1_gamma: float = Field(default=0.0, ge=0.0)
    r2_gamma: float = Field(default=0.0, ge=0.0)
    penalty_every: int = Field(default=8, ge=1)
    n_critic: int = Field(default=1, ge=1)

    def phases(self) -> tuple[Phase, ...]:
        """The phases of one step, in order."""
        return Phase("D", "D", d_phase(self), repeat=self.n_critic), Phase("G", "G", g_phase(self))


def d_phase(config: ObjectiveConfig) -> PhaseLoss:
    """D's adversarial loss; every `penalty_every`-th step gamma / 2 * R beside it, times `penalty_every`.

    So a lazy penalty weighs as much as an eager one (Karras et al. 2020, arXiv 1912.04958, section 3.1). Deviation: it
    shares the step's forward pass and update instead of having its own, which saves both.
    """
    d_loss = ADVERSARIAL[config.adversarial].d_loss
    gammas = {"r1": config.r1_gamma, "r2": config.r2_gamma}

    def loss(G: GeneratorCall, D: DiscriminatorCall, batch: Batch):
        fake = batch.painted(G).detach()
        penalised = any(gammas.values()) and batch.step % config.penalty_every == 0
        images = torch.cat([batch.real, fake.to(batch.real.dtype)]).requires_grad_(penalised)
        labels = None if batch.label is None else torch.cat([batch.label, batch.label])
        logits = D(images, labels).float()
        real, fake_logits = logits.chunk(2)
        batch.real_logits = real.detach()
        value = d_loss(real, fake_logits)
        stats = {"loss_D": value, "logits_real": real.mean(), "logits_fake": fake_logits.mean()}
        if penalised:
            norms = dict(zip(gammas, squared_gradient_norms(logits, images).chunk(2), strict=True))
            for name, gamma in gammas.items():
                stats[name] = norms[name].mean()
                value = value + gamma / 2 * config.penalty_every * stats[name]
        return value, stats

    return loss


def g_phase(config: ObjectiveConfig) -> PhaseLoss:
    """G's adversarial loss, against the D that has just learned. Relativistic pairing reads D's logits of the reals."""
    g_loss = ADVERSARIAL[config.adversarial].g_loss

    def loss(G: GeneratorCall, D: DiscriminatorCall, batch: Batch):
        fake_logits = D(batch.painted(G), batch.label).float()
        # The reals' logits are those that D's phase of this step saw: one update old, and no pass of their own.
        assert batch.real_logits is not None, "D's phase comes before G's"
        value = g_loss(batch.real_logits, fake_logits)
        return value, {"loss_G": value}

    return loss
