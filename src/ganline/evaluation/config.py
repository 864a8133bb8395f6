"""The `extractor`, `judge`, `reference`, `evaluate` and `usefulness` sections of params.yaml."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

NEIGHBOURS = 5
"""k of precision, recall, density and coverage, as in Naeem et al. 2020: a distance to the fifth needs six images."""
LEAST_IN_CELL = 20
"""Images that C_T needs of a cell."""


class ExtractorConfig(BaseModel):
    """A frozen network trained on the real training split, whose features figures are taken from.

    `classifier` learns the data set's labels, `rotation` which of four right angles an image was turned by
    (Gidaris et al. 2018, arXiv 1803.07728): for images without labels. `auto` is classifier where there are labels.
    `channels` is one grey classifier for each colour channel apart: for Stacked-MNIST, whose labels are three digits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    task: Literal["classifier", "rotation", "channels", "auto"] = "classifier"
    """What it learns."""
    width: int = Field(default=32, ge=4)
    """Channels of its first layer."""
    kernel: Literal[3, 5] = 3
    """Side of its convolutions."""
    feature_dim: int = Field(default=128, ge=8)
    """Length of the features."""
    epochs: float = Field(default=3.0, gt=0.0)
    """Passes over the training split."""
    batch: int = Field(default=128, ge=2)
    """Images a step."""
    lr: float = Field(default=2e-3, gt=0.0)
    """Largest learning rate."""
    seed: int = Field(default=0, ge=0)
    """Decides its initial weights and the order of images."""
    min_accuracy: float = Field(ge=0.0, le=1.0)
    """Least accuracy on the validation split: a blind network must not judge."""


class PretrainedConfig(BaseModel):
    """A network with published weights that lie on this machine; nothing is downloaded."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: Literal[
        "inception2015",
        "dinov2-vits14",
        "dinov2-vitb14",
        "dinov2-vitl14",
        "clip-vit-b-32",
        "clip-vit-b-16",
        "clip-vit-l-14",
        "clip-vit-l-14-336px",
    ]
    """Which network it is."""
    weights: str
    """Path of the file: a state dict of tensors, as published (.pth) or as .safetensors."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """Its checksum."""


class ReferenceConfig(BaseModel):
    """What generators are compared with: `n` images of the split, drawn in a fixed random order."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    split: Literal["test", "val"] = "test"
    """What generators are compared with. `val` is for tuning."""
    n: int = Field(default=10_000, ge=16)
    """Images on each side of a distance; all of the split if it holds fewer."""
    pretrained: tuple[PretrainedConfig, ...] = ()
    """Published networks that distances are told with as well."""

    @field_validator("pretrained")
    @classmethod
    def names_differ(cls, pretrained: tuple[PretrainedConfig, ...]) -> tuple[PretrainedConfig, ...]:
        names = [each.name for each in pretrained]
        if len(set(names)) < len(names):
            raise ValueError("a network stands there twice: figures are told by its name")
        return pretrained


class EvaluateConfig(BaseModel):
    """How the trained generator is measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    seeds: tuple[int, ...] = Field(default=tuple(range(1001, 1011)), min_length=10)
    """Seeds of the latents, at least ten; figures are mean and 95 % interval over them."""
    n: int | None = Field(default=None, ge=16)
    """Images of each seed; null: as many as the reference. A slow generator may take fewer: the names say so."""
    memorisation_n: int = Field(default=2000, ge=2)
    """Images of each seed that are compared with every training image."""
    neighbours: int = Field(default=12, ge=1)
    """Samples that are shown beside the nearest training images."""
    modes_n: int | None = Field(default=None, ge=1)
    """How many images of each seed the modes are counted in; null leaves the count out. Papers take 26,000."""

    @field_validator("seeds")
    @classmethod
    def seeds_differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("seeds holds a seed twice: its images would count twice")
        return seeds


class UsefulnessConfig(BaseModel):
    """How the worth of generated images as training data is measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    seeds: tuple[int, ...] = Field(default=(1, 2, 3), min_length=3)
    """Seeds of the classifiers: initial weights, which real images a share holds, order. Intervals are over them."""
    shares: tuple[float, ...] = (0.01, 0.1, 1.0)
    """Shares of the real training split that generated images are added to."""
    width: int = Field(default=16, ge=4)
    """Channels of the classifier's first layer."""
    steps: int = Field(default=400, ge=10)
    """Steps of each training, whatever it is trained on."""
    batch: int = Field(default=128, ge=4, multiple_of=2)
    """Images a step."""
    lr: float = Field(default=1e-2, gt=0.0)
    """Largest learning rate."""
    num_generated: int | None = Field(default=None, ge=64)
    """Generated images, shared by all seeds; null: as many as a classifier sees (steps x batch), so none twice."""

    @model_validator(mode="after")
    def shares_and_seeds_are_sound(self) -> UsefulnessConfig:
        if not all(0.0 < share <= 1.0 for share in self.shares):
            raise ValueError(f"shares are {list(self.shares)}: each must be above 0 and at most 1")
        if any(b <= a for a, b in pairwise(self.shares)):
            raise ValueError(f"shares are {list(self.shares)}: each must be larger than the one before")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds are {list(self.seeds)}: each may stand once")
        return self
