"""The panel's protocol: names, N, seeds, floors; what a smaller N changes; the reference as an artifact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ganline.data.loader import Prepared
from ganline.devices import pick
from ganline.errors import BundleError, GateError
from ganline.evaluation.features import FIRST, SECOND, Features, look, random_rows, split_batches
from ganline.evaluation.frechet import fit_gaussian, frechet_distance
from ganline.evaluation.kid import kernel_distance
from ganline.evaluation.names import count_name, full_name, metric_of, role_of
from ganline.evaluation.panel import first_of, floor_figures, measure
from ganline.evaluation.reference import Reference, load_reference, save_reference
from ganline.models.spec import Generator
from tests.unit.evaluation.conftest import N

CPU = pick("fp32")


class Memory(Generator):
    """A class-conditional generator that paints training images of the class that is asked for."""

    z_dim, num_classes = 4, 10

    def __init__(self, prepared: Prepared):
        super().__init__()
        train = prepared.split("train")
        self.images = torch.from_numpy(np.array(train.images)).float() / 127.5 - 1
        self.of_class = [torch.from_numpy(np.flatnonzero(train.labels == k)) for k in range(10)]

    def forward(self, z: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
        assert label is not None
        draws = (z[:, 0].abs() * 1e5).long()
        rows = [self.of_class[k][draw % len(self.of_class[k])] for k, draw in zip(label.tolist(), draws, strict=True)]
        return self.images[torch.stack(rows)]


def panel(mnist: Prepared, extractors: dict, real: Reference, *, n: int | None = None, seeds=(1, 2, 3)) -> dict:
    return measure(
        Memory(mnist),
        num_classes=10,
        extractors=extractors,
        real=real,
        seeds=seeds,
        n=n,
        memorisation_n=200,
        compute=CPU,
    )


@pytest.fixture(scope="module")
def records(mnist, extractors, real) -> dict:
    return panel(mnist, extractors, real)


def test_every_figure_carries_its_protocol(records, extractors) -> None:
    assert {"fd", "kid", "precision", "recall", "density", "coverage", "fd_second", "kid_second", "recall_second"} <= (
        records.keys()
    )
    assert {"class_coverage", "class_entropy", "class_kl", "label_accuracy", "intra_class_diversity"} <= records.keys()
    assert {"copied_share", "c_t", "sharpness", "noise", "contrast", "brightness"} <= records.keys()
    for key, record in records.items():
        assert (record["split"], record["seeds"]) == ("test", [1, 2, 3]), key
        assert record["per_seed"].keys() == {"1", "2", "3"}, key
        low, high = record["interval"]
        assert low <= record["value"] <= high, key
        assert record["value"] == pytest.approx(np.mean(list(record["per_seed"].values()))), key
        assert record["better"] in ("lower", "higher", "real"), key
        assert record["floor"] is not None, key
        assert record["n"] == (200 if key in ("copied_share", "c_t") else N), key
    first, second = extractors[FIRST].name, extractors[SECOND].name
    assert records["fd"]["name"] == f"fd_{first}_n1k"
    assert records["kid_second"]["name"] == f"kid_{second}_n1k"
    assert records["copied_share"]["name"] == f"copied_share_{first}_n200"
    assert records["sharpness"]["name"] == "sharpness_n1k" and "extractor" not in records["sharpness"]
    assert records["fd"]["ratio"] == pytest.approx(records["fd"]["value"] / records["fd"]["floor"])


def test_a_generator_of_training_images_is_real_and_is_told_to_copy(records) -> None:
    assert records["fd"]["ratio"] < 2
    assert records["copied_share"]["value"] > 0.95 and records["c_t"]["value"] < -3
    assert records["class_coverage"]["value"] == 1.0 and records["class_coverage"]["missing"] == []
    assert records["class_coverage"]["per_class"].keys() == set("0123456789")
    assert records["label_accuracy"]["value"] > 0.9


def test_halves_are_disjoint_images_against_disjoint_references(mnist, extractors, real, records) -> None:
    from ganline.models.sampling import sample

    made = look(
        sample(Memory(mnist), n=N, seed=2, num_classes=10, compute=CPU, label_weights=real.train_histogram), extractors
    )
    for i, part in enumerate((slice(N // 2), slice(N // 2, N))):
        fake, target = made.by[FIRST][part], real.test.by[FIRST][part]
        expected = frechet_distance(fit_gaussian(fake), fit_gaussian(target))
        assert records["fd"]["per_half"]["2"][i] == pytest.approx(expected)
        assert records["kid"]["per_half"]["2"][i] == pytest.approx(kernel_distance(fake, target))
    assert records["kid"]["per_seed"]["2"] == pytest.approx(kernel_distance(made.by[FIRST], real.test.by[FIRST]))


def test_a_smaller_n_is_a_protocol_of_its_own_with_its_own_floor(mnist, extractors, real, records) -> None:
    few = panel(mnist, extractors, real, n=400)
    assert few["fd"]["name"].endswith("_n400") and few["fd"]["n"] == 400
    assert few["fd"]["floor"] == pytest.approx(floor_figures(first_of(real, 400))["fd"])
    assert few["fd"]["floor"] > 1.3 * records["fd"]["floor"]  # fewer images, larger distance
    assert first_of(real, real.n) is real


def test_more_images_than_the_reference_has_are_refused(mnist, extractors, real) -> None:
    with pytest.raises(GateError, match="1001 images a seed were asked for, but the reference holds 1000"):
        panel(mnist, extractors, real, n=1001)


def test_of_very_few_images_what_cannot_be_told_is_left_out(mnist, extractors, real) -> None:
    few = panel(mnist, extractors, real, n=16)
    assert "intra_class_diversity" not in few and few["fd"]["n"] == 16
    floors = first_of(real, 16).floors
    assert "intra_class_diversity" not in floors and np.isfinite(list(floors.values())).all()


def test_the_same_seeds_give_the_same_figures(mnist, extractors, real, records) -> None:
    assert panel(mnist, extractors, real) == records


def test_a_reference_is_what_was_saved(real, extractors, tmp_path: Path) -> None:
    save_reference(real, tmp_path / "again", real.floors)
    again = load_reference(tmp_path / "again", torch.device("cpu"), extractors)
    assert again.sha256 == real.sha256 and again.floors == real.floors and again.labels == real.labels
    for part in ("test", "floor", "train", "val"):
        mine, theirs = getattr(real, part), getattr(again, part)
        assert mine.by.keys() == theirs.by.keys()
        assert all(torch.equal(mine.by[role], theirs.by[role]) for role in mine.by)
        assert (mine.pixels is None) == (theirs.pixels is None)
    assert torch.equal(real.kernel_terms[FIRST], again.kernel_terms[FIRST])


def test_a_reference_of_other_extractors_is_refused(real, extractors, tmp_path: Path) -> None:
    other = replace(real, extractors={**real.extractors, SECOND: "rotation_digits@00000000"})
    save_reference(other, tmp_path / "other", {})
    with pytest.raises(BundleError, match=r"was made with .*rotation_digits@00000000"):
        load_reference(tmp_path / "other", torch.device("cpu"), extractors)


def test_the_floor_of_sorted_data_is_that_of_shuffled_data(mnist, extractors, real) -> None:
    """Stored images are often sorted by class: rows are drawn at random, never the first ones."""
    train = mnist.split("train")
    in_order = np.argsort(train.labels, kind="stable")[:N]
    first = look(split_batches(train, in_order, device=torch.device("cpu")), {FIRST: extractors[FIRST]})
    distance = frechet_distance(fit_gaussian(first.by[FIRST]), fit_gaussian(real.test.by[FIRST]))
    assert distance > 20 * real.floors["fd"]


def test_random_rows_are_distinct_fixed_and_per_stream() -> None:
    a = random_rows(50, 20, "a")
    assert len(set(a.tolist())) == 20
    assert np.array_equal(a, random_rows(50, 20, "a"))
    assert not np.array_equal(a, random_rows(50, 20, "b"))


def test_of_a_thousand_classes_only_a_few_missing_ones_are_named(real) -> None:
    from ganline.evaluation.panel import per_class

    labels = [f"{number:03d}" for number in range(1000)]
    told = per_class(
        "class_coverage",
        [torch.cat([torch.full((700,), 1 / 700), torch.zeros(300)]).double()],
        labels,
        torch.ones(1000),
    )
    assert told == {"missing": labels[700:720], "num_missing": 300}
    assert (
        per_class("label_accuracy", [torch.ones(3).double()], ["a", "b", "c"], torch.ones(3))["per_class"]["b"] == 1.0
    )


def test_names_are_taken_apart_as_they_were_made() -> None:
    for metric in ("fd", "kid", "coverage", "density"):
        for role in (FIRST, SECOND, "dinov2-vits14"):
            key = metric if role == FIRST else f"{metric}_{role}"
            assert (metric_of(key), role_of(key)) == (metric, role)
    assert metric_of("class_coverage") == "class_coverage" and role_of("c_t") == FIRST
    assert full_name("fd_inception2015", "inception2015", 10_000) == "fid10k_inception2015"
    assert full_name("fd_inception2015", "inception2015-unpublished@12", 50) == "fd_inception2015-unpublished@12_n50"
    assert [count_name(n) for n in (10_000, 512, 1500)] == ["10k", "512", "1500"]


def test_some_rows_of_features_keep_everything_together() -> None:
    whole = Features(
        {FIRST: torch.arange(6.0)[:, None]}, torch.arange(6), torch.arange(6) + 10, {"noise": torch.arange(6.0)}
    )
    a, b = whole.halves()
    assert a.by[FIRST].flatten().tolist() == [0, 1, 2] and b.labels is not None and b.labels.tolist() == [13, 14, 15]
    assert b.pixels is not None and b.pixels["noise"].tolist() == [3, 4, 5] and len(b) == 3


def test_labels_are_drawn_as_often_as_training_images_have_them() -> None:
    from ganline.models.sampling import random_labels

    weights = torch.tensor([900, 90, 0, 10])
    drawn = torch.cat([random_labels(7, chunk, 4, weights) for chunk in range(100)])
    shares = torch.bincount(drawn, minlength=4) / len(drawn)
    assert shares.tolist() == pytest.approx([0.9, 0.09, 0.0, 0.01], abs=0.02) and shares[2] == 0
    assert torch.equal(random_labels(7, 3, 4, weights), random_labels(7, 3, 4, weights))
