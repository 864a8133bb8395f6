"""Modes and their divergence against closed forms; the classifier that looks at one channel at a time."""

from __future__ import annotations

import math
from copy import copy
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ganline.data.loader import Prepared, Split
from ganline.devices import pick
from ganline.errors import GateError
from ganline.evaluation.classes import divergence
from ganline.evaluation.config import ExtractorConfig
from ganline.evaluation.extractor import Extractor, FeatureNet, PerChannel, channel_classes, train_extractor
from ganline.evaluation.features import FIRST, look, split_batches
from ganline.evaluation.modes import mode_records, num_covered
from ganline.evaluation.panel import measure
from ganline.evaluation.reference import build_reference
from ganline.files import write_json
from ganline.models.spec import Generator
from ganline.registry.card import metric_rows

THOUSAND = torch.ones(1000)
LABELS = tuple(f"{number:03d}" for number in range(1000))
BINARY = tuple("".join(each) for each in product("01", repeat=3))


def test_the_uniform_histogram_covers_all_modes_without_divergence() -> None:
    seen = torch.arange(1000).repeat(26)
    assert num_covered(seen) == 1000
    assert divergence(torch.bincount(seen, minlength=1000), THOUSAND) == pytest.approx(0.0, abs=1e-12)


def test_a_single_class_is_one_mode_and_diverges_by_the_logarithm_of_their_number() -> None:
    seen = torch.full((26_000,), 407)
    assert num_covered(seen) == 1
    assert divergence(torch.bincount(seen, minlength=1000), THOUSAND) == pytest.approx(math.log(1000))


@pytest.mark.parametrize("k", [1, 10, 500, 1000])
def test_k_equal_modes_of_a_thousand_diverge_by_the_logarithm_of_their_share(k: int) -> None:
    assert divergence(torch.tensor([7] * k + [0] * (1000 - k)), THOUSAND) == pytest.approx(math.log(1000 / k), abs=1e-9)


def test_the_divergence_is_from_generated_to_reference() -> None:
    p, q = torch.tensor([3, 1]), torch.tensor([50, 50])
    assert divergence(p, q) == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert divergence(q, p) == pytest.approx(0.5 * math.log(2 / 3) + 0.5 * math.log(2))
    assert divergence(torch.tensor([1, 0]), torch.tensor([1, 1])) == pytest.approx(math.log(2))
    assert divergence(torch.tensor([1, 1]), torch.tensor([1, 0])) == math.inf


def test_counting_alone_costs_what_the_docstring_says() -> None:
    torch.manual_seed(0)
    draws = [torch.randint(1000, (26_000,)) for _ in range(5)]
    found = np.mean([divergence(torch.bincount(seen, minlength=1000), THOUSAND) for seen in draws])
    assert found == pytest.approx(999 / 52_000, rel=0.1)


def test_joint_logits_name_the_combination_and_their_cross_entropy_is_the_sum_of_the_channels() -> None:
    torch.manual_seed(0)
    net = FeatureNet(channels=1, resolution=16, width=4, feature_dim=8, num_classes=10).eval()
    images, digits = torch.rand(6, 3, 16, 16) * 2 - 1, torch.randint(10, (6, 3))
    joint, features = PerChannel(net)(images)
    assert joint.shape == (6, 1000) and features.shape == (6, 24)
    own = [net(images[:, channel : channel + 1]) for channel in range(3)]
    torch.testing.assert_close(features, torch.cat([each for _, each in own], dim=1))
    modes = [int("".join(str(int(logits[row].argmax())) for logits, _ in own)) for row in range(6)]
    assert joint.argmax(1).tolist() == modes
    torch.testing.assert_close(joint.exp().sum(1), torch.ones(6))
    for smoothing in (0.0, 0.1):
        together = nn.functional.cross_entropy(joint, digits @ torch.tensor([100, 10, 1]), label_smoothing=smoothing)
        apart = [
            nn.functional.cross_entropy(logits, digits[:, channel], label_smoothing=smoothing)
            for channel, (logits, _) in enumerate(own)
        ]
        torch.testing.assert_close(together, sum(apart, torch.zeros(())))


