"""Planted copies of training images trip both tests, the more the more there are; honest samples do not."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu, norm

from ganline.evaluation.memorisation import CopyTest, c_t, centres_of, copied_share, mann_whitney_z
from ganline.evaluation.neighbours import nearest

RNG = np.random.default_rng(0)
SHARES = (0.0, 0.1, 0.3, 0.6, 1.0)


def clustered(n: int, *, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of n images of four classes, and their classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n)
    centres = np.random.default_rng(99).normal(size=(4, 8)) * 4
    return torch.from_numpy(centres[labels] + rng.normal(size=(n, 8))).float(), torch.from_numpy(labels)


def planted(share: float, *, noise: float = 0.02) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Training features, samples of which a share are nearly training images, and the samples' classes."""
    (train, labels), (fresh, own) = clustered(2000, seed=0), clustered(1000, seed=1)
    num_copies = round(share * len(fresh))
    copies = train[:num_copies] + noise * torch.randn(num_copies, 8, generator=torch.Generator().manual_seed(0))
    return train, torch.cat([copies, fresh[num_copies:]]), torch.cat([labels[:num_copies], own[num_copies:]])


def test_the_copied_share_is_the_planted_share() -> None:
    found = []
    for share in SHARES:
        train, fake, _ = planted(share)
        found.append(copied_share(nearest(fake, train, k=2)[0]))
    assert found == sorted(found)
    assert found[0] < 0.01
    np.testing.assert_allclose(found, SHARES, atol=0.03)


def test_a_copy_is_nearer_than_a_third_of_the_second_distance() -> None:
    assert copied_share(torch.tensor([[0.9, 3.0], [1.1, 3.0], [0.0, 0.1], [2.0, 2.0]])) == 0.5


def test_c_t_falls_with_the_share_of_copies() -> None:
    real, real_labels = clustered(1000, seed=2)
    found = []
    for share in SHARES:
        train, fake, labels = planted(share)
        near_fake, near_real = (nearest(x, train, k=1)[0][:, 0] for x in (fake, real))
        test = c_t(fake=near_fake, real=near_real, fake_cells=labels, real_cells=real_labels)
        assert test.value is not None
        found.append(test.value)
    assert all(a > b + 1 for a, b in pairwise(found)), found
    assert abs(found[0]) < 3
    assert found[-1] < -15


def test_samples_far_from_everything_have_a_positive_c_t() -> None:
    (train, _), (real, real_labels) = clustered(2000, seed=0), clustered(1000, seed=2)
    fake, labels = clustered(1000, seed=3)
    noise = torch.randn(1000, 8, generator=torch.Generator().manual_seed(0))
    near_fake, near_real = (nearest(x, train, k=1)[0][:, 0] for x in (fake + noise, real))
    value = c_t(fake=near_fake, real=near_real, fake_cells=labels, real_cells=real_labels).value
    assert value is not None
    assert value > 3


def test_the_z_score_is_scipy_s_with_ties_too() -> None:
    for a, b in ((RNG.normal(size=80), RNG.normal(size=60) + 0.2), (RNG.integers(0, 4, 70), RNG.integers(0, 5, 90))):
        z = mann_whitney_z(a, b)
        p = mannwhitneyu(a, b, alternative="less", method="asymptotic", use_continuity=False).pvalue
        assert norm.cdf(z) == pytest.approx(p, rel=1e-9)


def test_equal_distances_throughout_are_no_evidence() -> None:
    assert mann_whitney_z(np.ones(30), np.ones(40)) == 0.0


def test_cells_are_weighted_by_their_real_images_and_small_ones_left_out() -> None:
    low, high = torch.arange(30.0), torch.arange(30.0) + 100
    fake = torch.cat([low, high, torch.zeros(19)])
    real = torch.cat([low + 50, low.repeat(3), torch.ones(40)])
    fake_cells = torch.tensor([0] * 30 + [1] * 30 + [2] * 19)
    real_cells = torch.tensor([0] * 30 + [1] * 90 + [2] * 40)
    first, second = mann_whitney_z(low.numpy(), low.numpy() + 50), mann_whitney_z(high.numpy(), low.repeat(3).numpy())
    found = c_t(fake=fake, real=real, fake_cells=fake_cells, real_cells=real_cells)
    assert found.value == pytest.approx((30 * first + 90 * second) / 120)
    assert found.left_out == pytest.approx(40 / 160)


def test_no_cell_that_is_large_enough_gives_no_value() -> None:
    few = torch.arange(10.0)
    assert c_t(fake=few, real=few, fake_cells=few.long(), real_cells=few.long()) == CopyTest(None, 1.0)


def test_cells_without_labels_are_clusters_and_always_the_same() -> None:
    (train, _), (fake, labels) = (clustered(400, seed=seed) for seed in range(2))
    centres = centres_of(train, num_cells=4)
    found = nearest(fake, centres, k=1)[1][:, 0]
    for label in range(4):
        assert len(found[labels == label].unique()) == 1
    assert found.unique().tolist() == [0, 1, 2, 3]
    assert torch.equal(centres, centres_of(train, num_cells=4))
