"""One step of training: the objective's phases in order, each an exact function of the state and the step's number."""

from __future__ import annotations

import torch
from torch import nn

from ganline.data.loader import Batches
from ganline.devices import Compute
from ganline.losses.objective import Batch, Phase
from ganline.models.spec import DiscriminatorCall, GeneratorCall
from ganline.seeds import derive, generator
from ganline.training.config import TrainConfig
from ganline.training.ema import update_ema
from ganline.training.schedules import ema_decay
from ganline.training.state import State

Stats = dict[str, torch.Tensor]


def run_step(
    state: State, *, config: TrainConfig, phases: tuple[Phase, ...], batches: Batches, compute: Compute
) -> Stats:
    """Run every phase, move G_ema, advance the clocks. Returns statistics as device scalars."""
    stats: Stats = {}
    # Dropout has no generator argument: re-deriving the global seed here keeps it a function of the step.
    torch.manual_seed(derive(config.seed, "dropout", state.step))
    set_learning_rates(state, config)
    batch: Batch | None = None
    for phase in phases:
        for _ in range(phase.repeat):
            # G's phase goes on with the batch that D saw last: its fakes are painted already.
            if batch is None or phase.trains == "D":
                batch = draw(state, config=config, batches=batches, compute=compute)
            for name, value in run_phase(phase, batch, state=state, compute=compute).items():
                stats[name] = stats[name] + value if name.startswith("skipped_") and name in stats else value
    state.step += 1
    state.nimg += config.batch
    decay = ema_decay(
        state.nimg,
        batch=config.batch,
        halflife_nimg=config.ema.halflife_share * config.total_nimg,
        rampup=config.ema.rampup,
    )
    update_ema(state.G_ema, state.G, decay)
    return stats


def draw(state: State, *, config: TrainConfig, batches: Batches, compute: Compute) -> Batch:
    """The next batch of real images, and latents for as many fakes."""
    real, label = batches.get(state.draws)
    z_dim: int = state.G.z_dim  # type: ignore[assignment]
    z = torch.randn(config.batch, z_dim, generator=generator(config.seed, "z", state.draws))
    state.draws += 1
    known = label if config.model.class_conditional else None
    return Batch(state.step, real, known, z.to(compute.device, non_blocking=True))


def run_phase(phase: Phase, batch: Batch, *, state: State, compute: Compute) -> Stats:
    """Loss, gradients and one optimizer step of one network. A non-finite update is masked on the device."""
    trained = state.networks[phase.trains]
    # G's parameters always want gradients: its one pass serves both phases. D's rest while G learns.
    state.D.requires_grad_(phase.trains == "D")
    G: GeneratorCall = state.G  # type: ignore[assignment]
    D: DiscriminatorCall = state.D  # type: ignore[assignment]
    with compute.precision():
        loss, stats = phase.loss(G, D, batch)
    optimizer = state.optimizers[phase.trains]
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    bad = non_finite(trained)
    # The protocol of torch.amp.GradScaler: fused optimizers leave weights and moments alone where this is 1.
    optimizer.grad_scale, optimizer.found_inf = None, bad  # type: ignore[attr-defined]
    optimizer.step()
    return {name: value.detach() for name, value in stats.items()} | {f"skipped_{phase.name}": bad}


def non_finite(module: nn.Module) -> torch.Tensor:
    """1.0 if any gradient of the network is infinite or NaN, else 0.0: a float scalar on the device."""
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    # The 2-norm vectorises (the maximum norm took 4 % of a step); gradients beyond 1e19 count as infinite.
    norms = torch.stack(torch._foreach_norm(gradients))
    return (~torch.isfinite(norms).all()).float()


def set_learning_rates(state: State, config: TrainConfig) -> None:
    """The schedules' values at the current clock."""
    for name, adam in (("G", config.G_optimizer), ("D", config.D_optimizer)):
        for group in state.optimizers[name].param_groups:
            group["lr"] = adam.lr.at(state.nimg, config.total_nimg)