def test_a_class_of_a_channel_is_a_character_of_the_label() -> None:
    assert channel_classes(LABELS, channels=3) == "0123456789"
    assert channel_classes(BINARY, channels=3) == "01"


@pytest.mark.parametrize(
    ("labels", "channels"),
    [(LABELS[:-1], 3), (LABELS[::-1], 3), (LABELS, 1), (("cat", "dog"), 3), (("T-shirt/top", "Bag"), 1)],
)
def test_labels_that_are_not_one_character_a_channel_are_refused(labels: tuple[str, ...], channels: int) -> None:
    with pytest.raises(GateError, match=rf"^{len(labels)} labels"):
        channel_classes(labels, channels=channels)


def records_of(seen: dict[int, torch.Tensor], real: torch.Tensor, train: torch.Tensor) -> dict:
    return mode_records(
        seen,
        train_histogram=torch.bincount(train, minlength=4),
        real_seen=real,
        real_labels=real,
        extractor="stub@12345678",
        split="test",
    )


EVEN = torch.arange(400) % 4


def test_modes_carry_their_protocol_and_a_floor_of_real_images() -> None:
    seen = {1: EVEN, 2: torch.zeros(400, dtype=torch.int64), 3: torch.arange(400) % 2}
    records = records_of(seen, EVEN, EVEN)
    modes, kl = records["modes"], records["modes_kl"]
    assert (modes["name"], kl["name"]) == ("modes_stub@12345678_n400", "modes_kl_stub@12345678_n400")
    assert modes["per_seed"] == {"1": 4, "2": 1, "3": 2} and modes["value"] == pytest.approx(7 / 3)
    assert kl["per_seed"] == pytest.approx({"1": 0.0, "2": math.log(4), "3": math.log(2)}, abs=1e-9)
    assert kl["value"] == pytest.approx(math.log(2)) == modes["kl"] == kl["value_from_uniform"]
    assert (modes["floor"], kl["floor"]) == (4, pytest.approx(0.0, abs=1e-9))
    for record in records.values():
        assert (record["n"], record["floor_n"], record["num_modes"], record["seeds"]) == (400, 400, 4, [1, 2, 3])
        assert record["extractor_accuracy"] == 1.0 and record["std"] > 0


def test_the_floor_uses_as_many_real_images_as_there_are() -> None:
    few = records_of({1: EVEN, 2: EVEN}, EVEN[:90], EVEN)
    assert (few["modes"]["n"], few["modes"]["floor_n"]) == (400, 90)


