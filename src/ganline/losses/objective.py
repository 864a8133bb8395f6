"""The objective: which losses train which network, in which order and how often.

A phase is the unit of the trainer: it says which network learns, by which loss, and how many times a step. WGAN-GP
repeats D, R3GAN is D then G: all are lists of phases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch.nn.functional import avg_pool2d

from ganline import ranks
from ganline.draws import Draws
from ganline.losses.adversarial import ADVERSARIAL
from ganline.losses.config import ObjectiveConfig
from ganline.losses.penalties import between, gradient_penalty, path_lengths, squared_gradient_norms
from ganline.models.layers import drawing, wide
from ganline.models.spec import Discriminator, Generator
from ganline.schedules import Value, is_on, value_at

PATH_LENGTH_DECAY = 0.01
Memory = dict[str, torch.Tensor]


def unchanged(images: torch.Tensor) -> torch.Tensor:
    return images


@dataclass(frozen=True)
class Pair:
    """What a teacher made of its noise: z [n, z_dim], condition [n, …] or None, image [n, C, H, W] in [-1, 1]."""

    z: torch.Tensor
    label: torch.Tensor | None
    image: torch.Tensor


@dataclass
class Batch:
    """What the phases of one step see. `real` [N, C, H, W] float in [-1, 1]; `z` [N, z_dim]; `label` [N] or None.

    N is this rank's share. `draws(stream)` gives random numbers by global sample; `augmented` is the augmentation that
    D sees through; `memory` holds device scalars that losses keep between steps.
    Fakes are made once, for the labels of the reals: both sides of a pair show the same class, D's phase reads them
    detached, and G's phase sends its gradient through the same pass. `real_logits` [N] are D's latest, detached.
    """

    step: int
    real: torch.Tensor
    label: torch.Tensor | None
    z: torch.Tensor
    draws: Callable[[str], Draws]
    nimg: int = 0
    total_nimg: int = 1
    augmented: Callable[[torch.Tensor], torch.Tensor] = unchanged
    memory: Memory = field(default_factory=dict)
    for_g: bool = True
    """Whether G's phase will go on with this batch: if not, its fakes need no graph."""
    fake: torch.Tensor | None = None
    real_logits: torch.Tensor | None = field(default=None, repr=False)
    auxiliary: dict[str, torch.Tensor] = field(default_factory=dict)
    """Terms of G's loss that painting itself yields, weighted: a tokenizer's reconstruction."""
    pair: Pair | None = None
    """Noise, labels and the images that G is to make of them."""

    def painted(self, G: Generator) -> torch.Tensor:
        """G's images for this batch, with their graph if G is to learn from them."""
        if self.fake is None:
            with torch.set_grad_enabled(self.for_g), drawing(G, self.draws("G")):
                self.fake = G.paint(self)
        return self.fake

    def value(self, of: Value) -> float:
        """A configured value at this moment of the budget."""
        return value_at(of, self.nimg, self.total_nimg)


# (G, D, batch) -> (loss, statistics to log); all tensors on the device.
PhaseLoss = Callable[[Generator, Discriminator, Batch], tuple[torch.Tensor, dict[str, torch.Tensor]]]


@dataclass(frozen=True)
class Phase:
    """One kind of update: `trains` G or D by `loss`, `repeat` times a step, each time with a batch of its own.

    `clip` bounds every trained parameter after the update (weight clipping).
    """

    name: str
    trains: Literal["G", "D"]
    loss: PhaseLoss
    repeat: int = 1
    clip: float | None = None


