"""Sections of params.yaml that the data room owns: data, manifest, validate, prepare."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ganline.data.sources import SourceConfig


class DataConfig(BaseModel):
    """Which data set, and where else than at its official addresses it may be found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: SourceConfig
    mirrors: tuple[str, ...] = ()
    """Folders or http(s) URLs tried before the official addresses; those in GANLINE_MIRROR come after these."""


class ManifestConfig(BaseModel):
    """How images are shared out among train, val and test where the source does not say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    validation_share: float = Field(default=0.05, ge=0, lt=1)
    """Share of the training images held out for tuning, by content hash."""
    test_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of all images held out for testing where the source has no test split of its own, by content hash."""


class ValidateConfig(BaseModel):
    """Which expectations the data must meet, and what may be set aside."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    suite: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """Name of a file in the folder of suites, without .json; `common` is always judged too."""
    quarantine: float = Field(default=0.0, ge=0, le=1)
    """Share of all rows that may be set aside for failing an expectation about single rows."""
    drift_threshold: float = Field(default=0.2, gt=0)
    """Largest population stability index against the previous data version (0.1 to 0.25 is a moderate shift)."""


class PrepareConfig(BaseModel):
    """The form in which images are trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    resolution: int = Field(ge=8, le=2048)
    """Side in pixels; images of another size are cropped and resized."""
    channels: Literal[1, 3]
    """1 is grey, 3 is RGB."""
