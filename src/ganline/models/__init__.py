"""The families of generators and discriminators. The union is the registry: one file and one line a family."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ganline.models.mlp import MLPConfig
from ganline.models.pixelshuffle import PixelShuffleConfig
from ganline.models.spec import Conditioning, DiscriminatorCall, GeneratorCall, ImageSpec

ModelConfig = Annotated[MLPConfig | PixelShuffleConfig, Field(discriminator="name")]

__all__ = ["Conditioning", "DiscriminatorCall", "GeneratorCall", "ImageSpec", "ModelConfig"]
