"""The families of generators and discriminators as sections of params.yaml: sizes, and who builds the networks.

The union is the registry. Imports no torch: a network's module is imported when it is built.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ganline.errors import ConfigError

if TYPE_CHECKING:
    from ganline.models.dcgan import DCGANDiscriminator, DCGANGenerator
    from ganline.models.mlp import MLPDiscriminator, MLPGenerator
    from ganline.models.pixelshuffle import PixelShuffleDiscriminator, PixelShuffleGenerator
    from ganline.models.progressive import ProgressiveDiscriminator, ProgressiveGenerator
    from ganline.models.r3gan import R3Discriminator, R3Generator
    from ganline.models.stylegan2 import StyleDiscriminator, StyleGenerator
    from ganline.models.vq import VQAutoencoder
    from ganline.models.wgan import ResNetDiscriminator, ResNetGenerator

MOST_CODES = 2**15 - 1  # tokens are kept in 16 bits


class ImageSpec(BaseModel):
    """Size of the images a model makes: square, grey (1) or RGB (3)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    resolution: int = Field(ge=8)
    channels: Literal[1, 3]


class Conditioning(BaseModel):
    """What a model is told beside z. `labels` name the classes; empty means unconditional."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    labels: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        return len(self.labels)


def stem_resolution(resolution: int, largest_stem: int = 4) -> tuple[int, int]:
    """(smallest side, number of doublings): 28 -> (7, 2), 32 -> (4, 3), 64 -> (4, 4); at least one doubling.

    The side is halved while it is even and larger than `largest_stem`. Raises ConfigError for an odd resolution.
    """
    if resolution % 2:
        raise ConfigError(
            f"convolutional families cannot paint {resolution} px",
            expected="an even resolution; powers of two are the fastest",
            remedy=f"set prepare.resolution (or RES) to {resolution + 1}",
        )
    side, doublings = resolution // 2, 1
    while side % 2 == 0 and side > largest_stem:
        side, doublings = side // 2, doublings + 1
    return side, doublings


def halved_width(width: int, side: int, *, widest_side: int, least: int) -> int:
    """Channels at a side: `width` up to `widest_side`, halved with every doubling above."""
    return max(width >> max(0, math.ceil(math.log2(side / widest_side))), least)


class MLPConfig(BaseModel):
    """Options of the MLP family; the defaults are the classic listing."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: Literal["mlp"] = "mlp"
    z_dim: int = Field(default=100, ge=1)
    """Length of the latent."""
    widths: tuple[int, ...] = (256, 512, 1024)
    """Hidden layers of G; D has them in reverse."""
    dropout: float = Field(default=0.25, ge=0.0, lt=1.0)
    """Share of D's hidden units that rest in a pass."""
    class_conditional: bool = False
    """Tell G and D the label of each image."""

    def build_generator(self, image: ImageSpec, conditioning: Conditioning) -> MLPGenerator:
        from ganline.models.mlp import MLPGenerator

        return MLPGenerator(self, image, conditioning.num_classes)

    def build_discriminator(self, image: ImageSpec, conditioning: Conditioning) -> MLPDiscriminator:
        from ganline.models.mlp import MLPDiscriminator

        return MLPDiscriminator(self, image, conditioning.num_classes)


class PixelShuffleConfig(BaseModel):
    """Widths of the deployable family; every other size follows from the resolution."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: Literal["pixelshuffle"] = "pixelshuffle"
    z_dim: int = Field(default=32, ge=1)
    """Length of the latent."""
    g_width: int = Field(default=96, ge=4)
    """Channels of G at the smallest side; each doubling halves them."""
    g_least: int = Field(default=16, ge=4)
    """Channels of G that no doubling goes below."""
    d_width: int = Field(default=32, ge=4)
    """Channels of D at half the resolution; each halving doubles them."""
    class_conditional: bool = True
    """Tell G and D the label of each image."""
    prompt_dim: int = Field(default=0, ge=0)
    """Length of the prompts' embeddings that G and D are told in place of labels; 0: labels."""

    def build_generator(self, image: ImageSpec, conditioning: Conditioning) -> PixelShuffleGenerator:
        from ganline.models.pixelshuffle import PixelShuffleGenerator

        return PixelShuffleGenerator(self, image, conditioning.num_classes)

    def build_discriminator(self, image: ImageSpec, conditioning: Conditioning) -> PixelShuffleDiscriminator:
        from ganline.models.pixelshuffle import PixelShuffleDiscriminator

        return PixelShuffleDiscriminator(self, image, conditioning.num_classes)


