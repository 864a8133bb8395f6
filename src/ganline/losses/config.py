"""The sections `train.objective` and `train.augment`. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ganline.schedules import Schedule, Value, is_on

if TYPE_CHECKING:
    from ganline.losses.objective import Phase

AdversarialName = Literal["minimax", "non_saturating", "least_squares", "wasserstein", "hinge", "relativistic"]
WITHOUT_LEVEL = ("wasserstein", "relativistic")
"""Losses that do not tie D's logits to 0, the border of real and fake."""
Operation = Literal["flip", "translation", "colour", "cutout"]
OPERATIONS: tuple[Operation, ...] = ("flip", "translation", "colour", "cutout")


class ObjectiveConfig(BaseModel):
    """An adversarial loss with penalties, each eager (`…_every: 1`) or lazy. Gammas may be schedules of images seen."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    adversarial: AdversarialName = "non_saturating"
    """Which pair of losses (losses/adversarial.py)."""
    r1_gamma: Value = 0.0
    """Weight of |gradient|^2 / 2 of D on real images."""
    r2_gamma: Value = 0.0
    """The same on generated ones."""
    gp_weight: Value = 0.0
    """WGAN-GP's lambda."""
    penalty_every: int = Field(default=8, ge=1)
    """Steps between two penalties on D (R1, R2, GP)."""
    drift: float = Field(default=0.0, ge=0.0)
    """Weight of E[D(real)^2], which keeps a critic's logits near zero (Karras et al. 2018, appendix A.1)."""
    clip: float | None = Field(default=None, gt=0.0)
    """Bound on every weight of D (the first WGAN)."""
    path_length_weight: float = Field(default=0.0, ge=0.0)
    """Weight of StyleGAN2's path length penalty (2 in the paper)."""
    path_length_every: int = Field(default=4, ge=1)
    """Steps between two of them."""
    pair_weight: Value = 0.0
    """Weight of the mean absolute error to a teacher's images of the same noise (students only)."""
    n_critic: int = Field(default=1, ge=1)
    """Updates of D a step, each with a batch of its own."""

    @model_validator(mode="after")
    def weights_are_not_negative(self) -> ObjectiveConfig:
        for name in ("r1_gamma", "r2_gamma", "gp_weight", "pair_weight"):
            value: Value = getattr(self, name)
            least = min(value.start, value.end) if isinstance(value, Schedule) else value
            if least < 0:
                raise ValueError(f"{name} goes down to {least}; a penalty's weight is 0 or more")
        return self

    @model_validator(mode="after")
    def a_critic_is_bounded(self) -> ObjectiveConfig:
        if self.adversarial == "wasserstein" and self.clip is None and not is_on(self.gp_weight):
            raise ValueError("wasserstein needs a Lipschitz bound: set gp_weight (10) or clip (0.01)")
        return self

    def phases(self) -> tuple[Phase, ...]:
        """The phases of one step, in order."""
        from ganline.losses.objective import Phase, d_phase, g_phase

        D = Phase("D", "D", d_phase(self), repeat=self.n_critic, clip=self.clip)
        return D, Phase("G", "G", g_phase(self))

    def fresh_memory(self) -> dict[str, float]:
        """What the losses remember between steps, at its start."""
        return {"path_length": 0.0} if self.path_length_weight else {}


class AdaConfig(BaseModel):
    """p follows D: up while the signs of its logits of reals average above `target`, else down (ADA, section 3).

    For losses that anchor logits at 0 (non-saturating, hinge). Relativistic pairing leaves their level free, so their
    signs say nothing about overfitting: R3GAN uses a Schedule.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    start: float = Field(default=0.0, ge=0.0, le=1.0)
    """p at first."""
    target: float = Field(default=0.6, gt=-1.0, lt=1.0)
    """Share of signs above which p rises."""
    kimg: float = Field(default=500.0, gt=0.0)
    """Images, in thousands, in which p may move by 1."""
    every: int = Field(default=4, ge=1)
    """Steps between two moves."""
    p_max: float = Field(default=1.0, gt=0.0, le=1.0)
    """Most p."""

    @model_validator(mode="after")
    def starts_below_the_most(self) -> AdaConfig:
        if self.start > self.p_max:
            raise ValueError(f"start {self.start} is above p_max {self.p_max}; lower start or raise p_max")
        return self


class AugmentConfig(BaseModel):
    """The `train.augment` section: which operations, how often (`p`; 0 is off) and how strong.

    Colour, then flip, then translation, then cutout, whatever their order in `operations`. Colour is the three of
    DiffAugment under one coin: brightness + [-b, b], saturation and contrast * [1 - s, 1 + s].
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    operations: tuple[Operation, ...] = OPERATIONS
    """Which of them may happen."""
    p: Annotated[float, Field(ge=0.0, le=1.0)] | Schedule | AdaConfig = 0.0
    """Probability of each operation for each image; 0 is off."""
    translation: float = Field(default=0.125, ge=0.0, lt=1.0)
    """Largest shift, as a share of the image's side."""
    cutout: float = Field(default=0.5, gt=0.0, le=1.0)
    """Side of the hole, as a share of the image's."""
    brightness: float = Field(default=0.5, ge=0.0)
    """Largest brightness added, in units of pixels in [-1, 1]."""
    saturation: float = Field(default=1.0, ge=0.0, le=1.0)
    """Largest change of saturation, as a share."""
    contrast: float = Field(default=0.5, ge=0.0, le=1.0)
    """Largest change of contrast, as a share."""

    @model_validator(mode="after")
    def scheduled_p_is_a_probability(self) -> AugmentConfig:
        if isinstance(self.p, Schedule) and not (0.0 <= self.p.start <= 1.0 and 0.0 <= self.p.end <= 1.0):
            raise ValueError(f"p goes from {self.p.start} to {self.p.end}; start and end must be in [0, 1]")
        return self

    @property
    def is_on(self) -> bool:
        """False where nothing can happen: no operation, or p fixed at 0."""
        return bool(self.operations) and self.p != 0.0

    def planned_p(self, nimg: int, total_nimg: int) -> float:
        """p after `nimg` of `total_nimg` images; where D decides (see `adapt`), the p to start from."""
        if isinstance(self.p, AdaConfig):
            return self.p.start
        return self.p.at(nimg, total_nimg) if isinstance(self.p, Schedule) else self.p
