"""Class figures against hand-made sets: what is covered, how even, how right, how varied."""

from __future__ import annotations

import math

import pytest
import torch

from ganline.evaluation.classes import (
    class_figures,
    diversity,
    entropy,
    figures_per_class,
    is_covered,
    shares,
    variance_within,
)
from ganline.evaluation.features import FIRST, Features


def seen(classes: torch.Tensor, labels: torch.Tensor | None = None, *, scale: float = 1.0, seed: int = 0) -> Features:
    """Features that scatter by `scale` around the centre of their class."""
    noise = torch.randn(len(classes), 4, generator=torch.Generator().manual_seed(seed))
    return Features({FIRST: 10.0 * classes[:, None] + scale * noise}, classes=classes, labels=labels)


EVEN = torch.arange(300) % 3


def test_entropy_of_even_and_single_histograms() -> None:
    assert entropy(torch.tensor([5, 5, 5, 5])) == pytest.approx(math.log(4))
    assert entropy(torch.tensor([0, 7, 0])) == 0.0


def test_a_class_is_covered_from_a_tenth_of_its_fair_share_on() -> None:
    even = torch.ones(4)
    assert is_covered(torch.tensor([0.9, 0.06, 0.03, 0.01]), even).tolist() == [True, True, True, False]
    assert shares(torch.tensor([2, 2, 0, 2]), 4).tolist() == [0.25, 0.0, 0.75, 0.0]


def test_a_rare_class_is_covered_by_as_few_images_as_it_has_in_training() -> None:
    training = torch.tensor([9000, 500, 300, 100, 60, 40])
    assert is_covered(training / training.sum(), training).all()
    lost = torch.tensor([9040, 500, 300, 100, 60, 0])
    assert is_covered(lost / lost.sum(), training).tolist() == [True] * 5 + [False]


def test_variance_within_classes_is_around_each_ones_own_mean() -> None:
    features = torch.tensor([[0.0, 1.0], [2.0, 1.0], [10.0, 5.0], [10.0, 9.0]]).repeat(20, 1)
    labels = torch.tensor([3, 3, 7, 7]).repeat(20)
    assert variance_within(features, labels) == pytest.approx(20 * (1 + 1 + 4 + 4) / 78)


def test_variance_within_more_classes_than_images_tell_of_is_left_out() -> None:
    assert variance_within(torch.zeros(500, 2), torch.arange(500)) is None


def test_diversity_is_one_for_equal_spread_and_the_square_of_the_scale_else() -> None:
    real = seen(EVEN, EVEN, seed=1)
    assert diversity(seen(EVEN, EVEN), real, 3).tolist() == pytest.approx([1.0] * 3, abs=0.35)
    assert diversity(seen(EVEN, EVEN, scale=0.5, seed=1), real, 3).tolist() == pytest.approx([0.25] * 3, rel=1e-4)
    assert diversity(seen(EVEN, EVEN, scale=0.0), real, 3).tolist() == pytest.approx([0.0] * 3, abs=1e-9)


def test_diversity_of_a_class_with_few_images_is_not_told() -> None:
    classes = torch.cat([torch.zeros(100), torch.ones(19), torch.full((20,), 2)]).long()
    told = diversity(seen(classes, classes), seen(EVEN, EVEN), 3)
    assert torch.isnan(told).tolist() == [False, True, False]


def test_an_unconditional_set_is_grouped_by_what_is_seen() -> None:
    wrong = (EVEN + 1) % 3
    mixed = Features({FIRST: seen(EVEN).by[FIRST]}, classes=wrong, labels=EVEN)
    assert diversity(mixed, seen(EVEN, EVEN), 3).mean() < 2
    unasked = Features({FIRST: seen(EVEN).by[FIRST]}, classes=torch.arange(300) // 100)
    assert diversity(unasked, seen(EVEN, EVEN), 3).mean() > 50  # its classes mix all three centres


def test_class_figures_of_a_perfect_set_and_of_one_that_lost_a_class() -> None:
    train = torch.tensor([100, 100, 100])
    perfect = class_figures(seen(EVEN, EVEN), seen(EVEN, EVEN, seed=1), train)
    assert perfect["class_coverage"] == perfect["label_accuracy"] == 1.0
    assert perfect["class_kl"] == 0.0 and perfect["class_entropy"] == pytest.approx(math.log(3))
    lost = class_figures(seen((torch.arange(300) // 3) % 2, EVEN), seen(EVEN, EVEN), train)
    assert lost["class_coverage"] == pytest.approx(2 / 3)
    assert lost["label_accuracy"] == pytest.approx(1 / 3, abs=0.01)
    assert lost["class_kl"] == pytest.approx(math.log(3 / 2), abs=0.01)
    assert "label_accuracy" not in class_figures(seen(EVEN), seen(EVEN, EVEN), train)


def test_accuracy_of_each_class_counts_the_images_that_were_asked_for_it() -> None:
    asked, found = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 1, 1])
    told = figures_per_class(seen(found, asked), seen(EVEN, EVEN), 3)
    assert told["label_accuracy"].tolist() == [0.5, 1.0, 0.0]
    assert told["class_coverage"].tolist() == [0.25, 0.75, 0.0]
