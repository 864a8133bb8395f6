"""Precision, recall, density and coverage against written-out definitions, closed forms and published toy values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ganline.errors import DataError
from ganline.evaluation import neighbours
from ganline.evaluation.neighbours import nearest
from ganline.evaluation.prdc import prdc, radii


def normal(n: int, f: int, *, seed: int) -> torch.Tensor:
    return torch.randn(n, f, generator=torch.Generator().manual_seed(seed))


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sqrt(((a[:, None].astype(np.float64) - b[None].astype(np.float64)) ** 2).sum(-1))


def written_out(fake: torch.Tensor, real: torch.Tensor, k: int) -> dict[str, float]:
    """The definitions, over all pairs in float64 differences."""
    f, r = fake.numpy(), real.numpy()
    reach_r, reach_f = (np.sort(distances(x, x), axis=1)[:, k] for x in (r, f))
    between = distances(r, f)
    in_real, in_fake = between < reach_r[:, None], between < reach_f[None]
    return {
        "precision": in_real.any(0).mean(),
        "recall": in_fake.any(1).mean(),
        "density": in_real.sum() / (k * len(f)),
        "coverage": in_real.any(1).mean(),
    }


def test_a_line_of_points_gives_what_is_counted_by_hand() -> None:
    real, fake = torch.tensor([[0.0], [1.0], [2.0], [10.0]]), torch.tensor([[0.5], [3.5], [30.0]])
    assert radii(real, k=1).tolist() == [1, 1, 1, 8]
    assert radii(fake, k=1).tolist() == [3, 3, 26.5]
    # In real balls: 0.5 in those of 0 and 1, 3.5 in that of 10. In fake ones: 0, 1, 2 in that of 0.5, 10 in that of 30.
    expected = {"precision": 2 / 3, "recall": 1.0, "density": 1.0, "coverage": 3 / 4}
    assert prdc(fake, real, k=1) == pytest.approx(expected)


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_it_is_the_definition_also_far_from_the_origin(k: int, offset: float) -> None:
    real, fake = normal(300, 7, seed=0) + offset, normal(250, 7, seed=1) * 0.8 + offset
    assert prdc(fake, real, k=k) == pytest.approx(written_out(fake, real, k), abs=1e-12)


@pytest.mark.parametrize("block", [1, 999, 2**21])
def test_the_size_of_blocks_does_not_matter(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real, fake = normal(120, 6, seed=0), normal(110, 6, seed=1)
    whole = prdc(fake, real, k=3)
    monkeypatch.setattr(neighbours, "BLOCK", block)
    assert prdc(fake, real, k=3) == whole


def test_a_set_has_density_one_and_full_coverage_in_itself() -> None:
    x = normal(500, 32, seed=0)
    assert prdc(x, x.clone(), k=5) == {"precision": 1.0, "recall": 1.0, "density": 1.0, "coverage": 1.0}


def test_repeated_images_and_ties_are_counted_as_in_the_definition() -> None:
    grid = torch.cartesian_prod(torch.arange(6.0), torch.arange(6.0))
    real, fake = torch.cat([grid, grid[:9], grid[:9]]), torch.cat([grid[5:20], grid[5:9], grid[5:9] + 0.5])
    for k in (1, 2, 3, 5):
        assert prdc(fake, real, k=k) == pytest.approx(written_out(fake, real, k), abs=1e-12)


def test_more_repeats_than_spare_candidates_change_nothing() -> None:
    collapsed = torch.cat([normal(1, 4, seed=0).expand(60, 4), normal(40, 4, seed=1)])
    real = normal(80, 4, seed=2)
    assert prdc(collapsed, real, k=3) == pytest.approx(written_out(collapsed, real, 3), abs=1e-12)
    assert radii(collapsed, k=3)[:60].eq(0).all()


def test_known_radii_change_nothing() -> None:
    real, fake = normal(90, 5, seed=0), normal(70, 5, seed=1)
    assert prdc(fake, real, k=2, real_radii=radii(real, k=2)) == prdc(fake, real, k=2)


def test_equal_distributions_have_density_one_and_the_coverage_of_theory() -> None:
    n, k, draws = 1000, 5, 12
    found = [prdc(normal(n, 16, seed=2 * i), normal(n, 16, seed=2 * i + 1), k=k) for i in range(draws)]
    coverage = 1 - np.prod([(n - i) / (2 * n - i) for i in range(1, k + 1)])
    for name, expected in (("density", 1.0), ("coverage", coverage)):
        values = np.array([each[name] for each in found])
        assert abs(values.mean() - expected) < 4 * values.std(ddof=1) / np.sqrt(draws), name


def test_they_fall_with_what_they_measure() -> None:
    real, good = normal(1000, 8, seed=0), normal(1000, 8, seed=1)
    narrow, wide = prdc(good * 0.5, real), prdc(good * 2, real)
    base = prdc(good, real)
    assert narrow["precision"] >= base["precision"]
    assert narrow["recall"] < 0.5 * base["recall"]
    assert narrow["coverage"] < 0.8 * base["coverage"]
    assert wide["precision"] < 0.5 * base["precision"]
    assert wide["density"] < 0.5 * base["density"]


@pytest.mark.slow
def test_the_published_toy_example_comes_out() -> None:
    """README of clovaai/generative-evaluation-prdc, no seed given: normal in 1000 dimensions, 10k and 10k, k = 5.

    Eight other seeds: precision 0.457 to 0.480, recall 0.463 to 0.495, density 0.887 to 1.040, coverage 0.956 to 0.974;
    with k = 4 precision and recall are 0.04 lower, with k = 6 as much higher.
    """
    found = prdc(normal(10_000, 1000, seed=0), normal(10_000, 1000, seed=1), k=5)
    published = {
        "precision": (0.4772, 0.03),
        "recall": (0.4705, 0.03),
        "density": (1.0555, 0.2),
        "coverage": (0.9735, 0.02),
    }
    for name, (value, spread) in published.items():
        assert found[name] == pytest.approx(value, abs=spread), name


def test_neighbours_are_those_of_a_full_sort() -> None:
    queries, candidates = normal(50, 6, seed=0), normal(200, 6, seed=1)
    found, rows = nearest(queries, candidates, k=4)
    every = distances(queries.numpy(), candidates.numpy())
    assert found.dtype == torch.float64
    np.testing.assert_array_equal(rows.numpy(), np.argsort(every, axis=1)[:, :4])
    np.testing.assert_allclose(found.numpy(), np.sort(every, axis=1)[:, :4], rtol=1e-14)


def test_neighbours_that_float32_cannot_tell_apart_are_found() -> None:
    """A hundred candidates whose squared distances from afar differ in the ninth digit."""
    candidates = torch.cat([torch.full((100, 1), 1e4), torch.linspace(1.0, 1.1, 100)[:, None]], dim=1).double()
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    _, rows = nearest(torch.zeros(1, 2).double(), candidates[order], k=5)
    assert order[rows[0]].tolist() == [0, 1, 2, 3, 4]


def test_of_equally_near_images_the_first_is_taken() -> None:
    candidates = torch.ones(40, 3)
    found, rows = nearest(torch.ones(2, 3), candidates, k=3)
    assert rows.tolist() == [[0, 1, 2]] * 2
    assert found.eq(0).all()


def test_a_few_repeats_among_others_come_in_their_order_too() -> None:
    candidates = normal(300, 3, seed=0) + 20
    repeats = [7, 41, 90, 133, 202, 290]
    candidates[repeats] = 0.0
    _, rows = nearest(torch.zeros(1, 3), candidates, k=3)
    assert rows.tolist() == [repeats[:3]]


def test_more_neighbours_than_images_are_refused() -> None:
    with pytest.raises(DataError, match="6 neighbours among 5"):
        radii(normal(5, 3, seed=0), k=5)


def test_equal_rows_of_a_collapsed_generator_have_the_neighbours_that_each_alone_has() -> None:
    """More equal rows than candidates are screened: which of them is nearest is decided exactly, once for all."""
    candidates = torch.randn(300, 6, generator=torch.Generator().manual_seed(0))
    collapsed = candidates[7].repeat(200, 1)
    everything = torch.cat([collapsed, candidates])
    distances, rows = nearest(collapsed, everything, k=3)
    assert rows.tolist() == [[0, 1, 2]] * 200 and distances.max() == 0
    alone, own = nearest(candidates[:1], everything, k=3)
    again, rows = nearest(candidates[:1].repeat(50, 1), everything, k=3)
    assert torch.equal(again, alone.repeat(50, 1)) and torch.equal(rows, own.repeat(50, 1))
