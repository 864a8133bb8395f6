"""The families of generators and discriminators. The union is the registry: one file and one line a family."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ganline.models.dcgan import DCGANConfig
from ganline.models.mlp import MLPConfig
from ganline.models.pixelshuffle import PixelShuffleConfig
from ganline.models.progressive import ProgressiveConfig
from ganline.models.r3gan import R3GANConfig
from ganline.models.sngan import SNGANConfig
from ganline.models.spec import Conditioning, Discriminator, Generator, ImageSpec
from ganline.models.stylegan2 import StyleGAN2Config
from ganline.models.wgan import WGANConfig

ModelConfig = Annotated[
    MLPConfig
    | PixelShuffleConfig
    | DCGANConfig
    | WGANConfig
    | SNGANConfig
    | ProgressiveConfig
    | StyleGAN2Config
    | R3GANConfig,
    Field(discriminator="name"),
]

__all__ = ["Conditioning", "Discriminator", "Generator", "ImageSpec", "ModelConfig"]
