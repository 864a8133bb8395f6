"""Schedules, EMA, the loader and the tracker."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from ganline.data.loader import Batches
from ganline.devices import pick
from ganline.models.sampling import label_histogram
from ganline.models.spec import Generator
from ganline.schedules import Schedule, ema_decay
from ganline.seeds import derive
from ganline.training.ema import recalibrate, update_ema
from ganline.training.tracker import Tracker, read_lines


def test_a_schedule_goes_from_start_to_end_and_stays() -> None:
    cosine = Schedule(start=1.0, end=0.1)
    assert [cosine.at(n, 100) for n in (0, 50, 100, 150)] == pytest.approx([1.0, 0.55, 0.1, 0.1])
    late = Schedule(start=1.0, end=0.0, shape="linear", after=0.5)
    assert [late.at(n, 100) for n in (0, 50, 75, 100)] == pytest.approx([1.0, 1.0, 0.5, 0.0])


def test_the_ema_forgets_half_in_its_half_life() -> None:
    decay = ema_decay(10_000_000, batch=64, halflife_nimg=6400, rampup=0.05)
    assert decay**100 == pytest.approx(0.5)
    early = ema_decay(640, batch=64, halflife_nimg=6400, rampup=0.05)
    assert early == pytest.approx(0.5 ** (64 / 32))


def test_the_ema_moves_weights_and_copies_counters() -> None:
    G = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    G_ema = copy.deepcopy(G)
    with torch.no_grad():
        G[0].weight.add_(1.0)
        G[1].num_batches_tracked.fill_(7)
    before = G_ema[0].weight.clone()
    update_ema(G_ema, G, 0.75)
    assert torch.allclose(G_ema[0].weight, before + 0.25)
    assert G_ema[1].num_batches_tracked == 7


def test_statistics_of_a_pass_that_overflowed_are_healed() -> None:
    G, G_ema = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    G.running_mean[:] = torch.tensor([float("nan"), 3.0])
    G.running_var[:] = torch.tensor([float("inf"), 5.0])
    update_ema(G_ema, G, 0.5)
    assert G.running_mean.tolist() == [0.0, 3.0]
    assert G_ema.running_mean.tolist() == [0.0, 1.5]
    assert G_ema.running_var.tolist() == [1.0, 3.0]


class TwoLevels(Generator):
    """Class 0 is z + 1, class 1 is z - 1, then BatchNorm."""

    z_dim = num_classes = 2

    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(2)

    def forward(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        assert label is not None
        return self.norm(z + 1 - 2 * label[:, None])


def test_norms_are_recalibrated_under_the_histogram_of_the_data() -> None:
    labels = np.repeat([0, 1], [900, 100])
    G = TwoLevels()
    recalibrate(G, seed=0, label_weights=label_histogram(labels, 2), compute=pick("fp32"))
    # z of unit variance beside +1 (nine of ten) or -1: mean 0.8, variance 1 + (1 - 0.8^2); uniform labels: 0 and 2.
    assert G.norm.running_mean.tolist() == pytest.approx([0.8, 0.8], abs=0.08)
    assert G.norm.running_var.tolist() == pytest.approx([1.36, 1.36], abs=0.12)


@pytest.fixture
def batches(digits) -> Batches:
    return Batches(digits.split("train"), batch=48, seed=3, mirror=True, device=torch.device("cpu"))


def test_every_epoch_holds_every_row_once(batches) -> None:
    size = len(batches.split)
    rows = torch.cat([batches.indices(k) for k in range(-(-2 * size // 48))])
    for epoch in (rows[:size], rows[size : 2 * size]):
        assert sorted(epoch.tolist()) == list(range(size))
    assert not torch.equal(rows[:size], rows[size : 2 * size])


def test_a_batch_is_a_function_of_its_number(batches, digits) -> None:
    for k in range(20):
        batches.get(k)
    fresh = Batches(digits.split("train"), batch=48, seed=3, mirror=True, device=torch.device("cpu"))
    for a, b in zip(batches.get(13), fresh.get(13), strict=True):
        assert torch.equal(a, b)


def test_memory_mapped_batches_equal_resident_ones(batches, digits, monkeypatch) -> None:
    monkeypatch.setattr("ganline.data.loader.RESIDENT_LIMIT_BYTES", 0)
    mapped = Batches(digits.split("train"), batch=48, seed=3, mirror=True, device=torch.device("cpu"))
    assert mapped._images is None
    assert torch.equal(mapped.get(5)[0], batches.get(5)[0])


def test_batches_are_in_the_range_of_networks(batches) -> None:
    images, labels = batches.get(0)
    assert images.dtype == torch.float32
    assert -1.0 <= images.min() < images.max() <= 1.0
    assert labels.shape == (48,)


def test_seeds_differ_by_seed_stream_and_index() -> None:
    seeds = {derive(seed, stream, index) for seed in (0, 1) for stream in "ab" for index in (0, 1)}
    assert len(seeds) == 8


def test_the_tracker_rewinds_to_a_step_and_ignores_a_torn_line(tmp_path) -> None:
    tracker = Tracker(tmp_path)
    for step in (1, 2, 3):
        tracker.history({"step": step, "nimg": step * 10})
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"step": 4, "ni')
    assert [line["step"] for line in read_lines(tmp_path / "history.jsonl")] == [1, 2, 3]
    tracker.rewind(2)
    assert [line["step"] for line in read_lines(tmp_path / "history.jsonl")] == [1, 2]
