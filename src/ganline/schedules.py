"""Everything that varies during training is a function of images seen (nimg)."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Schedule(BaseModel):
    """A value that goes from `start` to `end`: over the whole budget, or from `after` (a share of it) on."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    start: float
    """The value at first."""
    end: float
    """The value at the end of the budget."""
    shape: Literal["cosine", "linear"] = "cosine"
    """Slow at both ends, or a straight line."""
    after: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the budget before the value begins to move."""

    def at(self, nimg: int, total_nimg: int) -> float:
        """The value after `nimg` of `total_nimg` images."""
        progress = min(max((nimg / total_nimg - self.after) / (1 - self.after), 0.0), 1.0)
        weight = 0.5 - 0.5 * math.cos(math.pi * progress) if self.shape == "cosine" else progress
        return self.start + (self.end - self.start) * weight


Value = float | Schedule


def value_at(value: Value, nimg: int, total_nimg: int) -> float:
    """A number that may be a schedule, after `nimg` of `total_nimg` images."""
    return value.at(nimg, total_nimg) if isinstance(value, Schedule) else value


def is_on(value: Value) -> bool:
    """Whether a weight is ever other than 0."""
    return any((value.start, value.end)) if isinstance(value, Schedule) else value != 0.0


def ema_decay(nimg: int, *, batch: int, halflife_nimg: float, rampup: float) -> float:
    """Decay of G_ema for one step of `batch` images (Karras et al. 2020, stylegan2-ada-pytorch training loop).

    The half-life is at most `rampup` times the images seen, so that the early average forgets its start.
    """
    halflife = min(halflife_nimg, max(nimg, batch) * rampup)
    return 0.5 ** (batch / max(halflife, 1e-8))
