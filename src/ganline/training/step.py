"""One step of training: the objective's phases in order, each an exact function of the state and the step's number."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.profiler import record_function

from ganline import ranks
from ganline.augment import adapt, augment
from ganline.data.loader import Batches, Pairs
from ganline.devices import Compute
from ganline.draws import Draws
from ganline.losses.config import AdaConfig
from ganline.losses.objective import Batch, Pair, Phase
from ganline.models.spec import Discriminator, Generator
from ganline.schedules import ema_decay, value_at
from ganline.seeds import generator
from ganline.training.config import TrainConfig
from ganline.training.ema import update_ema
from ganline.training.state import State

Stats = dict[str, torch.Tensor]


def run_step(
    state: State,
    *,
    config: TrainConfig,
    phases: tuple[Phase, ...],
    batches: Batches,
    compute: Compute,
    pairs: Pairs | None = None,
) -> Stats:
    """Run every phase, move G_ema, advance the clocks. Returns statistics as device scalars of this rank."""
    stats: Stats = {}
    follow_schedules(state, config)
    batch: Batch | None = None
    for phase in phases:
        for turn in range(phase.repeat):
            # G's phase goes on with the batch that D saw last: its fakes are painted already.
            if batch is None or phase.trains == "D":
                index = state.step * phase.repeat + turn
                batch = draw(index, state, config=config, batches=batches, compute=compute)
                batch.for_g = turn == phase.repeat - 1
                if pairs is not None and batch.for_g and batch.value(config.objective.pair_weight) > 0:
                    z, image, label = pairs.get(state.step)
                    batch.pair = Pair(z.to(compute.dtype), told(label, config), image.to(compute.dtype))
            for name, value in run_phase(phase, batch, state=state, compute=compute).items():
                stats[name] = stats[name] + value if name.startswith("skipped_") and name in stats else value
    assert batch is not None
    if isinstance(config.augment.p, AdaConfig):
        stats["augment_p"] = adapt_augmentation(state, batch, config=config, ada=config.augment.p)
    state.step += 1
    state.nimg += config.step_nimg
    decay = ema_decay(
        state.nimg,
        batch=config.step_nimg,
        halflife_nimg=value_at(config.ema.halflife_share, state.nimg, config.total_nimg) * config.total_nimg,
        rampup=config.ema.rampup,
    )
    with record_function("ganline/ema"):
        update_ema(state.G_ema, state.G, decay)
    return stats


def draw(index: int, state: State, *, config: TrainConfig, batches: Batches, compute: Compute) -> Batch:
    """This rank's share of the run's `index`-th batch of real images, and latents for as many fakes."""
    with record_function("ganline/draw"):
        real, label = batches.get(index)
        if label.is_floating_point():
            label = label.to(compute.dtype)
        z = torch.randn(config.batch, state.G.z_dim, generator=generator(config.seed, "z", index))
        z = z[ranks.rows(config.batch)].to(compute.device, compute.dtype, non_blocking=True)

    def draws(stream: str) -> Draws:
        return Draws(config.seed, stream, index, batch=config.batch, device=compute.device)

    batch = Batch(
        state.step,
        state.D.shown(real.to(compute.dtype)),
        told(label, config),
        z,
        draws,
        nimg=state.nimg,
        total_nimg=config.total_nimg,
        memory=state.memory,
    )
    if config.augment.is_on:
        batch.augmented = augmentation(state, config=config, draws=draws("augment"), compute=compute)
    return batch


def told(label: torch.Tensor, config: TrainConfig) -> torch.Tensor | None:
    """What G and D are told of an image."""
    return label if config.model.class_conditional else None


def augmentation(
    state: State, *, config: TrainConfig, draws: Draws, compute: Compute
) -> Callable[[torch.Tensor], torch.Tensor]:
    """What D sees images through, at this moment's probability. Each pass draws afresh."""
    p = state.memory.get("augment_p")
    if p is None:
        p = torch.full((), config.augment.planned_p(state.nimg, config.total_nimg), device=compute.device)
    return partial(augment, config=config.augment, p=p, draws=draws)


