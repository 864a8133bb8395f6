"""The `extractor`, `reference` and `evaluate` sections of params.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ExtractorConfig(BaseModel):
    """A frozen network trained on the real training split, whose features carry the Fréchet distance.

    `classifier` learns the data set's labels, `rotation` which of four right angles an image was turned by
    (Gidaris et al. 2018, arXiv 1803.07728): for images without labels. `auto` is classifier where there are labels.
    `channels` is one grey classifier for each colour channel apart: for Stacked-MNIST, whose labels are three digits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    task: Literal["classifier", "rotation", "channels", "auto"] = "classifier"
    width: int = Field(default=32, ge=4)
    feature_dim: int = Field(default=128, ge=8)
    epochs: float = Field(default=3.0, gt=0.0)
    batch: int = Field(default=128, ge=2)
    lr: float = Field(default=2e-3, gt=0.0)
    seed: int = Field(default=0, ge=0)
    min_accuracy: float = Field(ge=0.0, le=1.0)


class ReferenceConfig(BaseModel):
    """Real statistics: `n` images of the split, drawn in a fixed random order."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    split: Literal["test", "val"] = "test"
    n: int = Field(default=10_000, ge=16)


class InceptionConfig(BaseModel):
    """Weights of Inception-2015 as published with torch-fidelity; nothing is downloaded."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    weights: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class EvaluateConfig(BaseModel):
    """How the trained generator is measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    seeds: tuple[int, ...] = Field(default=(1, 2, 3), min_length=3)
    neighbours: int = Field(default=12, ge=1)
    modes_n: int | None = Field(default=None, ge=1)
    """How many images of each seed the modes are counted in; None leaves the count out. Papers take 26,000."""
    inception: InceptionConfig | None = None
