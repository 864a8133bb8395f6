"""The `train` section of params.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ganline.losses.config import WITHOUT_LEVEL, AdaConfig, AugmentConfig, ObjectiveConfig
from ganline.models import ModelConfig
from ganline.schedules import Value


class AdamConfig(BaseModel):
    """Adam (Kingma & Ba 2015); its learning rate, and beta 2 if it is a schedule, are functions of images seen."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    lr: Value
    """Learning rate."""
    betas: tuple[float, Value] = (0.5, 0.99)
    """Decay of the first and the second moment."""
    eps: float = Field(default=1e-8, gt=0.0)
    """Added to the root of the second moment."""


class EMAConfig(BaseModel):
    """G_ema: half-life as a share of the budget, and its ramp-up as a share of images seen."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    halflife_share: Value = 0.03
    """Images in which half of G_ema is forgotten, as a share of the budget."""
    rampup: float = Field(default=0.05, gt=0.0)
    """The half-life is at most this share of the images seen."""


class InitFrom(BaseModel):
    """Start from another model. `bundle` is its content hash, pinned by `ganline fetch`: part of the recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    model: str
    """models:/NAME@ALIAS, models:/NAME/VERSION or a bundle's folder."""
    bundle: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """Filled in by `ganline fetch`."""


class WatchConfig(BaseModel):
    """When to look, what is alarming, and what to do about it.

    The thresholds were fixed before the controls in docs/results.md were run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    every_share: float = Field(default=0.05, gt=0.0, le=1.0)
    """Share of the budget between two looks."""
    after_share: float = Field(default=0.25, ge=0.0, le=1.0)
    """No alarm before this share of the budget: every G begins collapsed."""
    patience: int = Field(default=2, ge=1)
    """Alarming looks in a row that make an alarm."""
    n: int = Field(default=500, ge=16)
    """Images a look."""
    entropy_min: float = Field(default=0.7, ge=0.0, le=1.0)
    """Least entropy of the class histogram, as a share of real images'."""
    spread_min: float = Field(default=0.3, ge=0.0, le=1.0)
    """Least total variance of the features, as a share of real images'."""
    within_min: float = Field(default=0.1, ge=0.0, le=1.0)
    """Least variance of the features within the classes that were asked for, as a share of real images'."""
    rise_max: float = Field(default=3.0, gt=1.0)
    """Largest distance, as a multiple of the best one so far."""
    skipped_max: float = Field(default=0.5, gt=0.0, le=1.0)
    """Largest share of updates between two log lines that were masked because they were not finite."""
    action: Literal["stop", "rollback"] = "rollback"
    """What an alarm does: end the run, or go back to the best state with a lower learning rate."""
    lr_factor: float = Field(default=0.5, gt=0.0, lt=1.0)
    """What a roll-back multiplies the learning rates by."""
    max_rollbacks: int = Field(default=2, ge=0)
    """Tries; the next alarm stops the run."""
    keep: Literal["last", "best"] = "last"
    """Which G_ema is the result: that of the last step, or the one of the least distance."""


class TrainConfig(BaseModel):
    """Everything that decides the weights, given the data and the machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    seed: int = Field(default=0, ge=0)
    """Decides initial weights, the order of images and every draw."""
    total_kimg: float = Field(gt=0.0)
    """The budget: real images that D is to see, in thousands. A D that learns five times a step sees five batches."""
    batch: int = Field(default=64, ge=2)
    """Images of one pass, over all ranks."""
    precision: Literal["auto", "fp32", "bf16", "fp16", "fp64"] = "auto"
    """Of passes: auto is bf16 where it is fast. fp16 is scaled, fp64 is for comparisons."""
    compile: bool = False
    """Compile the networks' passes that need no second derivative (see docs/operations.md)."""
    mirror: bool = False
    """Turn half of the training images left to right."""
    model: ModelConfig
    objective: ObjectiveConfig = ObjectiveConfig()
    augment: AugmentConfig = AugmentConfig()
    G_optimizer: AdamConfig
    D_optimizer: AdamConfig
    ema: EMAConfig = EMAConfig()
    init_from: InitFrom | None = None
    watch: WatchConfig = WatchConfig()
    tick_kimg: float = Field(default=2.0, gt=0.0)
    """Between two lines of the log."""
    sample_kimg: float = Field(default=20.0, gt=0.0)
    """Between two sheets of samples."""
    checkpoint_seconds: float = Field(default=20.0, ge=0.0)
    """Between two checkpoints, at least; fewer where saving would take more than 2 % of the time."""

    @property
    def total_nimg(self) -> int:
        """Real images that D is to see."""
        return round(self.total_kimg * 1000)

    @property
    def step_nimg(self) -> int:
        """Real images that D sees in one step."""
        return self.batch * self.objective.n_critic

    @model_validator(mode="after")
    def parts_fit_each_other(self) -> TrainConfig:
        if self.objective.path_length_weight:
            if self.model.name != "stylegan2":
                raise ValueError(
                    f"model is {self.model.name}, which has no styles: remove objective.path_length_weight, "
                    "or use stylegan2"
                )
            if self.batch % 2:
                raise ValueError(f"batch is {self.batch}; path length is taken of every second image: make it even")
        if isinstance(self.augment.p, AdaConfig) and self.objective.adversarial in WITHOUT_LEVEL:
            raise ValueError(
                f"augment.p adapts to the signs of D's logits, which mean nothing under {self.objective.adversarial}: "
                "give a number or a schedule"
            )
        return self
