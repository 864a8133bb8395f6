"""The sections `tokenizer` and `teacher`, and the widths of `llm`. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ganline.models.config import MOST_CODES, VQConfig
from ganline.training.config import TrainConfig


class LlamaSize(BaseModel):
    """Widths of the network; vocabulary and length follow from the tokenizer."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    width: int = Field(default=128, ge=8)
    """Length of each position's vector."""
    layers: int = Field(default=4, ge=1)
    """Blocks of attention and feed-forward."""
    heads: int = Field(default=4, ge=1)
    """Attention heads; width / heads must be even."""
    hidden: int | None = Field(default=None, ge=8)
    """Width of the gated feed-forward layers; null: 8/3 of `width`, rounded up to 32."""

    @model_validator(mode="after")
    def heads_divide_the_width(self) -> LlamaSize:
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ValueError(f"width {self.width} does not divide into {self.heads} heads of even length")
        return self

    @property
    def ffn(self) -> int:
        return self.hidden or -(-8 * self.width // 3 // 32) * 32


class DrawingConfig(BaseModel):
    """How tokens are drawn from the language model's distributions."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    temperature: float = Field(default=1.0, gt=0.0)
    """Divides the logits: below 1 images are more typical and less diverse."""
    top_k: int | None = Field(default=None, ge=1)
    """Only the k most probable tokens may be drawn; null: all."""
    guidance: float = Field(default=1.0, ge=0.0)
    """Classifier-free guidance: logits = nothing + guidance * (condition - nothing). 1 is none and costs one pass."""


class KMeansConfig(BaseModel):
    """Patches of `patch` x `patch` pixels, each the nearest of `vocab` means. Deterministic; fitted in a minute."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: Literal["kmeans"] = "kmeans"
    vocab: int = Field(default=512, ge=2, le=MOST_CODES)
    """How many means."""
    patch: int = Field(default=4, ge=1)
    """Side of a patch in pixels; it divides the resolution."""
    sample: int = Field(default=200_000, ge=2)
    """Patches of training images that the means are fitted to."""
    seed: int = Field(default=0, ge=0)
    """Decides which patches, and where the means start."""


class VQTrainConfig(TrainConfig):
    """As the section `train`; the model is a tokenizer."""

    model: VQConfig = VQConfig()  # type: ignore[assignment]


class VQTokenizerConfig(BaseModel):
    """A learned tokenizer (models/vq.py), trained by the one loop against a discriminator."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: Literal["vq"] = "vq"
    train: VQTrainConfig
    """As the section `train`, its model `vq`."""


class PixelsConfig(BaseModel):
    """Every value of every pixel is a token of one of `levels` greys. An option, never the baseline: 784 tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: Literal["pixels"] = "pixels"
    levels: int = Field(default=16, ge=2, le=256)
    """Greys, evenly spaced."""


TokenizerConfig = Annotated[KMeansConfig | VQTokenizerConfig | PixelsConfig, Field(discriminator="name")]
