"""Folded networks compute the same, and have no BatchNorm left where it can be folded."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ganline.acceleration.fold import fold, folded_layer, scale_and_shift
from tests.unit.acceleration.small import drawn, small
from tests.unit.variants import FAMILIES, SIZES


def norms(G: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) for layer in G.modules())


@pytest.mark.parametrize("conditional", [True, False])
@pytest.mark.parametrize(("resolution", "channels"), SIZES)
def test_the_deployable_family_folds_whole_and_paints_the_same(
    resolution: int, channels: int, conditional: bool
) -> None:
    G = small(conditional=conditional, resolution=resolution, channels=channels)
    folded = fold(G)
    z, label = drawn(G, 8, conditional=conditional)
    assert norms(G) and not norms(folded)
    assert G(z, label).std() > 0.05  # a saturated or empty picture would hide a difference
    assert (folded(z, label) - G(z, label)).abs().max() <= 1e-5


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "pixelshuffle"])
def test_every_other_family_paints_the_same_whatever_of_it_folds(family: str) -> None:
    G = small(family)
    z, label = drawn(G, 4)
    assert (fold(G)(z, label) - G(z, label)).abs().max() <= 1e-5


def test_rows_of_layers_fold_in_any_family() -> None:
    G = small("mlp")
    assert norms(G) == 2 and not norms(fold(G))
    assert norms(fold(small("dcgan"))) == 1  # the stem's, which follows no layer in its row


def test_folding_leaves_the_network_as_it_was_and_a_training_one_is_folded_as_if_evaluated() -> None:
    G = small().train()
    before = {name: value.clone() for name, value in G.state_dict().items()}
    folded = fold(G)
    assert G.training and not folded.training
    assert all(torch.equal(before[name], value) for name, value in G.state_dict().items())
    z, label = drawn(G, 4)
    assert (folded(z, label) - G.eval()(z, label)).abs().max() <= 1e-5


def test_what_is_folded_stays_as_it_is_when_folded_again() -> None:
    once = fold(small())
    z, label = drawn(once, 4)
    assert torch.equal(fold(once)(z, label), once(z, label))


def test_words_for_prompts_are_shared_not_copied() -> None:
    class Words:
        def tell(self, labels: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
            return labels

    G, words = small(conditional=False, prompt_dim=6), Words()
    G.tell = words.tell
    assert fold(G).tell.__self__ is words


def test_a_folded_layer_in_float64_is_the_norm_of_the_layer() -> None:
    for layer in (nn.Linear(3, 4), nn.Conv2d(3, 4, 3, bias=False), nn.ConvTranspose2d(3, 4, 4, stride=2)):
        norm = (nn.BatchNorm1d if isinstance(layer, nn.Linear) else nn.BatchNorm2d)(4).double().eval()
        nn.init.uniform_(norm.running_mean)
        nn.init.uniform_(norm.weight, 0.5, 2.0)
        x = torch.rand((5, 3) if isinstance(layer, nn.Linear) else (5, 3, 6, 6), dtype=torch.float64)
        folded = folded_layer(layer.double(), *scale_and_shift(norm))
        assert (folded(x) - norm(layer(x))).abs().max() < 1e-12
