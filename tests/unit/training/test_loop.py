"""The trainer: learns, resumes to the bit, masks what is not finite, refuses what it must."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ganline.data.loader import Prepared, Split
from ganline.devices import machine, make_exact, pick
from ganline.errors import TrainingError
from ganline.losses import objective
from ganline.models import Conditioning, ImageSpec
from ganline.training import loop, step
from ganline.training.config import TrainConfig
from ganline.training.ema import recalibrate
from ganline.training.loop import Run, train
from ganline.training.state import State, checkpoints, pack
from ganline.training.tracker import read_lines
from tests.unit.variants import TRAININGS, train_section, training


class Uneven(Prepared):
    """Prepared digits whose training split has ten images of each class but the first, which has all of its own."""

    def split(self, name: str) -> Split:
        split = super().split(name)
        if name == "train":
            rows = np.sort(
                np.concatenate([np.flatnonzero(split.labels == k)[: None if k == 0 else 10] for k in range(3)])
            )
            split.images, split.labels = np.array(split.images[rows]), split.labels[rows]
        return split


class Killed(BaseException):
    """Stands for a SIGKILL: nothing of ours catches it."""


def run_training(prepared: Prepared, section: dict, work: Path, *, recipe: str = "recipe", initial=None, probe=None):
    make_exact(threads=1)
    config = TrainConfig.model_validate(section)
    compute = pick(config.precision)
    labels = prepared.labels if config.model.class_conditional else ()
    return train(
        config,
        prepared.split("train"),
        image=ImageSpec(resolution=16, channels=1),
        conditioning=Conditioning(labels=labels),
        run=Run(work, recipe, machine(compute)),
        compute=compute,
        initial=initial,
        probe=probe,
    )


def assert_same(a, b) -> None:
    one, two = pack(a), pack(b)
    assert one.keys() == two.keys()
    different = [name for name in one if not torch.equal(one[name], two[name])]
    assert not different


def assert_resumes(section: dict, digits: Prepared, folder: Path, monkeypatch) -> State:
    """Killed in the middle and called again, a training ends in the bits and the history of one that was not."""
    whole = run_training(digits, section, folder / "whole")
    real_step, kill_at = loop.run_step, whole.step // 2 + 1

    def step_then_die(state, **rest):
        if state.step == kill_at:
            raise Killed
        return real_step(state, **rest)

    monkeypatch.setattr(loop, "run_step", step_then_die)
    with pytest.raises(Killed):
        run_training(digits, section, folder / "killed")
    monkeypatch.setattr(loop, "run_step", real_step)
    newest = checkpoints(folder / "killed" / "checkpoints")[-1]
    assert 0 < int(newest.name.removeprefix("step-")) <= kill_at  # not from zero
    resumed = run_training(digits, section, folder / "killed")
    assert resumed.exact
    assert_same(whole, resumed)
    history = [(folder / name / "history.jsonl").read_bytes() for name in ("whole", "killed")]
    assert history[0] == history[1]
    steps = [line["step"] for line in read_lines(folder / "killed" / "system.jsonl")]
    assert steps == sorted(set(steps))
    return whole


def test_norms_of_the_result_are_those_under_the_labels_of_its_training_data(digits, tmp_path) -> None:
    uneven = Uneven(digits.folder)
    counts = np.bincount(uneven.split("train").labels)
    assert counts[0] > 100 and counts.tolist()[1:] == [10, 10]
    G = run_training(uneven, training("wgan gp"), tmp_path).G_ema
    found = {name: buffer.clone() for name, buffer in G.named_buffers() if "running" in name}
    differences = {}
    for name, weights in {"data": torch.from_numpy(counts), "uniform": torch.ones(3)}.items():
        recalibrate(G, seed=0, label_weights=weights, compute=pick("fp32"))
        own = dict(G.named_buffers())
        differences[name] = max(float((own[key] - value).abs().max()) for key, value in found.items())
    assert differences["data"] == 0.0
    assert differences["uniform"] > 1e-4


@pytest.mark.parametrize("name", TRAININGS)
def test_a_killed_run_ends_in_the_same_bits(name, digits, tmp_path, monkeypatch) -> None:
    assert_resumes(training(name), digits, tmp_path, monkeypatch)


@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp64"])
def test_every_precision_trains_to_finite_weights_and_resumes(precision, digits, tmp_path, monkeypatch) -> None:
    section = train_section("pixelshuffle", "relativistic", conditional=True) | {"precision": precision}
    state = assert_resumes(section, digits, tmp_path, monkeypatch)
    assert state.skipped < state.step
    assert all(torch.isfinite(tensor).all() for tensor in pack(state).values())


def test_weight_clipping_bounds_every_weight_of_d(digits, tmp_path) -> None:
    state = run_training(digits, training("wgan clip"), tmp_path)
    assert max(p.abs().max().item() for p in state.D.parameters()) < 0.0500001
    assert max(p.abs().max().item() for p in state.G.parameters()) > 0.05


def test_ada_moves_its_probability(digits, tmp_path) -> None:
    section = training("pixelshuffle ada")
    state = run_training(digits, section, tmp_path)
    assert state.memory["augment_p"].item() != pytest.approx(0.2)
    told = [line["augment_p"] for line in read_lines(tmp_path / "history.jsonl")]
    assert len(set(told)) > 1


def test_a_finished_run_called_again_changes_nothing(digits, tmp_path) -> None:
    section = train_section("mlp", "hinge", conditional=False)
    first = run_training(digits, section, tmp_path)
    before = (tmp_path / "history.jsonl").read_bytes()
    assert_same(first, run_training(digits, section, tmp_path))
    assert (tmp_path / "history.jsonl").read_bytes() == before


def test_another_seed_gives_other_weights(digits, tmp_path) -> None:
    section = train_section("mlp", "hinge", conditional=False, total_kimg=0.064)
    a = run_training(digits, section, tmp_path / "a")
    b = run_training(digits, section | {"seed": 5}, tmp_path / "b")
    assert not torch.equal(pack(a)["G/layers.0.weight"], pack(b)["G/layers.0.weight"])


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(digits, tmp_path) -> None:
    section = train_section("mlp", "hinge", conditional=False)
    whole = run_training(digits, section, tmp_path)
    newest = checkpoints(tmp_path / "checkpoints")[-1] / "tensors.safetensors"
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    assert_same(whole, run_training(digits, section, tmp_path))


def test_all_checkpoints_damaged_is_an_error_not_a_new_start(digits, tmp_path) -> None:
    section = train_section("mlp", "hinge", conditional=False)
    run_training(digits, section, tmp_path)
    for path in checkpoints(tmp_path / "checkpoints"):
        (path / "tensors.safetensors").write_bytes(b"torn")
    with pytest.raises(TrainingError, match="are damaged"):
        run_training(digits, section, tmp_path)


def test_state_of_another_recipe_is_refused(digits, tmp_path) -> None:
    section = train_section("mlp", "hinge", conditional=False, total_kimg=0.064)
    run_training(digits, section, tmp_path)
    with pytest.raises(TrainingError, match="another recipe"):
        run_training(digits, section, tmp_path, recipe="other")


def test_another_machine_may_resume_but_is_not_called_exact(digits, tmp_path, monkeypatch) -> None:
    section = train_section("mlp", "hinge", conditional=False, total_kimg=0.128)
    run_training(digits, section, tmp_path)
    here = machine(pick("fp32"))
    monkeypatch.setitem(globals(), "machine", lambda compute: here | {"threads": 96})
    assert not run_training(digits, section, tmp_path).exact


def test_a_non_finite_update_never_reaches_the_weights(digits, tmp_path, monkeypatch) -> None:
    section = train_section("mlp", "hinge", conditional=False)
    real_step, poisoned_at = loop.run_step, 3

    def poison(state, *, batches, **rest):
        class Poisoned:
            def get(self, k):
                images, labels = batches.get(k)
                return images * float("nan"), labels

        return real_step(state, batches=Poisoned() if state.step == poisoned_at else batches, **rest)

    monkeypatch.setattr(loop, "run_step", poison)
    state = run_training(digits, section, tmp_path)
    assert state.skipped >= 1
    assert all(torch.isfinite(tensor).all() for tensor in pack(state).values())


def test_one_masked_turn_of_four_is_a_quarter_of_ds_updates(digits, tmp_path, monkeypatch) -> None:
    section = train_section("mlp", "hinge", conditional=False, total_kimg=1.28)
    section["objective"] = section["objective"] | {"n_critic": 4}
    real_phase, turns = step.run_phase, [0]

    def poison(phase, batch, **rest):
        turns[0] += phase.trains == "D"
        if phase.trains == "D" and turns[0] % 4 == 1:
            batch.real = batch.real * float("nan")
        return real_phase(phase, batch, **rest)

    monkeypatch.setattr(step, "run_phase", poison)
    state = run_training(digits, section | {"tick_kimg": 0.64}, tmp_path)  # no alarm: a quarter is below a half
    assert state.skipped == state.step == 20


def test_a_path_length_that_is_not_finite_is_not_remembered(digits, tmp_path, monkeypatch) -> None:
    real_penalty, calls = objective.path_lengths, [0]

    def poison(*arguments):
        calls[0] += 1
        return real_penalty(*arguments) * (float("nan") if calls[0] == 2 else 1.0)

    monkeypatch.setattr(objective, "path_lengths", poison)
    state = run_training(digits, training("stylegan2"), tmp_path)
    assert state.skipped == 1
    assert state.memory["path_length"].isfinite()


def test_divergence_is_told_with_a_remedy(digits, tmp_path, monkeypatch) -> None:
    section = train_section("mlp", "hinge", conditional=False)
    section["D_optimizer"] = section["G_optimizer"] = {"lr": 1e30}
    with pytest.raises(TrainingError, match="diverged") as caught:
        run_training(digits, section, tmp_path)
    assert "learning rates" in str(caught.value)


def test_training_starts_from_given_tensors(digits, tmp_path) -> None:
    section = train_section("mlp", "hinge", conditional=False)
    donor = run_training(digits, section, tmp_path / "donor")
    tensors = {"G": donor.G_ema.state_dict(), "D": donor.D.state_dict()}
    short = section | {"total_kimg": 0.016, "tick_kimg": 0.016}
    tiny_lr = {"lr": {"start": 1e-9, "end": 1e-9}}
    tuned = run_training(digits, short | {"G_optimizer": tiny_lr}, tmp_path / "tuned", initial=tensors)
    drift = (tuned.G.state_dict()["layers.0.weight"] - tensors["G"]["layers.0.weight"]).abs().max()
    assert drift < 1e-6
    with pytest.raises(TrainingError, match="no tensor of its G fits"):
        run_training(digits, section, tmp_path / "none", initial={"G": {"x": torch.zeros(1)}, "D": {}})


def test_samples_of_fixed_latents_are_drawn_along_the_way(digits, tmp_path) -> None:
    run_training(digits, train_section("mlp", "hinge", conditional=True), tmp_path)
    assert [path.name for path in sorted((tmp_path / "samples").glob("*.png"))] == [
        *("0000000064.png", "0000000128.png"),  # powers of two, before the first multiple of sample_kimg
        *("0000000192.png", "0000000320.png"),
    ]
