"""SNGAN with projection discriminator (Miyato et al. 2018, arXiv 1802.05957; Miyato & Koyama 2018, arXiv 1802.05637).

The ResNet of `wgan.py` with spectral normalisation on all of D, and conditional BatchNorm in G. At 32 px, 10 classes:
4,304,387 and 1,055,105 parameters, those of StudioGAN and (unconditionally) of mimicry.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from ganline.models.layers import BatchNorm2d, ConditionalBatchNorm2d, spectral
from ganline.models.resnet import MakeNorm
from ganline.models.spec import Conditioning, ImageSpec
from ganline.models.wgan import ResNetDiscriminator, ResNetGenerator


class SNGANConfig(BaseModel):
    """Widths of SNGAN; the defaults are the paper's for CIFAR-10."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: Literal["sngan"] = "sngan"
    z_dim: int = Field(default=128, ge=1)
    """Length of the latent."""
    g_width: int = Field(default=256, ge=8)
    """Channels of G up to 32 px; above, halved with every doubling."""
    d_width: int = Field(default=128, ge=8)
    """The same of D."""
    class_conditional: bool = True
    """Tell G and D the label of each image."""

    def build_generator(self, image: ImageSpec, conditioning: Conditioning) -> ResNetGenerator:
        classes = conditioning.num_classes
        norm: MakeNorm = partial(ConditionalBatchNorm2d, num_classes=classes) if classes else BatchNorm2d
        return ResNetGenerator(image, self.z_dim, self.g_width, norm=norm)

    def build_discriminator(self, image: ImageSpec, conditioning: Conditioning) -> ResNetDiscriminator:
        D = ResNetDiscriminator(image, self.d_width, conditioning.num_classes)
        for layer in [m for m in D.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.Embedding)]:
            spectral(layer)
        return D
