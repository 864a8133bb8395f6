"""The objective: which losses train which network, in which order and how often.

A phase is the unit of the trainer: it says which network learns, every how many steps, and how many times a step.
WGAN-GP repeats D, lazy regularisers come every few steps, R3GAN is D then G: all are lists of phases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from ganline.losses.adversarial import ADVERSARIAL
from ganline.losses.penalties import squared_gradient_norm
from ganline.models import DiscriminatorCall, GeneratorCall


@dataclass(frozen=True)
class Batch:
    """What one phase sees. `real` [N, C, H, W] float in [-1, 1]; `z` [N, z_dim]; labels [N] int64 or None.

    Fakes are made for the labels of the reals, so that both sides of a pair show the same class.
    """

    real: torch.Tensor
    label: torch.Tensor | None
    z: torch.Tensor


# (G, D, batch, images seen) -> (loss, statistics to log); all tensors on the device.
PhaseLoss = Callable[[GeneratorCall, DiscriminatorCall, Batch, int], tuple[torch.Tensor, dict[str, torch.Tensor]]]


@dataclass(frozen=True)
class Phase:
    """One kind of update: `trains` G or D with `loss`, in every `every`-th step, `repeat` times."""

    name: str
    trains: Literal["G", "D"]
    loss: PhaseLoss
    every: int = 1
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
        adversarial = Phase("D", "D", d_phase(self), repeat=self.n_critic)
        generator = Phase("G", "G", g_phase(self))
        if not (self.r1_gamma or self.r2_gamma):
            return adversarial, generator
        return adversarial, Phase("D_reg", "D", penalty_phase(self), every=self.penalty_every), generator


def make_fake(G: GeneratorCall, batch: Batch) -> torch.Tensor:
    """Generated images for D's phases: G is not trained there, so no graph is kept."""
    with torch.no_grad():
        return G(batch.z, batch.label)


def d_phase(config: ObjectiveConfig) -> PhaseLoss:
    """D's adversarial loss."""
    d_loss = ADVERSARIAL[config.adversarial].d_loss

    def loss(G: GeneratorCall, D: DiscriminatorCall, batch: Batch, nimg: int):
        fake = make_fake(G, batch)
        # Two passes, not one concatenated: the same cost, and no statistics shared between real and fake.
        real_logits, fake_logits = D(batch.real, batch.label).float(), D(fake, batch.label).float()
        value = d_loss(real_logits, fake_logits)
        return value, {"loss_D": value, "logits_real": real_logits.mean(), "logits_fake": fake_logits.mean()}

    return loss


def penalty_phase(config: ObjectiveConfig) -> PhaseLoss:
    """gamma / 2 * R, times `penalty_every` so that a lazy penalty weighs as much as an eager one."""

    def loss(G: GeneratorCall, D: DiscriminatorCall, batch: Batch, nimg: int):
        value = torch.zeros((), device=batch.real.device)
        stats: dict[str, torch.Tensor] = {}
        sides = {"r1": (config.r1_gamma, lambda: batch.real), "r2": (config.r2_gamma, lambda: make_fake(G, batch))}
        for name, (gamma, images_of) in sides.items():
            if gamma:
                images = images_of().detach().float().requires_grad_(True)
                stats[name] = squared_gradient_norm(D(images, batch.label), images)
                value = value + stats[name] * (gamma / 2 * config.penalty_every)
        return value, stats

    return loss


def g_phase(config: ObjectiveConfig) -> PhaseLoss:
    """G's adversarial loss."""
    adversarial = ADVERSARIAL[config.adversarial]

    def loss(G: GeneratorCall, D: DiscriminatorCall, batch: Batch, nimg: int):
        fake_logits = D(G(batch.z, batch.label), batch.label).float()
        real_logits = fake_logits
        if adversarial.g_needs_real:
            with torch.no_grad():
                real_logits = D(batch.real, batch.label).float()
        value = adversarial.g_loss(real_logits, fake_logits)
        return value, {"loss_G": value}

    return loss
