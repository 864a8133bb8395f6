"""The trainer: resume, run steps until the budget of images is spent, tell, save. One loop for every family."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ganline import ranks
from ganline.data.loader import Batches, Pairs, Split
from ganline.devices import Compute, device_memory_mb
from ganline.errors import TrainingError
from ganline.images import grid, save_png
from ganline.models import Conditioning, ImageSpec
from ganline.models.sampling import label_histogram, sample
from ganline.models.spec import Words
from ganline.training.config import TrainConfig
from ganline.training.ema import recalibrate
from ganline.training.state import State, make_state, resume, save_checkpoint, share_state
from ganline.training.step import Stats, run_step
from ganline.training.tracker import Tracker
from ganline.training.watchdog import Probe, Watchdog, is_due

log = logging.getLogger(__name__)

SAMPLE_COUNT = 64
LEAST_STEPS = 8
SAVE_SHARE = 0.02


@dataclass(frozen=True)
class Run:
    """Names of one training: where its state lives, what may resume it, and what promises it the same bits."""

    work: Path
    recipe: str
    machine: dict[str, Any]

    @property
    def checkpoints(self) -> Path:
        return self.work / "checkpoints"


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
    probe: Probe | None = None,
    pairs: Pairs | None = None,
    words: Words | None = None,
) -> State:
    """Train to the end of the budget, from the newest checkpoint in `run.work` if there is one.

    Stopped anywhere and called again, it ends in the same bits as if never stopped, on the same machine. Under
    torchrun every rank calls it; the first reads and writes the files. `initial` maps network names (G, D) to tensors
    to start from; `probe` is what the watchdog looks through; `pairs` are what a student regresses to; `words` tell
    a G of prompts. Raises TrainingError at an alarm that stops.
    """
    # Refuse an uneven share before anything is built; path length is taken of every second image.
    ranks.rows(config.batch // 2 if config.objective.path_length_weight else config.batch)
    state = make_state(config, image, conditioning, compute)
    tracker = Tracker(run.work) if ranks.is_first() else None
    if tracker:
        run.work.mkdir(parents=True, exist_ok=True)
        begin(state, config, run=run, tracker=tracker, initial=initial or {})
    share_state(state)
    if config.compile:
        compile_networks(state, compute)
    batches = Batches(
        split,
        batch=config.batch,
        seed=config.seed,
        mirror=config.mirror,
        device=compute.device,
        words=words.of_rows if words else None,
    )
    state.G_ema.tell = words.of_labels if words else None
    watchdog = Watchdog(config.watch, probe, work=run.work, recipe=run.recipe, machine=run.machine)
    classes = conditioning.num_classes
    trainer = Trainer(state, config, run, compute, batches, watchdog, tracker, classes, pairs)
    trainer.run_to_end()
    if ranks.is_first():
        watchdog.take_best(state)
        with ranks.alone():
            weights = label_histogram(split.labels, classes) if classes else None
            recalibrate(state.G_ema, seed=config.seed, label_weights=weights, compute=compute)
    return state


def compile_networks(state: State, compute: Compute) -> None:
    """Let torch.compile make passes faster where it can. `forward` itself stays eager, for second derivatives."""
    if not compute.can_compile():
        log.warning("train.compile: there is no compiler here (C++ or Triton); the networks run uncompiled")
        return
    for net in (state.G, state.D):
        if net.grows:
            log.info("train.compile: networks that grow run uncompiled")
        else:
            net.compile()


def begin(state: State, config: TrainConfig, *, run: Run, tracker: Tracker, initial: Initial) -> None:
    """Load the newest checkpoint, or start afresh; the logs are cut to fit."""
    if resume(run.checkpoints, state, recipe=run.recipe, machine=run.machine) is None:
        start_from(state, initial)
        tracker.rewind(-1)
        log.info("training starts: %.0f kimg, recipe %s", config.total_kimg, run.recipe[:12])
    else:
        tracker.rewind(state.step)
        exact = "exact" if state.exact else "NOT exact: it was saved on another machine, the bits will differ"
        log.info("training resumes at %.1f of %.0f kimg (%s)", state.nimg / 1000, config.total_kimg, exact)


@dataclass
class Trainer:
    """What one training holds together. `tracker` is None on all ranks but the first, which alone writes."""

    state: State
    config: TrainConfig
    run: Run
    compute: Compute
    batches: Batches
    watchdog: Watchdog
    tracker: Tracker | None
    num_classes: int
    pairs: Pairs | None = None
    started_at: float = field(default_factory=time.monotonic)
    saved_at: float = field(default_factory=time.monotonic)
    told_at: float = field(default_factory=time.monotonic)
    spent: dict[str, float] = field(default_factory=lambda: {"saving": 0.0, "the watchdog's looks": 0.0})
    last_save_seconds: float = 0.0

    @property
    def total_steps(self) -> int:
        return math.ceil(self.config.total_nimg / self.config.step_nimg)

    def run_to_end(self) -> None:
        """Ticks of `tick_kimg`: only at their ends does the host look at the device, log and save."""
        while self.state.step < self.total_steps:
            started, first = time.monotonic(), self.state.step
            means, skipped = self.tick()
            advanced = (self.state.step - first) * self.config.step_nimg
            rate = advanced / (time.monotonic() - started)
            if self.watch(means, skipped, advanced=advanced):
                self.go_back()
            elif self.tracker:
                self.tell(self.tracker, means, rate, advanced=advanced)

    def tick(self) -> tuple[dict[str, float], dict[str, float]]:
        """Steps up to the end of a tick: (mean statistics, share of masked updates by phase), over all ranks.

        A share of a last tick so short that one update would weigh much is left out.
        """
        every = max(1, round(self.config.tick_kimg * 1000 / self.config.step_nimg))
        step, phases = self.state.step, self.config.objective.phases()
        sums: Stats = {}
        counts: dict[str, int] = {}
        for _ in range(min(every - step % every, self.total_steps - step)):
            stats = run_step(
                self.state,
                config=self.config,
                phases=phases,
                batches=self.batches,
                compute=self.compute,
                pairs=self.pairs,
            )
            for name, value in stats.items():
                sums[name] = sums[name] + value if name in sums else value.clone()
                counts[name] = counts.get(name, 0) + 1
        totals = ranks.average(torch.stack([value.double() for value in sums.values()])).tolist()
        means = {name: total / counts[name] for name, total in zip(sums, totals, strict=True)}
        skipped = {}
        for phase in phases:
            steps, masked = counts[f"skipped_{phase.name}"], means.pop(f"skipped_{phase.name}")
            self.state.skipped += round(masked * steps)
            if steps >= min(every, LEAST_STEPS):
                skipped[phase.name] = masked / phase.repeat
        # A tick with a masked update may average to NaN, which JSON cannot hold.
        return {name: value for name, value in means.items() if math.isfinite(value)}, skipped

    def watch(self, means: dict[str, float], skipped: dict[str, float], *, advanced: int) -> bool:
        """Let the watchdog judge the updates and, where a look is due, G_ema. True if it rolled the state back."""
        if self.watchdog.check_updates(self.state, skipped, means):
            return True
        total_nimg, config = self.config.total_nimg, self.config.watch
        if not is_due(self.state.nimg, advanced, total_nimg=total_nimg, config=config):
            return False
        began = time.monotonic()
        back = self.watchdog.look(self.state, means, total_nimg=total_nimg)
        self.spent["the watchdog's looks"] += time.monotonic() - began
        return back

    def go_back(self) -> None:
        """Make the rolled-back state the newest there is. Saved first: killed between, the logs are cut on resuming."""
        if self.tracker:
            self.save()
            self.tracker.rewind(self.state.step)

    def tell(self, tracker: Tracker, means: dict[str, float], rate: float, *, advanced: int) -> None:
        """Log, and where it is due draw samples and save."""
        state, config, last = self.state, self.config, self.state.step == self.total_steps
        tracker.history({"step": state.step, "nimg": state.nimg, **means})
        memory = device_memory_mb(self.compute)
        tracker.system(step=state.step, nimg=state.nimg, images_per_second=rate, device_memory_mb=memory)
        if last or sample_is_due(state.nimg, advanced, config):
            path = self.run.work / "samples" / f"{state.nimg:010d}.png"
            save_samples(path, state, config, self.compute, self.num_classes)
        now = time.monotonic()
        # Slow disks and large networks: saving takes less than 2 % of the time, or comes less often.
        wait = max(config.checkpoint_seconds, self.last_save_seconds / SAVE_SHARE if config.checkpoint_seconds else 0.0)
        if last or now - self.saved_at >= wait:
            self.save()
        if last or now - self.told_at >= 5.0:
            self.told_at = now
            log.info("%s", progress(state.nimg, config.total_nimg, rate, means))
        if last:
            whole = time.monotonic() - self.started_at
            shares = ", ".join(f"{name} {seconds / whole:.1%}" for name, seconds in self.spent.items())
            log.info("of %s, %s", clock(whole), shares)

    def save(self) -> None:
        began = time.monotonic()
        save_checkpoint(self.run.checkpoints, self.state, recipe=self.run.recipe, machine=self.run.machine)
        self.saved_at = time.monotonic()
        self.last_save_seconds = self.saved_at - began
        self.spent["saving"] += self.last_save_seconds


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


def sample_is_due(nimg: int, advanced: int, config: TrainConfig) -> bool:
    """Whether the last `advanced` images passed a multiple of `sample_kimg`, or before the first one a power of two."""
    every = config.sample_kimg * 1000
    early = nimg < every and nimg.bit_length() > (nimg - advanced).bit_length()
    return early or math.floor(nimg / every) > math.floor((nimg - advanced) / every)


def save_samples(path: Path, state: State, config: TrainConfig, compute: Compute, num_classes: int) -> None:
    """G_ema's images of fixed latents: the same z and labels all along the run."""
    pictures = sample(state.G_ema, n=SAMPLE_COUNT, seed=config.seed, num_classes=num_classes, compute=compute)
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
