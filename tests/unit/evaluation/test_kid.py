"""The kernel distance: its formula written out, its expectation, and that blocks do not matter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ganline.errors import DataError
from ganline.evaluation import kid
from ganline.evaluation.kid import cross_term, kernel_distance, self_term


def normal(n: int, f: int, *, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(n, f, generator=torch.Generator().manual_seed(seed)) + shift


def test_the_kernel_of_two_pairs_of_numbers_is_that_of_pen_and_paper() -> None:
    x, y = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [3.0]])
    assert self_term(x) == 27.0  # (1 * 2 + 1)^3
    assert self_term(y) == 1.0
    assert cross_term(x, y) == (1 + 64 + 1 + 343) / 4
    assert kernel_distance(x, y) == 27.0 + 1.0 - 2 * 409 / 4


def test_it_is_the_formula_over_all_pairs() -> None:
    x, y = normal(40, 5, seed=0).double().numpy(), normal(30, 5, seed=1, shift=0.5).double().numpy()
    k_xx, k_yy, k_xy = ((a @ b.T / 5 + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    different = k_xx[~np.eye(40, dtype=bool)].mean() + k_yy[~np.eye(30, dtype=bool)].mean()
    found = kernel_distance(torch.from_numpy(x), torch.from_numpy(y))
    assert found == pytest.approx(different - 2 * k_xy.mean(), rel=1e-12)


@pytest.mark.parametrize("block", [1, 700, 2**21])
def test_the_size_of_blocks_does_not_matter(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = normal(101, 8, seed=0), normal(90, 8, seed=1, shift=0.3)
    whole = kernel_distance(x, y)
    monkeypatch.setattr(kid, "BLOCK", block)
    assert kernel_distance(x, y) == pytest.approx(whole, rel=1e-11)


def test_a_known_real_term_changes_nothing() -> None:
    x, y = normal(50, 4, seed=0), normal(60, 4, seed=1)
    assert kernel_distance(x, y, real_term=self_term(y)) == kernel_distance(x, y)


def test_it_is_symmetric() -> None:
    x, y = normal(50, 4, seed=0), normal(60, 4, seed=1, shift=1.0)
    assert kernel_distance(x, y) == pytest.approx(kernel_distance(y, x), rel=1e-11)


def test_equal_distributions_are_at_zero_on_average_and_others_above() -> None:
    equal = np.array([kernel_distance(normal(100, 6, seed=2 * i), normal(100, 6, seed=2 * i + 1)) for i in range(60)])
    other = [kernel_distance(normal(100, 6, seed=2 * i), normal(100, 6, seed=2 * i + 1, shift=0.5)) for i in range(10)]
    error = equal.std(ddof=1) / np.sqrt(len(equal))
    assert abs(equal.mean()) < 4 * error
    assert (equal < 0).any()  # unbiased, not clipped
    assert min(other) > 10 * error


def test_one_image_is_refused() -> None:
    with pytest.raises(DataError, match="kernel distance of 1"):
        kernel_distance(normal(1, 4, seed=0), normal(9, 4, seed=1))
