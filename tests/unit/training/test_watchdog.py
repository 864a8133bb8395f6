"""The watchdog: what alarms it, what it then does, and that a killed run meets the same fate."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ganline.devices import pick
from ganline.errors import TrainingError
from ganline.evaluation.extractor import Extractor, FeatureNet
from ganline.evaluation.probe import make_probe
from ganline.files import read_json
from ganline.models.spec import Generator
from ganline.training import loop, watchdog
from ganline.training.config import WatchConfig
from ganline.training.state import checkpoints
from ganline.training.tracker import read_lines
from ganline.training.watchdog import Watchdog, is_due, reasons
from tests.unit.training.test_loop import Killed, assert_same, run_training
from tests.unit.variants import train_section

CONFIG = WatchConfig()
HEALTHY = {"fd": 5.0, "entropy": 0.98, "spread": 0.9}
# Ten looks a run, alarms from the first on, one strike is enough.
WATCH = {"every_share": 0.1, "after_share": 0.05, "patience": 1, "n": 16}


def test_a_healthy_look_has_no_reasons() -> None:
    assert reasons(HEALTHY, {"fd": 4.0}, CONFIG) == []


@pytest.mark.parametrize(
    ("measures", "word"),
    [
        (HEALTHY | {"entropy": 0.4}, "0.40 of real images' entropy"),
        (HEALTHY | {"spread": 0.1}, "vary by 0.10 of real images' variance"),
        (HEALTHY | {"within": 0.05}, "one class vary by 0.05 of real images' variance"),
        (HEALTHY | {"fd": 40.0}, "rose to 40.00, 10.0 times the best"),
    ],
)
def test_collapse_and_divergence_are_told_with_the_value_and_the_rule(measures, word) -> None:
    (found,) = reasons(measures, {"fd": 4.0}, CONFIG)
    assert word in found
    assert "is expected" in found


def test_looks_come_at_shares_of_the_budget() -> None:
    due = [is_due(n, 10, total_nimg=200, config=WatchConfig(every_share=0.25)) for n in range(10, 201, 10)]
    assert [10 * (i + 1) for i, yes in enumerate(due) if yes] == [50, 100, 150, 200]


class Script:
    """A probe that says what it is told, look by look; it repeats a look of the same weights."""

    def __init__(self, *looks: dict[str, float]):
        self.looks, self.seen = looks, []

    def __call__(self, G: Generator) -> dict[str, float]:
        mark = sum(p.double().sum().item() for p in G.parameters())
        if mark not in self.seen:
            self.seen.append(mark)
        return self.looks[min(self.seen.index(mark), len(self.looks) - 1)]


def look(fd: float) -> dict[str, float]:
    return HEALTHY | {"fd": fd}


COLLAPSED = {"fd": 4.5, "entropy": 0.1, "spread": 0.05}


def section(**watch):
    return train_section("mlp", "hinge", conditional=False) | {"watch": WATCH | watch}


def test_an_alarm_rolls_back_to_the_best_with_a_lower_learning_rate(digits, tmp_path) -> None:
    script = Script(look(9), look(4), COLLAPSED, look(3))
    state = run_training(digits, section(), tmp_path, probe=script)
    assert state.lr_scale == 0.5
    assert state.extra["rollbacks"] == 1
    assert "collapse" in state.extra["alarms"][0]["found"][0]
    assert state.extra["best"]["fd"] == 3
    steps = [line["step"] for line in read_lines(tmp_path / "history.jsonl")]
    assert steps == sorted(set(steps))
    assert steps[-1] == state.step == 20
    assert read_json(tmp_path / "best" / "state.json")["extra"]["best"]["fd"] == 3


def test_a_run_killed_after_an_alarm_ends_in_the_same_bits(digits, tmp_path, monkeypatch) -> None:
    looks = (look(9), look(4), COLLAPSED, look(3))
    whole = run_training(digits, section(), tmp_path / "whole", probe=Script(*looks))
    script, real_step, taken = Script(*looks), loop.run_step, [0]

    def step_then_die(state, **rest):
        taken[0] += 1
        if taken[0] == 13:  # past the roll-back
            raise Killed
        return real_step(state, **rest)

    monkeypatch.setattr(loop, "run_step", step_then_die)
    with pytest.raises(Killed):
        run_training(digits, section(), tmp_path / "killed", probe=script)
    monkeypatch.setattr(loop, "run_step", real_step)
    resumed = run_training(digits, section(), tmp_path / "killed", probe=script)
    assert resumed.extra == whole.extra
    assert_same(whole, resumed)


def test_tries_are_bounded(digits, tmp_path) -> None:
    with pytest.raises(TrainingError, match="collapse") as caught:
        run_training(digits, section(max_rollbacks=2), tmp_path, probe=Script(look(4), COLLAPSED))
    assert "best state" in str(caught.value)
    assert "lower the learning rates" in str(caught.value)


def test_the_action_stop_stops_at_once(digits, tmp_path) -> None:
    with pytest.raises(TrainingError, match="stopped at"):
        run_training(digits, section(action="stop"), tmp_path, probe=Script(look(4), COLLAPSED, look(4)))
    assert checkpoints(tmp_path / "checkpoints")


def test_one_bad_look_is_no_alarm_where_two_are_asked_for(digits, tmp_path) -> None:
    script = Script(look(9), COLLAPSED, look(4), COLLAPSED, look(3))
    assert "alarms" not in run_training(digits, section(patience=2), tmp_path, probe=script).extra


def test_no_alarm_before_its_share_of_the_budget(digits, tmp_path) -> None:
    assert "alarms" not in run_training(digits, section(after_share=1.0), tmp_path, probe=Script(COLLAPSED)).extra


@pytest.mark.parametrize("family", ["mlp", "progressive"])
def test_the_best_can_be_what_is_kept(family, digits, tmp_path) -> None:
    chosen = train_section(family, "hinge", conditional=False) | {"watch": WATCH | {"keep": "best"}}
    state = run_training(digits, chosen, tmp_path, probe=Script(look(9), look(2), look(3)))
    assert state.extra["best"]["fd"] == 2 and state.step == 20
    kept = load_file(tmp_path / "best" / "tensors.safetensors")
    own = {f"G_ema/{name}": tensor for name, tensor in state.G_ema.state_dict().items()}
    changed = {name for name, tensor in own.items() if not torch.equal(tensor, kept[name])}
    assert not {name for name in changed if "running" not in name and "num_batches" not in name}


def test_a_damaged_best_is_told_and_not_taken(digits, tmp_path) -> None:
    run_training(digits, section(), tmp_path, probe=Script(look(9), look(2), look(3)))
    path = tmp_path / "best" / "tensors.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"best state in .* is damaged"):
        run_training(digits, section(keep="best"), tmp_path, probe=Script(look(3)))


def test_an_alarming_look_is_never_the_best(digits, tmp_path) -> None:
    script = Script(look(9), look(4), COLLAPSED | {"fd": 1.0}, look(3))
    state = run_training(digits, section(), tmp_path, probe=script)
    assert state.extra["rollbacks"] == 1
    assert state.extra["best"]["fd"] == 3


def test_a_roll_back_does_not_make_another_machines_work_exact(digits, tmp_path, monkeypatch) -> None:
    def elsewhere(*arguments, **options) -> None:
        raise Killed

    script = Script(look(9), look(4), COLLAPSED, look(3))
    monkeypatch.setattr(Watchdog, "alarm", elsewhere)
    with pytest.raises(Killed):
        run_training(digits, section(), tmp_path, probe=script)
    monkeypatch.undo()
    monkeypatch.setattr("tests.unit.training.test_loop.machine", lambda compute: {"threads": 96})
    state = run_training(digits, section(), tmp_path, probe=script)
    assert state.extra["rollbacks"] == 1
    assert not state.exact


@pytest.mark.parametrize("where", ["write_state", "rewind", "save_checkpoint"])
@pytest.mark.parametrize("after", [False, True])
def test_killed_within_a_roll_back_it_ends_in_the_same_bits(where, after, digits, tmp_path, monkeypatch) -> None:
    looks = (look(9), look(4), COLLAPSED, look(3))
    whole = run_training(digits, section(), tmp_path / "whole", probe=Script(*looks))
    owner = {"write_state": watchdog, "rewind": loop.Tracker, "save_checkpoint": loop}[where]
    real, armed = getattr(owner, where), [False]
    real_alarm = Watchdog.alarm

    def alarm(self, *rest):
        armed[0] = True
        return real_alarm(self, *rest)

    def dies(*arguments, **options):
        if armed[0] and not after:
            raise Killed
        result = real(*arguments, **options)
        if armed[0]:
            raise Killed
        return result

    monkeypatch.setattr(Watchdog, "alarm", alarm)
    monkeypatch.setattr(owner, where, dies)
    script = Script(*looks)
    with pytest.raises(Killed):
        run_training(digits, section(), tmp_path / "killed", probe=script)
    monkeypatch.undo()
    resumed = run_training(digits, section(), tmp_path / "killed", probe=script)
    assert resumed.extra == whole.extra
    assert_same(whole, resumed)
    history = [(tmp_path / name / "history.jsonl").read_bytes() for name in ("whole", "killed")]
    assert history[0] == history[1]


def test_looks_are_in_the_history(digits, tmp_path) -> None:
    run_training(digits, section(), tmp_path, probe=Script(look(5)))
    told = [line["watch_fd"] for line in read_lines(tmp_path / "history.jsonl") if "watch_fd" in line]
    assert told and set(told) == {5}


class OfThese(Generator):
    """Makes one of the given pictures, chosen by z."""

    z_dim, num_classes = 4, 0

    def __init__(self, images: torch.Tensor):
        super().__init__()
        self.images = images

    def forward(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        return self.images[(z[:, 0] * 1000).long() % len(self.images)]


def test_the_probe_sees_real_images_as_real_and_one_picture_as_collapse(digits) -> None:
    torch.manual_seed(0)
    net = FeatureNet(channels=1, resolution=16, width=8, feature_dim=16, num_classes=3)
    extract = Extractor(net, {"name": "x", "task": "classifier"}, pick("fp32"))
    split = digits.split("train")
    probe = make_probe(extract, split, seed=0, n=128, label_weights=None, compute=pick("fp32"))
    real = torch.from_numpy(split.images[:64].copy()).float() / 127.5 - 1
    seen, collapsed = probe(OfThese(real)), probe(OfThese(real[:1]))
    assert seen["spread"] == pytest.approx(1.0, abs=0.35)
    assert collapsed["spread"] < 1e-6
    assert collapsed["entropy"] == 0.0
    assert collapsed["fd"] > 5 * seen["fd"]


class OneAClass(Generator):
    """Paints the same picture for each label, whatever z."""

    z_dim = 4

    def __init__(self, images: torch.Tensor):
        super().__init__()
        self.images, self.num_classes = images, len(images)

    def forward(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        assert label is not None
        return self.images[label]


def test_the_probe_sees_one_picture_a_class_as_collapse_within_classes(digits) -> None:
    torch.manual_seed(0)
    net = FeatureNet(channels=1, resolution=16, width=8, feature_dim=16, num_classes=3)
    extract = Extractor(net, {"name": "x", "task": "classifier"}, pick("fp32"))
    split = digits.split("train")
    firsts = [int(np.flatnonzero(split.labels == label)[0]) for label in np.unique(split.labels)]
    pictures = torch.from_numpy(split.images[firsts].copy()).float() / 127.5 - 1
    probe = make_probe(extract, split, seed=0, n=256, label_weights=torch.ones(len(firsts)), compute=pick("fp32"))
    seen = probe(OneAClass(pictures))
    assert seen["within"] < 1e-6
    assert seen["spread"] > 0.3
    assert reasons(seen, None, WatchConfig(entropy_min=0.0)) == [
        "collapse within classes: features of one class vary by 0.00 of real images' variance "
        "(at least 0.1 is expected)"
    ]


def test_the_probe_asks_for_classes_as_often_as_training_images_have_them(digits) -> None:
    net = FeatureNet(channels=1, resolution=16, width=8, feature_dim=16, num_classes=3)
    extract = Extractor(net, {"name": "x", "task": "classifier"}, pick("fp32"))
    weights, asked = torch.tensor([90, 0, 10]), []
    probe = make_probe(extract, digits.split("val"), seed=0, n=512, label_weights=weights, compute=pick("fp32"))

    class Asked(OneAClass):
        def forward(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
            asked.append(label)
            return super().forward(z, label)

    probe(Asked(torch.zeros(3, 1, 16, 16)))
    shares = torch.bincount(torch.cat(asked), minlength=3) / 512
    assert shares.tolist() == pytest.approx([0.9, 0.0, 0.1], abs=0.05)


def test_variance_within_more_classes_than_images_tell_of_is_left_out(digits) -> None:
    torch.manual_seed(0)
    net = FeatureNet(channels=1, resolution=16, width=8, feature_dim=16, num_classes=3)
    extract = Extractor(net, {"name": "x", "task": "classifier"}, pick("fp32"))
    probe = make_probe(
        extract, digits.split("train"), seed=0, n=64, label_weights=torch.ones(1000), compute=pick("fp32")
    )
    assert "within" not in probe(OneAClass(torch.zeros(1000, 1, 16, 16)))