def test_a_reference_without_a_class_has_no_divergence_and_says_so() -> None:
    with pytest.raises(GateError, match="1 of 4 classes have no training image"):
        records_of({1: EVEN, 2: EVEN}, EVEN, EVEN % 3)


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Three noisy channels, each dark (0) or bright (1) in the middle: eight modes, labels 000 to 111."""
    folder = tmp_path_factory.mktemp("stacks")
    rng = np.random.default_rng(0)
    for name, count in (("train", 600), ("val", 80), ("test", 200)):
        bits = rng.integers(0, 2, (count, 3))
        images = rng.integers(0, 60, (count, 3, 16, 16)) + 0
        images[:, :, 4:12, 4:12] += 150 * bits[:, :, None, None]
        np.save(folder / f"{name}_images.npy", images.astype(np.uint8))
        np.save(folder / f"{name}_labels.npy", bits @ (4, 2, 1))
    write_json(folder / "dataset.json", {"name": "bits", "labels": list(BINARY), "resolution": 16, "channels": 3})
    return Prepared(folder)


TINY = ExtractorConfig(task="channels", width=4, feature_dim=8, epochs=8, batch=32, min_accuracy=0.9)


@pytest.fixture(scope="module")
def trained(stacks: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("extractor") / "out"
    train_extractor(stacks, TINY, out, pick("fp32"))
    return out


def test_a_channels_extractor_learns_is_named_and_read_back(stacks: Prepared, trained: Path) -> None:
    extract = Extractor.load(trained, pick("fp32"))
    assert extract.name.startswith("channels_bits@") and extract.classifies
    assert extract.meta["net"]["channels"] == 1 and extract.meta["net"]["num_classes"] == 2
    test = stacks.split("test")
    features, logits = extract(torch.from_numpy(np.array(test.images)))
    assert features.shape == (200, 24) and logits.shape == (200, 8)
    assert (logits.argmax(1).numpy() == test.labels).mean() > 0.9
    seen = look(split_batches(test, device=torch.device("cpu")), {FIRST: extract})
    assert seen.classes is not None and seen.classes.tolist() == logits.argmax(1).tolist()
    torch.testing.assert_close(seen.by[FIRST], features, rtol=1e-4, atol=1e-5)


def test_labels_that_do_not_name_channels_stop_a_channels_extractor(stacks: Prepared, tmp_path: Path) -> None:
    other = copy(stacks)
    other.labels = ("cat", "dog")
    with pytest.raises(GateError, match="2 labels such as cat, dog do not name a class for each channel"):
        train_extractor(other, TINY, tmp_path / "out", pick("fp32"))


class Real(Generator):
    """A generator that repeats the first `num` training images."""

    z_dim = 4

    def __init__(self, split: Split, num: int):
        super().__init__()
        self.images = torch.from_numpy(np.array(split.images[:num])).float() / 127.5 - 1

    def forward(self, z: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
        return self.images[(z[:, 0].abs() * 1e5).long() % len(self.images)]


def measured(stacks: Prepared, trained: Path, *, num: int, modes_n: int | None) -> dict:
    looking = {FIRST: Extractor.load(trained, pick("fp32"))}
    real = build_reference(stacks, looking, split="test", n=200, device=torch.device("cpu"))
    return measure(
        Real(stacks.split("train"), num),
        num_classes=0,
        extractors=looking,
        real=real,
        seeds=(1, 2, 3),
        memorisation_n=50,
        modes_n=modes_n,
        whole_split=stacks.split("test"),
        compute=pick("fp32"),
    )


def test_a_generator_of_everything_covers_all_modes_and_one_of_a_single_image_covers_one(
    stacks: Prepared, trained: Path
) -> None:
    good, poor = (measured(stacks, trained, num=num, modes_n=500) for num in (600, 1))
    assert good["modes"]["per_seed"] == {"1": 8, "2": 8, "3": 8} and good["modes"]["floor"] == 8
    assert 0 < good["modes_kl"]["value"] < 0.1 and good["modes_kl"]["floor"] < 0.1
    assert poor["modes"]["value"] == 1 and poor["modes_kl"]["value"] > 1.5
    assert poor["class_coverage"]["n"] == 200 and poor["class_coverage"]["num_missing"] == 7
    assert "; real images 8; of 8" in dict(metric_rows(poor))[poor["modes"]["name"]]


def test_more_samples_for_the_modes_change_no_other_figure(stacks: Prepared, trained: Path) -> None:
    with_modes, without, fewer = (measured(stacks, trained, num=600, modes_n=n) for n in (500, None, 50))
    assert with_modes.keys() - without.keys() == {"modes", "modes_kl"}
    assert with_modes["class_coverage"] == without["class_coverage"] == fewer["class_coverage"]
    for record in (with_modes, fewer):
        assert record["fd"]["value"] == pytest.approx(without["fd"]["value"], rel=1e-4)


def test_modes_of_an_extractor_that_tells_no_classes_are_refused(stacks: Prepared, tmp_path: Path) -> None:
    turns = ExtractorConfig(task="rotation", width=4, feature_dim=8, epochs=0.1, batch=32, min_accuracy=0.0)
    train_extractor(stacks, turns, tmp_path / "out", pick("fp32"))
    with pytest.raises(GateError, match=r"rotation_bits@.* tells no classes apart"):
        measured(stacks, tmp_path / "out", num=600, modes_n=50)