class DCGANConfig(BaseModel):
    """Widths of DCGAN; the defaults are those of the 32 px networks of the literature."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: Literal["dcgan"] = "dcgan"
    z_dim: int = Field(default=100, ge=1)
    """Length of the latent."""
    layout: Literal["paper", "studio"] = "paper"
    """The paper's layers, or StudioGAN's."""
    g_width: int = Field(default=512, ge=8)
    """Channels of G at the smallest side; each doubling halves them."""
    d_width: int = Field(default=64, ge=8)
    """Channels of D after its first halving; each further one doubles them."""
    class_conditional: bool = False
    """Tell G and D the label of each image."""

    def build_generator(self, image: ImageSpec, conditioning: Conditioning) -> DCGANGenerator:
        from ganline.models.dcgan import DCGANGenerator

        return DCGANGenerator(self, image, conditioning.num_classes)

    def build_discriminator(self, image: ImageSpec, conditioning: Conditioning) -> DCGANDiscriminator:
        from ganline.models.dcgan import DCGANDiscriminator

        return DCGANDiscriminator(self, image, conditioning.num_classes)


class WGANConfig(BaseModel):
    """Widths of the ResNet pair; the defaults are those of CIFAR-10 in the literature."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: Literal["wgan"] = "wgan"
    z_dim: int = Field(default=128, ge=1)
    """Length of the latent."""
    g_width: int = Field(default=256, ge=8)
    """Channels of G up to 32 px; above, halved with every doubling."""
    d_width: int = Field(default=128, ge=8)
    """The same of D."""
    critic_norm: bool = False
    """Layer normalisation in the critic."""
    class_conditional: bool = False
    """Tell G and D the label of each image."""

    def build_generator(self, image: ImageSpec, conditioning: Conditioning) -> ResNetGenerator:
        from ganline.models.wgan import build_generator

        return build_generator(self, image, conditioning)

    def build_discriminator(self, image: ImageSpec, conditioning: Conditioning) -> ResNetDiscriminator:
        from ganline.models.wgan import build_discriminator

        return build_discriminator(self, image, conditioning)


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
        from ganline.models.sngan import build_generator

        return build_generator(self, image, conditioning)

    def build_discriminator(self, image: ImageSpec, conditioning: Conditioning) -> ResNetDiscriminator:
        from ganline.models.sngan import build_discriminator

        return build_discriminator(self, image, conditioning)


