"""SNGAN with projection discriminator (Miyato et al. 2018, arXiv 1802.05957; Miyato & Koyama 2018, arXiv 1802.05637).

The ResNet of `wgan.py` with spectral normalisation on all of D, and conditional BatchNorm in G. At 32 px, 10 classes:
4,304,387 and 1,055,105 parameters, those of StudioGAN; without classes 4,276,739 and 1,053,825, those of mimicry.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from ganline.models.config import Conditioning, ImageSpec, SNGANConfig
from ganline.models.layers import BatchNorm2d, ConditionalBatchNorm2d, spectral
from ganline.models.resnet import MakeNorm
from ganline.models.wgan import ResNetDiscriminator, ResNetGenerator


def build_generator(config: SNGANConfig, image: ImageSpec, conditioning: Conditioning) -> ResNetGenerator:
    classes = conditioning.num_classes
    norm: MakeNorm = partial(ConditionalBatchNorm2d, num_classes=classes) if classes else BatchNorm2d
    return ResNetGenerator(image, config.z_dim, config.g_width, norm=norm, num_classes=classes)


def build_discriminator(config: SNGANConfig, image: ImageSpec, conditioning: Conditioning) -> ResNetDiscriminator:
    D = ResNetDiscriminator(image, config.d_width, conditioning.num_classes)
    for layer in [m for m in D.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.Embedding)]:
        spectral(layer)
    return D
