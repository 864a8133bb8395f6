"""Networks that claim a published configuration have its parameters, layer by layer, and presets name what differs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from pydantic import TypeAdapter

from ganline.config import read_yaml
from ganline.models import Conditioning, ModelConfig
from tests.unit.variants import image_spec

ROOT = Path(__file__).parents[3]
CONFIGS = TypeAdapter(ModelConfig)


class Published(NamedTuple):
    """A published configuration at 32 px, RGB: our options, its classes, and parameters of (G, D)."""

    options: dict[str, Any]
    classes: int
    parameters: tuple[int, int]
    layers: tuple[int, int]
    """The same, added up from the layers of the source."""
    source: str


def dense(inputs: int, outputs: int) -> int:
    """Parameters of a linear layer with a bias."""
    return inputs * outputs + outputs


def conv(inputs: int, outputs: int, kernel: int = 3) -> int:
    """Parameters of a convolution with a bias."""
    return inputs * outputs * kernel**2 + outputs


# DCGAN as in StudioGAN: each 4x4 convolution of G, and each pair of convolutions of D, has its BatchNorm.
DC_G = dense(128, 512 * 16) + sum(conv(2 * c, c, 4) + 2 * c for c in (256, 128, 64)) + conv(64, 3)
DC_D = sum(conv(a, b) + conv(b, b, 4) + 4 * b for a, b in ((3, 64), (64, 128), (128, 256)))
DC_D += conv(256, 512) + 2 * 512 + dense(512, 1)


def resnet_g(width: int, gains: int) -> int:
    """G of 3 blocks (two 3x3, a 1x1 and two norms), each norm with as many gains and as many biases a channel."""
    block = 2 * conv(width, width) + conv(width, width, 1) + 2 * 2 * width * gains
    return dense(128, width * 16) + 3 * block + 2 * width + conv(width, 3)


# The ResNets' D of 128 channels: 4 blocks, of which two halve and have a 1x1 beside them.
RES_D = conv(3, 128) + 7 * conv(128, 128) + conv(3, 128, 1) + conv(128, 128, 1) + dense(128, 1)
RES_D_NORMS = 2 * (7 * 128 + 3 + 128)  # before each convolution but the first, and before both 1x1 (3 channels, 128)

# Progressive growing with 512 channels at 4 to 32 px: two convolutions a side, to and from RGB at every side. The
# official G's first layer has a bias a channel; ours has one a value.
PG_G = dense(512, 512 * 16) + 7 * conv(512, 512) + 4 * conv(512, 3, 1)
PG_D = 4 * conv(3, 512, 1) + 6 * conv(512, 512) + conv(513, 512) + dense(512 * 16, 512) + dense(512, 1)

# StyleGAN2 with 512 channels at 4 to 32 px. G's 7 convolutions have a style each, a bias and one strength of noise, its
# 4 outputs a style; D halves three times, and sees the standard deviation in one channel more.
SG_G = 2 * dense(512, 512) + 512 * 16 + 7 * (dense(512, 512) + conv(512, 512) + 1)
SG_G += 4 * (dense(512, 512) + conv(512, 3, 1))
SG_D = conv(3, 512, 1) + 6 * conv(512, 512) + conv(513, 512) + dense(512 * 16, 512) + dense(512, 1)
# With classes: an embedding beside z; D's output is as wide as the class's vector, which 8 layers make of an embedding.
SG_G_COND = SG_G + dense(10, 512) + 512 * 512
SG_D_COND = SG_D - dense(512, 1) + dense(512, 512) + dense(10, 512) + 8 * dense(512, 512)

# R3GAN: 4 sides of 2 blocks, 768 channels, 1,536 inside a block in groups of 16. Convolutions have no bias, but each of
# a block's two activations has.
R3_BODY = 4 * 2 * (768 * 1536 + 1536 + 1536 * 16 * 9 + 1536 + 1536 * 768) + 768 * 16 + 768 * 3
R3_G, R3_D = R3_BODY + 64 * 768, R3_BODY + 768
# With classes: an embedding of 64 beside z; D's output and its embedding are 768 wide.
R3_G_COND, R3_D_COND = R3_G + 10 * 64 + 64 * 768, R3_D - 768 + 768 * 768 + 10 * 768

STUDIOGAN = "POSTECH-CVLab/PyTorch-StudioGAN, logs/CIFAR10: "
PUBLISHED = [
    Published(
        {"name": "dcgan", "layout": "studio", "z_dim": 128},
        0,
        (3_812_355, 2_931_009),
        (DC_G, DC_D),
        STUDIOGAN + "DCGAN",
    ),
    Published(
        {"name": "wgan", "critic_norm": True},
        0,
        (4_276_739, 1_055_879),
        (resnet_g(256, 1), RES_D + RES_D_NORMS),
        STUDIOGAN + "WGAN-GP",
    ),
    Published(
        {"name": "wgan", "g_width": 128},
        0,
        (1_204_483, 1_053_825),
        (resnet_g(128, 1), RES_D),
        "igul222/improved_wgan_training, gan_cifar_resnet.py without labels",
    ),
    # The paper's own code (pfnet-research/sngan_projection) has no bias on D's last layer: one parameter less.
    Published({"name": "sngan"}, 0, (4_276_739, 1_053_825), (resnet_g(256, 1), RES_D), "kwotsin/mimicry, sngan_32.py"),
    Published(
        {"name": "sngan"}, 10, (4_304_387, 1_055_105), (resnet_g(256, 10), RES_D + 10 * 128), STUDIOGAN + "SNGAN"
    ),
    Published(
        {"name": "progressive"},
        0,
        (20_719_628 + 15 * 512, 20_726_785),
        (PG_G, PG_D),
        "tkarras/progressive_growing_of_gans, G_paper and D_paper",
    ),
    Published(
        {"name": "stylegan2"}, 0, (19_947_539, 20_720_641), (SG_G, SG_D), "NVlabs/stylegan2-ada-pytorch, --cfg=cifar"
    ),
    Published(
        {"name": "stylegan2"},
        10,
        (20_215_315, 23_089_664),
        (SG_G_COND, SG_D_COND),
        STUDIOGAN + "StyleGAN2-ADA; NVlabs/stylegan2-ada-pytorch, --cfg=cifar --cond=1",
    ),
    Published({"name": "r3gan"}, 0, (20_732_160, 20_683_776), (R3_G, R3_D), "brownvc/R3GAN, --preset=CIFAR10"),
    Published(
        {"name": "r3gan"},
        10,
        (20_781_952, 21_280_512),
        (R3_G_COND, R3_D_COND),
        "brownvc/R3GAN, --preset=CIFAR10 --cond=1",
    ),
]


def counts(options: dict[str, Any], classes: int) -> tuple[int, ...]:
    with torch.device("meta"):
        config = CONFIGS.validate_python(options)
        condition = Conditioning(labels=tuple(map(str, range(classes))))
        pair = (
            config.build_generator(image_spec(32, 3), condition),
            config.build_discriminator(image_spec(32, 3), condition),
        )
    return tuple(sum(p.numel() for p in net.parameters()) for net in pair)


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda each: f"{each.options['name']}-{each.classes}")
def test_published_configurations_have_the_published_parameters(published: Published) -> None:
    assert published.layers == published.parameters, published.source
    assert counts(published.options, published.classes) == published.parameters, published.source


def test_every_family_with_a_published_configuration_of_its_own_is_counted() -> None:
    """The classic MLP's layers have a test of their own (test_families.py): its source states no count."""
    full = [
        read_yaml(path) for path in (ROOT / "presets").glob("*-full.yaml") if "# No published" not in path.read_text()
    ]
    names = {content["train"]["model"]["name"] for content in full} - {"mlp"}
    assert names == {each.options["name"] for each in PUBLISHED}
    conditional = {each.options["name"] for each in PUBLISHED if each.classes}
    assert conditional == {"sngan", "stylegan2", "r3gan"}  # the others were published without classes


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "presets").glob("*-full.yaml")))
def test_a_full_preset_names_what_differs_from_the_published_configuration(name: str) -> None:
    text = (ROOT / "presets" / f"{name}.yaml").read_text()
    comment = text[: re.search("^[^#]", text, re.MULTILINE).start()]  # type: ignore[union-attr]
    differs = re.search(r"^# Differs from .+:\n((?:# - .+\n(?:#   .+\n)*)+)$", comment, re.MULTILINE)
    assert differs or re.search("^# No (difference from|published configuration)", comment, re.MULTILINE)
    if differs:
        topics = ("Data", "Precision", "Watchdog", "G's step")
        assert not [topic for topic in topics if f"# - {topic}" not in differs[1]]
