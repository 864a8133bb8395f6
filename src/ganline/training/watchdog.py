"""The watchdog: looks at G_ema now and then, remembers the best, and raises an alarm at collapse or divergence.

What it looks at comes from a probe (measures of fixed latents' images; see evaluation/probe.py). Every
decision is a function of the state, so a run that is killed and resumed meets the same alarms and takes the same turns.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ganline import ranks
from ganline.errors import TrainingError
from ganline.models.spec import Generator
from ganline.training.config import WatchConfig
from ganline.training.state import State, clocks, load_state, set_clocks, share_state, write_state

log = logging.getLogger(__name__)

BEST = "best"
Measures = dict[str, float]
Probe = Callable[[Generator], Measures]


def reasons(measures: Measures, best: Measures | None, config: WatchConfig) -> list[str]:
    """What is alarming about a look, in words; empty where nothing is."""
    found = []
    if measures.get("entropy", 1.0) < config.entropy_min:
        found.append(
            f"collapse: the class histogram of {config.n} images has {measures['entropy']:.2f} of real images' entropy "
            f"(at least {config.entropy_min} is expected)"
        )
    if measures["spread"] < config.spread_min:
        found.append(
            f"collapse: features vary by {measures['spread']:.2f} of real images' variance "
            f"(at least {config.spread_min} is expected)"
        )
    if measures.get("within", 1.0) < config.within_min:
        found.append(
            f"collapse within classes: features of one class vary by {measures['within']:.2f} of real images' variance "
            f"(at least {config.within_min} is expected)"
        )
    if best is not None and measures["fd"] > config.rise_max * best["fd"]:
        found.append(
            f"divergence: the distance rose to {measures['fd']:.2f}, {measures['fd'] / best['fd']:.1f} times the best "
            f"(at most {config.rise_max} is expected)"
        )
    return found


def is_due(nimg: int, advanced: int, *, total_nimg: int, config: WatchConfig) -> bool:
    """Whether a multiple of `every_share` was passed by the last `advanced` images."""
    every = config.every_share * total_nimg
    return int(nimg / every) > int((nimg - advanced) / every)


class Watchdog:
    """Looks, alarms and turns of one run. Its memory is `state.extra`; its best checkpoint lies in `work/best`.

    The probe is the first rank's alone; without one there are no looks.
    """

    def __init__(self, config: WatchConfig, probe: Probe | None, *, work: Path, recipe: str, machine: dict[str, Any]):
        self.config, self.probe = config, probe
        self.folder, self.recipe, self.machine = work / BEST, recipe, machine

    def look(self, state: State, means: Measures, *, total_nimg: int) -> bool:
        """Measure G_ema on the first rank, tell it in `means` as `watch_…`, keep the state if it is the best.

        Returns whether it rolled the state back.
        """
        measures = ranks.from_first(self.probe(state.G_ema) if self.probe else None)
        if measures is None:
            return False
        means |= {f"watch_{name}": value for name, value in measures.items()}
        best = state.extra.get("best")
        late = state.nimg > self.config.after_share * total_nimg
        found = reasons(measures, best, self.config) if late else []
        state.extra["strikes"] = state.extra.get("strikes", 0) + 1 if found else 0
        if found:
            log.warning("at %.1f kimg: %s", state.nimg / 1000, "; ".join(found))
        elif best is None or measures["fd"] < best["fd"]:
            state.extra["best"] = measures | {"nimg": state.nimg}
            if ranks.is_first():
                write_state(self.folder, state, recipe=self.recipe, machine=self.machine)
        return state.extra["strikes"] >= self.config.patience and self.alarm(state, found, means)

    def check_updates(self, state: State, skipped: Measures, means: Measures) -> bool:
        """Alarm where masked updates (their share, by phase) are no longer the exception. True if it rolled back."""
        found = [
            f"diverged: {share:.0%} of {name}'s last updates were not finite (at most {self.config.skipped_max:.0%})"
            for name, share in skipped.items()
            if share > self.config.skipped_max
        ]
        return bool(found) and self.alarm(state, found, means)

    def take_best(self, state: State) -> None:
        """Make the networks those of the best look, if that is what is to be kept; the clocks stay."""
        if self.config.keep == "best" and state.extra.get("best"):
            now = clocks(state)
            self.load_best(state)
            set_clocks(state, now)

    def load_best(self, state: State) -> dict[str, Any]:
        """Load the best state; its meta data. Raises TrainingError if it is damaged."""
        meta = load_state(self.folder, state, recipe=self.recipe)
        if meta is None:
            raise TrainingError(
                f"the best state in {self.folder} is damaged",
                expected="files whose sha256 is that of state.json",
                remedy=f"remove {self.folder.parent} to train from the start, or set train.watch.keep: last",
            )
        return meta

    def alarm(self, state: State, found: list[str], means: Measures) -> bool:
        """Say what was seen, then roll back to the best state (True) or raise TrainingError to stop."""
        seen = {name: round(value, 4) for name, value in means.items() if name.startswith(("accuracy", "grad_norm"))}
        log.warning("alarm at %.1f kimg: %s; D and gradients: %s", state.nimg / 1000, "; ".join(found), seen)
        best, tries = state.extra.get("best"), state.extra.get("rollbacks", 0)
        if self.config.action == "stop" or tries >= self.config.max_rollbacks or best is None:
            kept = f"; the best state, of {best['nimg'] / 1000:.1f} kimg, is in {self.folder}" if best else ""
            raise TrainingError(
                f"stopped at {state.nimg / 1000:.1f} kimg: {'; '.join(found)}",
                expected="a generator that keeps its variety and its distance",
                remedy="lower the learning rates (train.G_optimizer.lr, train.D_optimizer.lr), raise the penalty "
                f"(train.objective), or set train.precision: fp32{kept}",
            )
        alarms = [*state.extra.get("alarms", []), {"nimg": state.nimg, "found": found, "seen": seen}]
        lr_scale, skipped, exact = state.lr_scale * self.config.lr_factor, state.skipped, state.exact
        if ranks.is_first():
            meta = self.load_best(state)
            state.lr_scale, state.skipped = lr_scale, skipped
            state.exact = exact and meta["exact"] and meta["machine"] == self.machine
            state.extra |= {"alarms": alarms, "rollbacks": tries + 1, "strikes": 0}
        share_state(state)
        log.warning("rolled back to %.1f kimg; learning rates are now times %g", state.nimg / 1000, state.lr_scale)
        return True
