"""The gate and the controls on models that were really trained, on 3,500 real digits, a minute each at most."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.gate import Part
from ganline.config import load_config
from ganline.data.loader import Prepared, Split
from ganline.devices import machine, make_exact, pick
from ganline.evaluation.panel import measure
from ganline.evaluation.uncertainty import paired_difference
from ganline.models import Conditioning, ImageSpec
from ganline.models.spec import Generator
from ganline.overlay import merge
from ganline.registry.promotion import Verdict, judge
from ganline.scoring import Scores
from ganline.training.config import TrainConfig
from ganline.training.loop import Run, train
from tests.unit.evaluation.conftest import extractors, mnist, real  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

ROOT = Path(__file__).parents[2]
CPU = pick("fp32")
SMALL = {
    "model": {"name": "pixelshuffle", "z_dim": 16, "g_width": 64, "d_width": 32},
    "checkpoint_seconds": 1e9,
    "watch": {"after_share": 1.0},
}
Measure = Any


def trained(folder: Path, split: Split, section: dict[str, Any], labels: tuple[str, ...]) -> Generator:
    config = TrainConfig.model_validate(
        merge(merge(load_config(ROOT).train.model_dump(mode="json"), SMALL), section | {"precision": "fp32"})
    )
    state = train(
        config,
        split,
        image=ImageSpec(resolution=28, channels=1),
        conditioning=Conditioning(labels=labels),
        run=Run(folder, "test", machine(CPU)),
        compute=CPU,
    )
    return state.G_ema.eval()  # type: ignore[no-any-return]


def without(split: Split, gone: tuple[int, ...]) -> Split:
    """The split with the images of some classes replaced by those of class 1, their labels kept."""
    images, labels = np.array(split.images), split.labels
    ones = np.flatnonzero(labels == 1)
    for k in gone:
        places = np.flatnonzero(labels == k)
        images[places] = images[np.resize(ones, len(places))]
    return Part(images, labels)


@pytest.fixture(scope="module")
def models(mnist: Prepared, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Generator]:  # noqa: F811
    make_exact()
    split = mnist.split("train")
    few = Part(np.array(split.images[:100]), split.labels[:100])
    recipes: dict[str, tuple[Split, dict[str, Any]]] = {
        "early": (split, {"total_kimg": 1.5}),
        "later": (split, {"total_kimg": 40}),
        "dropper": (without(split, (8,)), {"total_kimg": 40}),
        "memoriser": (few, {"total_kimg": 60, "objective": {"r1_gamma": 0.02, "r2_gamma": 0.02}}),
    }
    return {
        name: trained(tmp_path_factory.mktemp(name), data, section, mnist.labels)
        for name, (data, section) in recipes.items()
    }


@pytest.fixture(scope="module")
def scores(models, mnist, extractors, real) -> dict[str, Scores]:  # noqa: F811
    return {name: scored(G, mnist, extractors, real, first_seed=101) for name, G in models.items()}


def scored(G, mnist, extractors, real, *, first_seed: int) -> Scores:  # noqa: F811
    """Scores by ten seeds, told as those of seeds 101 to 110: pairs of the gate."""
    told = {str(first_seed + i): str(101 + i) for i in range(10)}
    records = measure(
        G,
        num_classes=10,
        extractors=extractors,
        real=real,
        seeds=[int(seed) for seed in told],
        memorisation_n=500,
        compute=CPU,
    )
    for record in records.values():
        record["seeds"] = [int(seed) for seed in told.values()]
        for part in ("per_seed", "per_half"):
            if part in record:
                record[part] = {told[seed]: value for seed, value in record[part].items()}
    return Scores(records, 1.0)


def verdict(scores: dict[str, Scores], champion: str, challenger: str) -> Verdict:
    found = judge(scores[champion], scores[challenger], load_config(ROOT).promotion)
    print(f"{champion} <- {challenger}\n{found.table()}")
    return found


def failed(found: Verdict) -> set[str]:
    return {row.rule for row in found.rows if row.passed is False}


def test_a_truly_better_model_is_promoted_and_a_worse_one_is_not(scores) -> None:
    passed = verdict(scores, "early", "later")
    # params.yaml's floors are Fashion-MNIST's; MNIST's distances stand farther from what real images score.
    assert failed(passed) <= {"floors.fd_ratio_max", "floors.fd_holdout_ratio_max"}, passed
    assert "min_improvement" in failed(verdict(scores, "later", "early"))


def is_better(scores: dict[str, Scores], champion: str, challenger: str) -> bool:
    return paired_difference("fd", scores[champion].figures["fd"], scores[challenger].figures["fd"]).high < 0


def test_one_that_drops_a_class_is_refused_although_its_distance_is_better(scores) -> None:
    assert is_better(scores, "early", "dropper")
    refused = failed(verdict(scores, "early", "dropper"))
    assert {"floors.class_coverage_min", "guards.class_coverage_drop_max"} & refused
    assert scores["dropper"].figures["class_coverage"]["missing"] == ["8"]


def test_one_that_memorises_is_refused_although_its_distance_is_better(scores) -> None:
    assert is_better(scores, "early", "memoriser")
    assert {"floors.copied_share_max", "floors.c_t_min"} & failed(verdict(scores, "early", "memoriser"))
    assert not {"floors.copied_share_max", "floors.c_t_min"} & failed(verdict(scores, "early", "later"))


def test_a_model_does_not_beat_itself(models, mnist, extractors, real) -> None:  # noqa: F811
    """Ten trials here; benchmarks/gate.py makes two hundred."""
    config = load_config(ROOT).promotion
    wins = 0
    for trial in range(10):
        sides = [
            scored(models["later"], mnist, extractors, real, first_seed=10_000 + 1000 * trial + 500 * side)
            for side in (0, 1)
        ]
        wins += next(row.passed for row in judge(*sides, config).rows if row.rule == "min_improvement") is True
    assert wins <= 1


class Truncated(Generator):
    """G with its latents drawn towards the mean."""

    def __init__(self, G: Generator, psi: float):
        super().__init__()
        self.G, self.psi, self.z_dim, self.num_classes = G, psi, G.z_dim, 10

    def forward(self, z: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
        return self.G.truncated(z, label, self.psi)


def test_truncation_lowers_diversity_recall_and_coverage_and_keeps_classes(models, mnist, extractors, real) -> None:  # noqa: F811
    found = [
        scored(Truncated(models["later"], psi), mnist, extractors, real, first_seed=1).figures
        for psi in (1.0, 0.6, 0.3, 0.1)
    ]
    for key in ("intra_class_diversity", "recall", "recall_second", "coverage"):
        values = [figures[key]["value"] for figures in found]
        assert all(b < a for a, b in pairwise(values)), (key, values)
    assert all(figures["class_coverage"]["value"] == 1.0 for figures in found)
    precision = [figures["precision"]["value"] for figures in found]
    assert min(precision) > precision[0] - 0.05
    assert found[-1]["label_accuracy"]["value"] > found[0]["label_accuracy"]["value"] - 0.02