class ProgressiveConfig(BaseModel):
    """Sizes of the progressive pair (the defaults are the paper's), and the share of the budget in which it grows."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: Literal["progressive"] = "progressive"
    z_dim: int = Field(default=512, ge=1)
    """Length of the latent."""
    width_base: int = Field(default=16384, ge=64)
    """Channels at a side are min(width_base / side, width_max)."""
    width_max: int = Field(default=512, ge=8)
    """Most channels."""
    grow_share: float = Field(default=0.5, gt=0.0, lt=1.0)
    """Share of the budget after which the full side has faded in. Each side settles as long as the next fades in."""
    mbstd_group: int = Field(default=4, ge=1)
    """Samples whose spread D is told."""
    class_conditional: bool = False
    """Tell G and D the label of each image."""

    def build_generator(self, image: ImageSpec, conditioning: Conditioning) -> ProgressiveGenerator:
        from ganline.models.progressive import ProgressiveGenerator

        return ProgressiveGenerator(self, image, conditioning.num_classes)

    def build_discriminator(self, image: ImageSpec, conditioning: Conditioning) -> ProgressiveDiscriminator:
        from ganline.models.progressive import ProgressiveDiscriminator

        return ProgressiveDiscriminator(self, image, conditioning.num_classes)


class StyleGAN2Config(BaseModel):
    """Sizes of StyleGAN2; the defaults are those of StyleGAN2-ADA's `cifar` configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: Literal["stylegan2"] = "stylegan2"
    z_dim: int = Field(default=512, ge=1)
    """Length of the latent."""
    w_dim: int = Field(default=512, ge=1)
    """Length of a style."""
    mapping_layers: int = Field(default=2, ge=1)
    """Layers from z to w."""
    d_mapping_layers: int = Field(default=8, ge=1)
    """Layers from a label to the vector that D projects on (8 in the official code, whatever G has)."""
    width_base: int = Field(default=32768, ge=64)
    """Channels at a side are min(width_base / side, width_max)."""
    width_max: int = Field(default=512, ge=8)
    """Most channels."""
    d_layout: Literal["orig", "resnet"] = "orig"
    """Plain or residual blocks in D."""
    mixing: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of training samples whose styles come from two latents (0.9 in the paper, 0 for CIFAR-10)."""
    mbstd_group: int = Field(default=32, ge=1)
    """Samples whose spread D is told."""
    class_conditional: bool = False
    """Tell G and D the label of each image."""

    def build_generator(self, image: ImageSpec, conditioning: Conditioning) -> StyleGenerator:
        from ganline.models.stylegan2 import StyleGenerator

        return StyleGenerator(self, image, conditioning.num_classes)

    def build_discriminator(self, image: ImageSpec, conditioning: Conditioning) -> StyleDiscriminator:
        from ganline.models.stylegan2 import StyleDiscriminator

        return StyleDiscriminator(self, image, conditioning.num_classes)


class R3GANConfig(BaseModel):
    """Sizes of R3GAN; the defaults are the published CIFAR-10 configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: Literal["r3gan"] = "r3gan"
    z_dim: int = Field(default=64, ge=1)
    """Length of the latent."""
    width: int = Field(default=768, ge=8)
    """Channels of G and D at sides up to `widest_side`; above, halved with every doubling."""
    widest_side: int = Field(default=32, ge=1)
    """Side up to which the width holds."""
    blocks: int = Field(default=2, ge=1)
    """Residual blocks a stage."""
    expansion: int = Field(default=2, ge=1)
    """Times the width, within a block."""
    group_width: int | None = Field(default=16, ge=1)
    """Channels a group of the 3x3 convolutions; null is one dense group (faster where the width is small)."""
    class_conditional: bool = False
    """Tell G and D the label of each image."""

    def build_generator(self, image: ImageSpec, conditioning: Conditioning) -> R3Generator:
        from ganline.models.r3gan import R3Generator

        return R3Generator(self, image, conditioning.num_classes)

    def build_discriminator(self, image: ImageSpec, conditioning: Conditioning) -> R3Discriminator:
        from ganline.models.r3gan import R3Discriminator

        return R3Discriminator(self, image, conditioning.num_classes)

    def widths(self, image: ImageSpec) -> list[int]:
        """Channels of each stage, smallest side first."""
        _, doublings = stem_resolution(image.resolution)
        sides = [image.resolution >> (doublings - i) for i in range(doublings + 1)]
        return [halved_width(self.width, side, widest_side=self.widest_side, least=8) for side in sides]


class VQConfig(BaseModel):
    """Sizes of the tokenizer's networks, and the weights of its losses beside the adversarial one."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: Literal["vq"] = "vq"
    vocab: int = Field(default=512, ge=2, le=MOST_CODES)
    """Codes in the codebook."""
    code_dim: int = Field(default=8, ge=2)
    """Length of a code; all have unit length."""
    width: int = Field(default=48, ge=4)
    """Channels of encoder and decoder at half the resolution; twice as many at a quarter."""
    d_width: int = Field(default=32, ge=4)
    """Channels of the discriminator (as of the pixelshuffle family)."""
    reconstruction_weight: float = Field(default=20.0, ge=0.0)
    """Weight of the mean absolute error."""
    commitment_weight: float = Field(default=0.25, ge=0.0)
    """Weight of the encoder's distance to its codes; that of the codes to the encoder's outputs is 1."""
    class_conditional: Literal[False] = False
    """A tokenizer is told no label."""

    def build_generator(self, image: ImageSpec, conditioning: Conditioning) -> VQAutoencoder:
        from ganline.models.vq import VQAutoencoder

        return VQAutoencoder(self, image)

    def build_discriminator(self, image: ImageSpec, conditioning: Conditioning) -> PixelShuffleDiscriminator:
        from ganline.models.pixelshuffle import PixelShuffleDiscriminator

        return PixelShuffleDiscriminator(PixelShuffleConfig(d_width=self.d_width), image, num_classes=0)


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