def judged(
    D: Discriminator, batch: Batch, groups: list[torch.Tensor], *, penalised: list[bool]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """D's logits of groups of images [N, …] each, float [groups * N], through the augmentation.

    The groups pass together where samples stay apart and all or none are penalised. Also returns the leaves (whole
    passes) that penalties take gradients of.
    """
    together = not D.mixes_samples and len(set(penalised)) == 1
    passes = [torch.cat(groups)] if together else groups
    for images, wanted in zip(passes, penalised, strict=False):
        images.requires_grad_(wanted)
    # A second derivative is taken of penalised passes: they stay eager where the network was compiled.
    call: Any = D.forward if any(penalised) else D
    logits = []
    with drawing(D, batch.draws("D")):
        for images in passes:
            label = None if batch.label is None else torch.cat([batch.label] * (len(images) // len(batch.label)))
            logits.append(wide(call(batch.augmented(images), label)))
    return torch.cat(logits), passes


def d_phase(config: ObjectiveConfig) -> PhaseLoss:
    """D's adversarial loss; every `penalty_every`-th step its penalties beside it, times `penalty_every`.

    So a lazy penalty weighs as much as an eager one (Karras et al. 2020, arXiv 1912.04958, section 3.1). Deviation: it
    shares the step's forward pass and update instead of having its own, which saves both. R1 and R2 are taken of the
    images before augmentation, as in StyleGAN2-ADA and R3GAN.
    """
    adversarial = ADVERSARIAL[config.adversarial]
    gammas = {"r1": config.r1_gamma, "r2": config.r2_gamma}

    def loss(G: Generator, D: Discriminator, batch: Batch):
        fake = batch.painted(G).detach().to(batch.real.dtype)
        lazy = batch.step % config.penalty_every == 0
        penalised = [lazy and is_on(gamma) for gamma in gammas.values()]
        logits, passes = judged(D, batch, [batch.real.detach(), fake], penalised=penalised)
        real, fake_logits = logits.chunk(2)
        batch.real_logits = real.detach()
        value = adversarial.d_loss(real, fake_logits)
        stats = {"loss_D": value, "logits_real": real.mean(), "logits_fake": fake_logits.mean()}
        stats["accuracy_D"] = adversarial.accuracy(real, fake_logits)
        if config.drift:
            value = value + config.drift * real.square().mean()
        if any(penalised):
            # Without mixing, the gradient of all logits' sum with respect to each pass is each sample's own.
            grads = [squared_gradient_norms(logits, images) for images in passes if images.requires_grad]
            wanted = [name for name, on in zip(gammas, penalised, strict=True) if on]
            for name, norms in zip(wanted, torch.cat(grads).chunk(len(wanted)), strict=True):
                stats[name] = norms.mean()
                value = value + batch.value(gammas[name]) / 2 * config.penalty_every * stats[name]
        if lazy and is_on(config.gp_weight):
            mixed = between(batch.real, fake, batch.draws("between").uniform(len(fake)))
            mixed_logits, _ = judged(D, batch, [mixed], penalised=[True])
            stats["gp"] = gradient_penalty(mixed_logits, mixed).mean()
            value = value + batch.value(config.gp_weight) * config.penalty_every * stats["gp"]
        return value, stats

    return loss


def g_phase(config: ObjectiveConfig) -> PhaseLoss:
    """G's adversarial loss, against the D that has just learned, and every so often the path length penalty.

    Relativistic pairing reads the logits of the reals that D's phase of this step saw: one update old, and no pass of
    their own.
    """
    g_loss = ADVERSARIAL[config.adversarial].g_loss

    def loss(G: Generator, D: Discriminator, batch: Batch):
        assert batch.real_logits is not None, "D's phase comes before G's"
        with drawing(D, batch.draws("D for G")):
            fake_logits = wide(D(batch.augmented(batch.painted(G)), batch.label))
        value = g_loss(batch.real_logits, fake_logits)
        stats = {"loss_G": value}
        if config.path_length_weight and batch.step % config.path_length_every == 0:
            stats["path_length"], penalty = path_length_penalty(G, batch)
            value = value + config.path_length_weight * config.path_length_every * penalty
        for name, term in batch.auxiliary.items():
            stats[name] = term
            value = value + term
        if batch.pair is not None and (weight := batch.value(config.pair_weight)) > 0:
            stats["pair"] = paired_error(G, batch.pair)
            value = value + weight * stats["pair"]
        return value, stats

    return loss


def paired_error(G: Generator, pair: Pair) -> torch.Tensor:
    """Mean absolute difference of G's images to its teacher's, at full, half and quarter resolution.

    Regression to a teacher's own noise (Diffusion2GAN, Kang et al. 2024, arXiv 2405.05967, eq. 3). Deviation: pixels at
    three scales for a perceptual distance, because the networks at hand are those that measure.
    """
    made, wanted = wide(G(pair.z, pair.label)), pair.image
    error = (made - wanted).abs().mean()
    for _ in range(2):
        made, wanted = avg_pool2d(made, 2), avg_pool2d(wanted, 2)
        error = error + (made - wanted).abs().mean()
    return error / 3


def path_length_penalty(G: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """(mean path length, mean of (length - moving mean)^2) over every second sample (Karras et al. 2020, eq. 4)."""
    z, label = batch.z[::2], None if batch.label is None else batch.label[::2]
    with drawing(G, batch.draws("path").every(2)):
        w = G.mapping(z, label)
        images = G.synthesis(w)
        noise = batch.draws("path noise").every(2).normal(len(z), *images.shape[1:])
    lengths = path_lengths(wide(images), w, noise)
    mean = batch.memory["path_length"]
    with torch.no_grad():
        moved = torch.lerp(mean, ranks.average(lengths.mean()).to(mean.dtype), PATH_LENGTH_DECAY)
        mean.copy_(torch.where(moved.isfinite(), moved, mean))  # a masked update must not be remembered
    return lengths.mean(), (lengths - mean).square().mean()
