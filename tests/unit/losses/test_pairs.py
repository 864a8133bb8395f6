"""Regression to a teacher's noise: its closed form, its weight in G's loss, and a training that goes on to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ganline.data.loader import Batches, Pairs, joined
from ganline.devices import machine, make_exact, pick
from ganline.losses.config import ObjectiveConfig
from ganline.losses.objective import Batch, Pair, g_phase, paired_error
from ganline.models import Conditioning, ImageSpec
from ganline.models.spec import Generator
from ganline.training import loop
from ganline.training.config import TrainConfig
from ganline.training.loop import Run, train
from ganline.training.state import pack
from tests.unit.variants import train_section


class Constant(Generator):
    """G: an image of z[:, 0] everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.z_dim, self.num_classes, self.passes = 1, 0, 0

    def forward(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        self.passes += 1
        return z[:, :1, None, None].expand(-1, 1, 8, 8)


class Zero(torch.nn.Module):
    """D: logits of zero."""

    def forward(self, image: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        return image.mean((1, 2, 3)) * 0


def test_equal_images_have_no_error_and_a_shift_its_size_at_every_scale() -> None:
    z = torch.randn(3, 1)
    wanted = z[:, :1, None, None].expand(-1, 1, 8, 8)
    assert paired_error(Constant(), Pair(z, None, wanted)) == 0
    torch.testing.assert_close(paired_error(Constant(), Pair(z, None, wanted + 0.25)), torch.tensor(0.25))


def test_a_checkerboard_counts_at_the_finest_scale_alone() -> None:
    board = torch.ones(8, 8)
    board[::2, ::2] = board[1::2, 1::2] = -1
    error = paired_error(Constant(), Pair(torch.zeros(1, 1), None, board[None, None]))
    torch.testing.assert_close(error, torch.tensor(1 / 3))


@pytest.mark.parametrize(("nimg", "weight"), [(0, 4.0), (50, 2.0), (100, 0.0)])
def test_its_weight_follows_the_schedule_and_at_zero_it_costs_no_pass(nimg, weight) -> None:
    config = ObjectiveConfig.model_validate({"pair_weight": {"start": 4.0, "end": 0.0, "shape": "linear"}})
    G, z = Constant(), torch.zeros(2, 1)
    batch = Batch(
        0,
        torch.zeros(2, 1, 8, 8),
        None,
        z,
        lambda stream: None,  # type: ignore[arg-type, return-value]
        nimg=nimg,
        total_nimg=100,
        real_logits=torch.zeros(2),
        pair=Pair(z, None, torch.full((2, 1, 8, 8), 0.5)),
    )
    value, stats = g_phase(config)(G, Zero(), batch)  # type: ignore[arg-type]
    torch.testing.assert_close(value - stats["loss_G"], torch.tensor(weight * 0.5))
    assert G.passes == (2 if weight else 1)


def student(digits, work, **options):
    make_exact(threads=1)
    section = train_section("pixelshuffle", "relativistic", conditional=True)
    section["objective"] = section["objective"] | {"pair_weight": {"start": 2.0, "end": 0.0}}
    config, compute = TrainConfig.model_validate(section), pick("fp32")
    bank = digits.split("val")
    z = np.random.default_rng(0).normal(size=(len(bank), config.model.z_dim)).astype(np.float32)
    pairs = Pairs(Batches(bank, batch=config.batch, seed=1, mirror=False, device=compute.device), z)
    return train(
        config,
        joined(digits.split("train"), bank),
        image=ImageSpec(resolution=16, channels=1),
        conditioning=Conditioning(labels=digits.labels),
        run=Run(work, "recipe", machine(compute)),
        compute=compute,
        pairs=pairs,
        **options,
    )


def test_a_killed_student_ends_in_the_same_bits(digits, tmp_path, monkeypatch) -> None:
    class Killed(BaseException):
        pass

    whole, real = student(digits, tmp_path / "whole"), loop.run_step

    def step_then_die(state, **rest):
        if state.step == 11:
            raise Killed
        return real(state, **rest)

    monkeypatch.setattr(loop, "run_step", step_then_die)
    with pytest.raises(Killed):
        student(digits, tmp_path / "killed")
    monkeypatch.setattr(loop, "run_step", real)
    one, two = pack(whole), pack(student(digits, tmp_path / "killed"))
    assert not [name for name in one if not torch.equal(one[name], two[name])]


def test_noise_and_image_of_a_pair_are_of_one_row(digits) -> None:
    bank = digits.split("val")
    z = np.arange(len(bank), dtype=np.float32)[:, None]
    pairs = Pairs(Batches(bank, batch=7, seed=3, mirror=False, device=torch.device("cpu")), z)
    for k in (0, 5, 20):
        noise, images, labels = pairs.get(k)
        rows = noise[:, 0].long().numpy()
        assert np.array_equal(labels.numpy(), bank.labels[rows])
        np.testing.assert_allclose((images.numpy() + 1) * 127.5, bank.images[rows], atol=1e-3)


def test_joined_splits_hold_both(digits) -> None:
    train_split, val = digits.split("train"), digits.split("val")
    whole = joined(train_split, val)
    assert len(whole) == len(train_split) + len(val)
    assert np.array_equal(whole.images[-1], val.images[-1]) and whole.labels[0] == train_split.labels[0]