@torch.no_grad()
def adapt_augmentation(state: State, batch: Batch, *, config: TrainConfig, ada: AdaConfig) -> torch.Tensor:
    """ADA: watch the signs of D's logits of reals over all ranks, and move the probability every `ada.every` steps."""
    assert batch.real_logits is not None
    signs, p = state.memory["augment_signs"], state.memory["augment_p"]
    signs += ranks.average(batch.real_logits.sign().mean())  # what a checkpoint keeps is every rank's
    if (state.step + 1) % ada.every == 0:
        p.copy_(adapt(p, signs / ada.every, config=ada, batch=config.step_nimg))
        signs.zero_()
    return p.clone()


def run_phase(phase: Phase, batch: Batch, *, state: State, compute: Compute) -> Stats:
    """Loss, gradients and one optimizer step of one network. A non-finite update is masked on the device."""
    trained, optimizer, scaler = (
        state.networks[phase.trains],
        state.optimizers[phase.trains],
        state.scalers.get(phase.trains),
    )
    # G's parameters always want gradients: its one pass serves both phases. D's rest while G learns.
    state.D.requires_grad_(phase.trains == "D")
    G: Generator = state.G
    D: Discriminator = state.D
    with compute.precision(), record_function(f"ganline/{phase.name} forward"):
        loss, stats = phase.loss(G, D, batch)
    with record_function(f"ganline/{phase.name} backward"):
        optimizer.zero_grad(set_to_none=True)
        (loss if scaler is None else scaler.scale(loss)).backward()
    with record_function(f"ganline/{phase.name} update"):
        ranks.average_gradients(trained)
        if scaler is not None:
            scaler.unscale_(optimizer)
        norm, bad = masked_update(trained, optimizer)
        if scaler is not None:
            scaler.update()
        if phase.clip is not None:
            clip_weights(trained, phase.clip)
    stats = {name: value.detach() for name, value in stats.items()}
    # A masked update's norm is left out of the mean, which it would make infinite.
    return stats | {f"grad_norm_{phase.name}": norm.nan_to_num(0.0, 0.0, 0.0), f"skipped_{phase.name}": bad}


def masked_update(module: nn.Module, optimizer: torch.optim.Adam) -> tuple[torch.Tensor, torch.Tensor]:
    """Move the weights, unless a gradient is not finite: (norm of all gradients, 1.0 if masked), on the device."""
    norm = gradient_norm(module)
    bad = (~torch.isfinite(norm)).float()
    # The protocol of torch.amp.GradScaler: fused optimizers leave weights and moments alone where this is 1.
    optimizer.grad_scale, optimizer.found_inf = None, bad  # type: ignore[attr-defined]
    optimizer.step()
    return norm, bad


def gradient_norm(module: nn.Module) -> torch.Tensor:
    """2-norm of all gradients of a network, a scalar on the device; infinite or NaN if any of them is.

    One kernel, and it vectorises (a maximum took 4 % of a step); gradients beyond 1e19 count as infinite.
    """
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))


@torch.no_grad()
def clip_weights(module: nn.Module, bound: float) -> None:
    """Every parameter into [-bound, bound] (Arjovsky et al. 2017, arXiv 1701.07875, algorithm 1)."""
    parameters: list[torch.Tensor] = list(module.parameters())
    torch._foreach_clamp_min_(parameters, -bound)
    torch._foreach_clamp_max_(parameters, bound)


def follow_schedules(state: State, config: TrainConfig) -> None:
    """The schedules' values at the current clock: learning rates, beta 2, and the level of networks that grow."""
    for name, adam in (("G", config.G_optimizer), ("D", config.D_optimizer)):
        for group in state.optimizers[name].param_groups:
            group["lr"] = value_at(adam.lr, state.nimg, config.total_nimg) * state.lr_scale
            group["betas"] = (adam.betas[0], value_at(adam.betas[1], state.nimg, config.total_nimg))
    share = min(state.nimg / max(config.total_nimg, 1), 1.0)
    for net in (state.G, state.D, state.G_ema):
        net.advance(share)
