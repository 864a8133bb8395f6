"""The `train` section of params.yaml."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from ganline.devices import Precision
from ganline.losses.objective import ObjectiveConfig
from ganline.models import ModelConfig
from ganline.training.schedules import Schedule


class AdamConfig(BaseModel):
    """Adam (Kingma & Ba 2015) with a learning rate that is a function of images seen."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    lr: Schedule
    betas: tuple[float, float] = (0.5, 0.99)
    eps: float = Field(default=1e-8, gt=0.0)


class EMAConfig(BaseModel):
    """G_ema: half-life as a share of the budget, and its ramp-up as a share of images seen."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    halflife_share: float = Field(default=0.03, gt=0.0, le=1.0)
    rampup: float = Field(default=0.05, gt=0.0)


class InitFrom(BaseModel):
    """Start from another model. `bundle` is its content hash, pinned by `ganline fetch`: part of the recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    model: str
    bundle: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")


class TrainConfig(BaseModel):
    """Everything that decides the weights, given the data and the machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    seed: int = Field(default=0, ge=0)
    total_kimg: float = Field(gt=0.0)
    batch: int = Field(default=64, ge=2)
    precision: Precision = "auto"
    mirror: bool = False
    model: ModelConfig
    objective: ObjectiveConfig = ObjectiveConfig()
    G_optimizer: AdamConfig
    D_optimizer: AdamConfig
    ema: EMAConfig = EMAConfig()
    init_from: InitFrom | None = None
    tick_kimg: float = Field(default=2.0, gt=0.0)
    sample_kimg: float = Field(default=20.0, gt=0.0)
    checkpoint_seconds: float = Field(default=20.0, ge=0.0)

    @property
    def total_nimg(self) -> int:
        return round(self.total_kimg * 1000)
