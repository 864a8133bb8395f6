"""Floors and references do not depend on how stored images are sorted."""

from __future__ import annotations

import numpy as np
import pytest

from ganline.evaluation.frechet import fit_gaussian
from ganline.evaluation.measure import (
    Fakes,
    Reference,
    class_records,
    count_name,
    distance_record,
    nearest,
    random_rows,
)

RNG = np.random.default_rng(0)


def clustered(n: int) -> np.ndarray:
    """Features of n images of ten classes, sorted by class."""
    centres = RNG.normal(size=(10, 6)) * 5
    return np.repeat(centres, n // 10, axis=0) + RNG.normal(size=(n, 6))


def test_the_floor_of_sorted_data_is_that_of_shuffled_data() -> None:
    everything = RNG.permutation(clustered(4000))
    test, train = everything[:1000], everything[1000:]
    order = np.argsort(train[:, 0])
    rows = random_rows(3000, 1000, "floor")
    shuffled = Reference("test", test, train, rows).floor()
    in_order = Reference("test", test, train[order], rows).floor()
    first = Reference("test", test, train[order], np.arange(1000)).floor()
    assert max(in_order, shuffled) < 2.0
    assert first > 20 * max(in_order, shuffled)


def test_random_rows_are_distinct_fixed_and_per_stream() -> None:
    a = random_rows(50, 20, "a")
    assert len(set(a.tolist())) == 20
    assert np.array_equal(a, random_rows(50, 20, "a"))
    assert not np.array_equal(a, random_rows(50, 20, "b"))


def test_a_distance_carries_its_protocol() -> None:
    real = clustered(200)
    fakes = {seed: Fakes(clustered(200), np.zeros(200, np.int64), None) for seed in (1, 2, 3)}
    reference = Reference("test", real, clustered(400), random_rows(400, 200, "floor"))
    record = distance_record(reference, fit_gaussian(real), fakes, "x@12345678")
    assert record["name"] == "fd_x@12345678_n200"
    assert record["value"] == pytest.approx(np.mean(list(record["per_seed"].values())))
    assert record["ratio"] == pytest.approx(record["value"] / record["floor"])
    assert {"std", "floor", "n", "split", "per_seed"} <= record.keys()


def test_a_missing_class_is_named() -> None:
    seen = RNG.integers(0, 2, 300)
    record = class_records({1: Fakes(np.zeros((300, 2)), seen, None)}, ("a", "b", "c"), "x")["class_coverage"]
    assert record["missing"] == ["c"] and record["num_missing"] == 1
    assert record["histogram"].keys() == {"a", "b", "c"}
    assert record["value"] == pytest.approx(2 / 3)


def test_of_a_thousand_classes_only_a_few_missing_ones_are_named() -> None:
    labels = [f"{number:03d}" for number in range(1000)]
    seen = np.repeat(np.arange(700), 10)
    records = class_records({1: Fakes(np.zeros((7000, 2)), seen, seen)}, labels, "x")
    coverage = records["class_coverage"]
    assert coverage["value"] == pytest.approx(0.7) and coverage["num_missing"] == 300
    assert coverage["missing"] == labels[700:720] and "histogram" not in coverage
    assert records["label_accuracy"]["value"] == 1.0 and "per_class" not in records["label_accuracy"]


def test_the_first_of_many_are_what_a_shorter_run_gives() -> None:
    many = Fakes(RNG.normal(size=(6, 2)), np.arange(6), np.arange(6) % 2)
    few = many.first(4)
    assert few.features.shape == (4, 2) and few.seen.tolist() == [0, 1, 2, 3]
    assert few.asked is not None and few.asked.tolist() == [0, 1, 0, 1]
    assert Fakes(many.features, many.seen, None).first(2).asked is None


def test_label_accuracy_compares_what_was_asked_with_what_is_seen() -> None:
    asked = np.array([0, 1, 2, 0])
    seen = np.array([0, 1, 1, 0])
    record = class_records({1: Fakes(np.zeros((4, 2)), seen, asked)}, ("a", "b", "c"), "x")["label_accuracy"]
    assert record["value"] == 0.75
    assert record["per_class"] == {"a": 1.0, "b": 1.0, "c": 0.0}


def test_the_nearest_of_a_copy_is_its_original() -> None:
    train = RNG.normal(size=(100, 8))
    assert nearest(train[[5, 17]] + 1e-6, train).tolist() == [5, 17]


def test_counts_are_named_as_people_say_them() -> None:
    assert [count_name(n) for n in (10_000, 512, 1500)] == ["10k", "512", "1500"]
