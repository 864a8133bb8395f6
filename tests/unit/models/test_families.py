"""Every family, at every size, conditional or not."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from pydantic import TypeAdapter

from ganline.devices import pick
from ganline.errors import ConfigError
from ganline.models import ModelConfig
from ganline.models.config import stem_resolution
from ganline.models.sampling import CHUNK, sample
from tests.unit.variants import FAMILIES, SIZES, TRAININGS, conditioning, image_spec

CASES = [(family, size, conditional) for family in FAMILIES for size in SIZES for conditional in (False, True)]
CONFIGS = TypeAdapter(ModelConfig)
BOUNDED = {"mlp", "pixelshuffle", "dcgan", "wgan", "sngan"}  # those that end in tanh


def test_every_family_of_the_union_is_in_the_shared_lists() -> None:
    names = {kind.model_fields["name"].default for kind in get_args(get_args(ModelConfig)[0])}
    assert names == {config["name"] for config in FAMILIES.values()}, "FAMILIES in tests/unit/variants.py"
    assert names == {FAMILIES[family]["name"] for family, *_ in TRAININGS.values()}, (
        "TRAININGS in tests/unit/variants.py"
    )


def build(family: str, size: tuple[int, int], conditional: bool):
    config = CONFIGS.validate_python(FAMILIES[family] | {"class_conditional": conditional})
    torch.manual_seed(0)
    spec, condition = image_spec(*size), conditioning(conditional)
    return config, config.build_generator(spec, condition), config.build_discriminator(spec, condition)


@pytest.mark.parametrize(("family", "size", "conditional"), CASES)
def test_g_paints_images_and_d_gives_one_logit_each(family, size, conditional) -> None:
    with torch.device("meta"):
        config, G, D = build(family, size, conditional)
        assert G.num_classes == conditioning(conditional).num_classes  # what export and the study ask for
        images = G(torch.randn(4, config.z_dim), torch.zeros(4, dtype=torch.int64) if conditional else None)
        assert images.shape == (4, size[1], size[0], size[0])
        assert D(images, torch.zeros(4, dtype=torch.int64) if conditional else None).shape == (4,)


@pytest.mark.parametrize("family", FAMILIES)
def test_images_stay_in_range(family) -> None:
    config, G, _ = build(family, (32, 3), True)
    images = G(torch.randn(8, config.z_dim), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1]))
    assert images.abs().max() <= 1.0 if family in BOUNDED else 0.1 < images.std() < 3.0


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_gets_a_gradient(family, conditional) -> None:
    config, G, D = build(family, (16, 1), conditional)
    with torch.no_grad():
        for parameter in (*G.parameters(), *D.parameters()):
            parameter.add_(0.1 * torch.randn_like(parameter))  # layers that start at zero let nothing through
    label = torch.tensor([0, 1, 2, 0]) if conditional else None
    for share in (0.0, 0.2, 0.4, 1.0):  # a progressive pair uses other layers at other sides
        G.advance(share), D.advance(share)
        D(G(torch.randn(4, config.z_dim), label), label).square().sum().backward()
    for net in (G, D):
        without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        assert not without


@pytest.mark.parametrize("family", FAMILIES)
def test_the_label_changes_the_image_and_the_logit(family) -> None:
    config, G, D = build(family, (16, 1), True)
    with torch.no_grad():
        for parameter in G.parameters():  # conditional normalisation starts alike for all classes
            parameter.add_(0.1 * torch.randn_like(parameter))
    G.eval(), D.eval()
    z, a, b = torch.randn(2, config.z_dim), torch.tensor([0, 0]), torch.tensor([1, 1])
    assert not torch.equal(G(z, a), G(z, b))
    image = G(z, a)
    assert not torch.equal(D(image, a), D(image, b))


@pytest.mark.parametrize("family", FAMILIES)
def test_samples_of_one_pass_influence_one_another_only_where_d_says_so(family) -> None:
    _, _, D = build(family, (16, 1), False)
    D.train(D.mixes_samples)  # spectral normalisation moves on with every training pass
    images = torch.randn(4, 1, 16, 16)
    alone, beside = D(images[:2]), D(torch.cat([images[:2], 3 * images[2:]]))[:2]
    assert torch.allclose(alone, beside, rtol=1e-4, atol=1e-5) != D.mixes_samples


def test_the_mlp_has_the_classic_layers() -> None:
    config = CONFIGS.validate_python({"name": "mlp"})
    spec, condition = image_spec(28, 1), conditioning(False)
    linear = [m for m in config.build_generator(spec, condition).modules() if isinstance(m, torch.nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [(100, 256), (256, 512), (512, 1024), (1024, 784)]
    linear = [m for m in config.build_discriminator(spec, condition).modules() if isinstance(m, torch.nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [(784, 1024), (1024, 512), (512, 256), (256, 1)]


@pytest.mark.parametrize(
    ("resolution", "largest", "expected"),
    [
        (8, 8, (4, 1)),
        (28, 8, (7, 2)),
        (32, 8, (8, 2)),
        (64, 8, (8, 3)),
        (16, 8, (8, 1)),
        (32, 4, (4, 3)),
        (28, 4, (7, 2)),
    ],
)
def test_the_stem_follows_from_the_resolution(resolution, largest, expected) -> None:
    assert stem_resolution(resolution, largest) == expected


def test_an_odd_resolution_is_refused_with_the_next_that_works() -> None:
    with pytest.raises(ConfigError, match="63 px") as caught:
        stem_resolution(63)
    assert "64" in str(caught.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_image_i_depends_on_seed_and_i_alone(family) -> None:
    _, G, _ = build(family, (16, 1), True)
    G.eval()

    def draw(n: int, seed: int) -> torch.Tensor:
        batches = sample(G, n=n, seed=seed, num_classes=3, compute=pick("fp32"))
        return torch.cat([images for images, _ in batches])

    many = draw(CHUNK + 5, 7)
    assert torch.equal(many[:3], draw(3, 7))
    assert torch.equal(many[: CHUNK + 1], draw(CHUNK + 1, 7))
    assert not torch.equal(many[:3], draw(3, 8))
