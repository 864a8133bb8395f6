"""The trainer: resume, run steps until the budget of images is spent, tell, save. One loop for every family."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ganline.data.loader import Batches, Split
from ganline.devices import Compute, device_memory_mb
from ganline.errors import TrainingError
from ganline.images import grid, save_png
from ganline.models import Conditioning, ImageSpec
from ganline.models.sampling import sample
from ganline.training.config import TrainConfig
from ganline.training.ema import recalibrate
from ganline.training.state import State, make_state, resume, save_checkpoint
from ganline.training.step import Stats, run_step
from ganline.training.tracker import Tracker

log = logging.getLogger(__name__)

MAX_SKIPPED_SHARE = 0.5
SAMPLE_COUNT = 64


@dataclass(frozen=True)
class Run:
    """Names of one training: where its state lives, what may resume it, and what promises it the same bits."""

    work: Path
    recipe: str
    machine: dict[str, Any]


Initial = Mapping[str, dict[str, torch.Tensor]]


def train(
    config: TrainConfig,
    split: Split,
    *,
    image: ImageSpec,
    conditioning: Conditioning,
    run: Run,
    compute: Compute,
    initial: Initial | None = None,
) -> State:
    """Train to the end of the budget, from the newest checkpoint in `run.work` if there is one.

    Stopped anywhere and called again, it ends in the same bits as if never stopped, on the same machine.
    `initial` maps network names (G, D) to tensors to start from. Raises TrainingError if updates stay non-finite.
    """
    run.work.mkdir(parents=True, exist_ok=True)
    state = make_state(config, image, conditioning, compute)
    tracker = Tracker(run.work)
    checkpoint = resume(run.work / "checkpoints", state, recipe=run.recipe, machine=run.machine)
    if checkpoint is None:
        start_from(state, initial or {})
        tracker.rewind(-1)
        log.info("training starts: %.0f kimg, recipe %s", config.total_kimg, run.recipe[:12])
    else:
        tracker.rewind(state.step)
        exact = "exact" if state.exact else "NOT exact: it was saved on another machine, the bits will differ"
        log.info("training resumes at %.1f of %.0f kimg (%s)", state.nimg / 1000, config.total_kimg, exact)
    batches = Batches(split, batch=config.batch, seed=config.seed, mirror=config.mirror, device=compute.device)
    classes = conditioning.num_classes
    run_to_end(state, config=config, batches=batches, run=run, compute=compute, tracker=tracker, num_classes=classes)
    G_ema: Any = state.G_ema
    recalibrate(G_ema, seed=config.seed, num_classes=classes, compute=compute)
    return state


def run_to_end(
    state: State,
    *,
    config: TrainConfig,
    batches: Batches,
    run: Run,
    compute: Compute,
    tracker: Tracker,
    num_classes: int,
) -> None:
    """Ticks of `tick_kimg`: only at their ends does the host look at the device, log and save."""
    phases = config.objective.phases()
    steps_per_tick = max(1, round(config.tick_kimg * 1000 / config.batch))
    total_steps = math.ceil(config.total_nimg / config.batch)
    saved_at = progress_at = time.monotonic()
    while state.step < total_steps:
        ticked_at, first = time.monotonic(), state.step
        sums: Stats = {}
        counts: dict[str, int] = {}
        for _ in range(min(steps_per_tick - state.step % steps_per_tick, total_steps - state.step)):
            for name, value in run_step(state, config=config, phases=phases, batches=batches, compute=compute).items():
                sums[name] = sums[name] + value if name in sums else value.clone()
                counts[name] = counts.get(name, 0) + 1
        means = dict(zip(sums, torch.stack([v.float() for v in sums.values()]).tolist(), strict=True))
        means = {name: total / counts[name] for name, total in means.items()}
        judge(state, means, counts)
        rate = (state.step - first) * config.batch / (time.monotonic() - ticked_at)
        tracker.history({"step": state.step, "nimg": state.nimg, **finite(means)})
        tracker.system(
            step=state.step, nimg=state.nimg, images_per_second=rate, device_memory_mb=device_memory_mb(compute)
        )
        last = state.step == total_steps
        if sample_is_due(state.nimg, (state.step - first) * config.batch, config) or last:
            save_samples(run.work / "samples" / f"{state.nimg:010d}.png", state, config, compute, num_classes)
        now = time.monotonic()
        if last or now - saved_at >= config.checkpoint_seconds:
            save_checkpoint(run.work / "checkpoints", state, recipe=run.recipe, machine=run.machine)
            saved_at = time.monotonic()
        if last or now - progress_at >= 5.0:
            progress_at = now
            log.info("%s", progress(state.nimg, config.total_nimg, rate, means))


def start_from(state: State, initial: Initial) -> None:
    """Copy every tensor whose name and shape fit (another label set or width leaves some fresh), and say which not."""
    for name, tensors in initial.items():
        for net in (state.G, state.G_ema) if name == "G" else (state.D,):
            own = net.state_dict()
            fitting = {k: v for k, v in tensors.items() if k in own and own[k].shape == v.shape}
            if not fitting:
                raise TrainingError(f"train.init_from: no tensor of its {name} fits this model")
            net.load_state_dict(own | fitting)
        fresh = sorted(set(own) - set(fitting))
        log.info(
            "%s starts from the given model: %d tensors; fresh: %s", name, len(fitting), ", ".join(fresh) or "none"
        )


def judge(state: State, means: dict[str, float], counts: dict[str, int]) -> None:
    """Count masked updates; raise TrainingError where they are no longer the exception."""
    for name in [name for name in means if name.startswith("skipped_")]:
        share = means.pop(name)
        state.skipped += round(share * counts[name])
        if share > MAX_SKIPPED_SHARE:
            raise TrainingError(
                f"diverged at {state.nimg / 1000:.1f} kimg: {share:.0%} of {name[8:]}'s last updates were not finite",
                expected="finite gradients",
                remedy="lower the learning rates, raise the penalty, or set train.precision: fp32",
            )


def finite(means: dict[str, float]) -> dict[str, float]:
    """Statistics that JSON can hold: a tick with a masked update may average to NaN, and is then left out."""
    return {name: value for name, value in means.items() if math.isfinite(value)}


def sample_is_due(nimg: int, advanced: int, config: TrainConfig) -> bool:
    """Whether a multiple of `sample_kimg` was passed by the last `advanced` images."""
    every = config.sample_kimg * 1000
    return math.floor(nimg / every) > math.floor((nimg - advanced) / every)


def save_samples(path: Path, state: State, config: TrainConfig, compute: Compute, num_classes: int) -> None:
    """G_ema's images of fixed latents: the same z and labels all along the run."""
    G_ema: Any = state.G_ema
    pictures = sample(G_ema, n=SAMPLE_COUNT, seed=config.seed, num_classes=num_classes, compute=compute)
    save_png(path, grid(torch.cat([images for images, _ in pictures]).cpu().numpy()))


def progress(nimg: int, total_nimg: int, rate: float, means: dict[str, float]) -> str:
    """One line: share, clock, rate, time left, losses."""
    left = (total_nimg - nimg) / max(rate, 1e-9)
    losses = "  ".join(f"{name} {value:.3f}" for name, value in means.items() if name.startswith(("loss", "r1", "r2")))
    share = nimg / total_nimg
    return (
        f"{share:4.0%}  {nimg / 1000:.0f}/{total_nimg / 1000:.0f} kimg  {rate:.0f} img/s  {clock(left)} left  {losses}"
    )


def clock(seconds: float) -> str:
    """90 -> '1m 30s'."""
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    return f"{minutes}m {rest:02d}s"
