"""Several networks as one generator: the noise names who paints, in every form and in any batch."""

from __future__ import annotations

import pytest
import torch

from ganline.acceleration.export import export_generator
from ganline.acceleration.fold import fold
from ganline.acceleration.mixture import members_of, mixture
from ganline.acceleration.runtime import compiled_generator, eager_generator, open_generators
from ganline.devices import cpp_compiler, host
from ganline.models.spec import Generator
from tests.unit.acceleration.small import drawn, levels_apart, small

NUM = 3


def members(**options) -> list:
    return [small(seed=seed, **options) for seed in range(NUM)]


def test_one_generator_is_no_mixture() -> None:
    (one,) = members()[:1]
    assert mixture([one]) is one


@pytest.mark.parametrize("conditional", [True, False])
def test_each_image_is_that_of_the_member_which_its_noise_names(conditional) -> None:
    networks = members(conditional=conditional)
    G = mixture(networks)
    z, label = drawn(G, 40, conditional=conditional)
    assert (G.z_dim, G.num_classes) == (networks[0].z_dim + 1, networks[0].num_classes)
    shares = torch.special.ndtr(z[:, -1])
    which = (NUM * shares).floor().long()
    assert set(which.tolist()) == set(range(NUM))
    image = G(z, label)
    for i, k in enumerate(which.tolist()):
        told = None if label is None else label[i : i + 1]
        torch.testing.assert_close(image[i : i + 1], networks[k](z[i : i + 1, :-1], told))
        torch.testing.assert_close(G(z[i : i + 1], told), image[i : i + 1])


class Signed(Generator):
    """Paints its own number."""

    z_dim, num_classes = 1, 0

    def __init__(self, number: int):
        super().__init__()
        self.number = number

    def forward(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        return torch.full((len(z), 1, 1, 1), self.number, dtype=z.dtype)


def test_members_paint_equally_often() -> None:
    G = mixture([Signed(number) for number in range(NUM)])
    z = torch.randn(30_000, G.z_dim, generator=torch.Generator().manual_seed(1))
    counts = G(z).flatten().long().bincount()
    assert (counts / len(z) - 1 / NUM).abs().max() < 0.01


def test_forms_that_lie_nowhere_take_noise_of_any_kind() -> None:
    z = torch.randn(9, 2, dtype=torch.float64)
    assert mixture([Signed(number) for number in range(NUM)])(z).dtype == torch.float64


def test_a_mixture_of_prompts_shares_what_its_members_were_told_with() -> None:
    class Words:
        def tell(self, labels: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
            return labels[:, None].float()

    networks, words = members(prompt_dim=1), Words()
    for network in networks:
        network.tell = words.tell
    folded = fold(mixture(networks))
    assert {id(each.tell.__self__) for each in [folded, *members_of(folded)]} == {id(words)}
    z = torch.randn(8, folded.z_dim)
    label = torch.rand(8, 1)
    torch.testing.assert_close(folded(z, label), mixture(networks)(z, label), atol=1e-4, rtol=1e-4)


def test_truncation_changes_the_image_and_not_who_paints_it() -> None:
    networks = members()
    G = mixture(networks)
    z, label = drawn(G, 20)
    which = (NUM * torch.special.ndtr(z[:, -1])).floor().long()
    image = G.truncated(z, label, 0.5)
    for i, k in enumerate(which.tolist()):
        expected = networks[k].truncated(z[i : i + 1, :-1], label[i : i + 1], 0.5)
        torch.testing.assert_close(image[i : i + 1], expected)


def test_members_are_folded() -> None:
    G = mixture(members())
    folded, (z, label) = fold(G), drawn(G, 9)
    assert not [layer for layer in folded.modules() if isinstance(layer, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d)]
    torch.testing.assert_close(folded(z, label), G(z, label), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("conditional", [True, False])
def test_exported_members_are_one_generator_in_the_order_of_their_numbers(tmp_path, conditional) -> None:
    networks = members(conditional=conditional)
    for number, network in enumerate(networks):
        export_generator(fold(network), tmp_path / f"onnx-{number:02}.onnx", num_classes=network.num_classes)
    opened, G = open_generators(tmp_path, "onnx"), mixture(networks)
    assert len(members_of(opened)) == NUM
    z, label = drawn(G, 7, conditional=conditional)
    z[:, -1] = torch.tensor([-2.0, 0.0, 2.0, -1.0, float(G.bounds[0]), 0.1, 3.0])  # each member, and an edge
    assert levels_apart(opened(z, label), G(z, label)) <= 1
    for i in range(len(z)):
        for some in (slice(i, i + 1), slice(i, i + 2)):  # one image; two, without some of the members
            told = None if label is None else label[some]
            assert levels_apart(opened(z[some], told), G(z[some], told)) <= 1


def test_exported_members_take_prompts(tmp_path) -> None:
    networks = members(prompt_dim=2)
    for number, network in enumerate(networks):
        export_generator(fold(network), tmp_path / f"int8-{number:02}.onnx", prompt_dim=2)
    opened, G = open_generators(tmp_path, "int8"), mixture(networks)
    z, prompt = torch.randn(9, G.z_dim), torch.randn(9, 2)
    assert (opened.z_dim, opened.prompt_dim, opened.num_classes) == (G.z_dim, 2, 0)
    assert levels_apart(opened(z, prompt), G(z, prompt)) <= 1


@pytest.mark.skipif(cpp_compiler() is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_mixture_takes_batches_that_fall_apart_in_many_ways() -> None:
    G = mixture(members())
    eager, compiled = eager_generator(G, host()), compiled_generator(G, host())
    for seed in range(20):
        z, label = drawn(G, 1 if seed == 0 else 8, seed=seed)
        assert levels_apart(compiled(z, label), eager(z, label)) <= 1
