"""Intervals against textbook values, and their coverage in repeated draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ganline.errors import GateError
from ganline.evaluation.uncertainty import (
    crossed_interval,
    paired_difference,
    paired_differences,
    paired_intervals,
    quantile,
    spread,
    t_interval,
)


def test_the_interval_of_ten_values_is_students() -> None:
    values = [float(value) for value in range(10)]  # mean 4.5, sd 3.0277, t(9) = 2.262
    assert t_interval(values) == pytest.approx(
        (4.5 - 2.2622 * 3.02765 / 10**0.5, 4.5 + 2.2622 * 3.02765 / 10**0.5), rel=1e-4
    )
    assert spread(values)["std"] == pytest.approx(3.02765, rel=1e-5)
    assert quantile(1) == pytest.approx(12.706, rel=1e-4)


def test_intervals_hold_the_true_mean_in_95_percent_of_draws() -> None:
    rng = np.random.default_rng(0)
    held = [low < 0.0 < high for low, high in (t_interval(rng.normal(size=10)) for _ in range(2000))]
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)


def test_crossed_intervals_hold_it_at_least_as_often_whatever_the_halves_do() -> None:
    rng = np.random.default_rng(0)
    for half in (0.0, 0.3, 1.0, 3.0):  # standard deviation of the halves' own effect; seeds' noise is 1
        tables = (rng.normal(size=(10, 2)) + half * rng.normal(size=2) for _ in range(2000))
        held = [low < 0.0 < high for low, high in map(crossed_interval, tables)]
        assert np.mean(held) > 0.94, half


def test_halves_that_disagree_widen_the_interval() -> None:
    agreed = np.full((10, 2), -1.0) + np.linspace(-0.05, 0.05, 10)[:, None]
    split = agreed + np.array([-0.2, 0.2])
    assert crossed_interval(agreed)[1] < -0.9
    assert crossed_interval(split)[1] > 0.0


def test_a_difference_without_any_spread_is_its_own_interval() -> None:
    assert crossed_interval(np.full((10, 2), 0.25)) == (0.25, 0.25)


def record(values: list[float], **more: Any) -> dict[str, Any]:
    seeds = list(range(1, len(values) + 1))
    return {
        "name": "fd_x_n100",
        "n": 100,
        "split": "test",
        "seeds": seeds,
        "value": float(np.mean(values)),
        "per_seed": dict(zip(map(str, seeds), values, strict=True)),
    } | more


def test_pairs_cancel_what_both_models_share() -> None:
    shared = np.random.default_rng(0).normal(size=10) * 5
    worse, better = record(list(shared + 1.0)), record(list(shared + 0.5 + 0.01 * np.arange(10)))
    found = paired_difference("fd", worse, better)
    assert found.value == pytest.approx(-0.455) and found.is_sure and found.high < -0.4
    assert (found.champion, found.challenger) == (worse["value"], better["value"])
    assert found.halves is None


def test_halves_are_compared_where_both_have_them() -> None:
    seeds = [str(seed) for seed in range(1, 11)]
    a = record([2.0] * 10, per_half={seed: [3.0, 4.0] for seed in seeds})
    b = record([1.0] * 10, per_half={seed: [2.0, 3.5] for seed in seeds})
    found = paired_difference("fd", a, b)
    assert found.halves == (-1.0, -0.5) and found.value == -0.75


def test_intervals_over_seeds_are_of_all_real_images_then_of_each_half() -> None:
    noise = np.array([0.1, -0.1] * 5)
    seeds = [str(seed) for seed in range(1, 11)]
    a = record([2.0] * 10, per_half={seed: [3.0, 4.0] for seed in seeds})
    halves = {seed: [2.0 + own, 4.5 + own] for seed, own in zip(seeds, noise, strict=True)}
    b = record(list(1.0 + noise), per_half=halves)
    found = paired_intervals("fd", a, b)
    assert found[0] == pytest.approx(t_interval(list(noise - 1.0)))
    assert found[1] == pytest.approx(t_interval(list(noise - 1.0)))
    assert found[2] == pytest.approx(t_interval(list(noise + 0.5)))
    assert len(paired_intervals("recall", record([2.0, 2.1]), record([1.0, 1.2]))) == 1
    with pytest.raises(GateError, match="two protocols"):
        paired_intervals("fd", a, b | {"n": 50})


@pytest.mark.parametrize(("part", "value"), [("n", 50), ("split", "val"), ("name", "fd_y_n100"), ("seeds", [4, 5])])
def test_figures_of_two_protocols_are_not_paired(part: str, value: Any) -> None:
    with pytest.raises(GateError, match=f"two protocols: {part}"):
        paired_difference("fd", record([1.0, 2.0]), record([1.0, 2.0]) | {part: value})


def test_only_figures_that_both_have_for_every_seed_are_paired() -> None:
    a = {"fd": record([1.0, 2.0]), "recall": record([0.5, 0.6]), "dataset": "mnist", "cas": {"name": "cas", "value": 1}}
    b = {"fd": record([1.5, 2.5]), "dataset": "mnist", "cas": {"name": "cas", "value": 1}}
    assert list(paired_differences(a, b)) == ["fd"]
