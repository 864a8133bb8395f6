"""The profiler: shares that add up, penalties that show, times laid to the right range."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType

from ganline.devices import make_exact, pick
from ganline.errors import ConfigError, DataError
from ganline.integrations import profiler
from ganline.integrations.profiler import (
    BETWEEN,
    Kind,
    by_kind,
    device_times,
    operators,
    outside_operators,
    profile_training,
    render,
    shares,
    wall_times,
)
from ganline.training.config import TrainConfig
from tests.unit.variants import train_section

PHASES = ["draw", "D forward", "D backward", "D update", "G forward", "G backward", "G update", "ema"]


def profiled(prepared, *, family: str = "pixelshuffle", objective: str = "relativistic", **options):
    make_exact(threads=1)
    config = TrainConfig.model_validate(train_section(family, objective, conditional=True))
    return config, profile_training(config, prepared.folder, compute=pick("fp32"), **options)


@pytest.mark.parametrize("family, objective", [("pixelshuffle", "relativistic"), ("mlp", "wasserstein_clip")])
def test_a_real_steps_time_is_shared_out_whole_among_the_named_phases(family, objective, digits) -> None:
    config, profile = profiled(digits, family=family, objective=objective, steps=4)
    assert list(profile.phases) == [*PHASES, BETWEEN]
    assert sum(profile.phases.values()) == pytest.approx(1.0)
    assert all(share > 0 for share in profile.phases.values())
    assert max(profile.phases, key=profile.phases.__getitem__) != BETWEEN  # the ranges cover what matters
    assert 0 < profile.outside_operators < 1
    own = sum(operator.share for operator in profile.operators)
    assert 0 < own <= 1.0 - profile.outside_operators + 1e-6
    assert profile.images_per_second * profile.ms / 1000 == pytest.approx(config.step_nimg)


def test_a_profile_counts_parameters_and_calls(digits, monkeypatch) -> None:
    monkeypatch.setattr("ganline.integrations.profiler.TOP", 1000)  # on a busy machine other operators may take longer
    config, profile = profiled(digits, steps=4)
    assert profile.num_parameters.keys() == {"G", "D"} and min(profile.num_parameters.values()) > 1000
    adam = {operator.name: operator for operator in profile.operators}["aten::_fused_adam_"]
    assert adam.calls == 2  # G's and D's
    assert profile.machine["precision"] == "float32" and profile.machine["threads"] == 1
    assert profile.device_busy is None and profile.memory_mb > 50


def test_lazy_penalties_show_as_steps_of_their_own(digits) -> None:
    _, profile = profiled(digits, steps=4)
    assert [(kind.extra, kind.num_steps) for kind in profile.kinds] == [((), 2), (("r1", "r2"), 2)]
    assert "with r1, r2 (2 of 4)" in render(profile)
    _, none = profiled(digits, objective="hinge", steps=2)
    assert [kind.extra for kind in none.kinds] == [()]
    assert "plain" not in render(none)


def test_the_mean_of_all_steps_is_that_of_their_kinds(digits) -> None:
    _, profile = profiled(digits, steps=4)
    assert len(profile.kinds) == 2
    assert sum(kind.ms * kind.num_steps for kind in profile.kinds) / profile.num_steps == pytest.approx(profile.ms)


def test_steps_are_whole_cycles_of_the_penalties(digits) -> None:
    config, profile = profiled(digits, objective="non_saturating", steps=3)
    cycle = config.objective.penalty_every
    assert profile.cycle == cycle == 4
    assert profile.num_steps == 4
    assert "4 steps, whole cycles of 4: --steps is rounded up" in render(profile)
    assert "4 steps)" in render(replace(profile, cycle=1))
    assert [kind.num_steps * cycle for kind in profile.kinds if kind.extra] == [profile.num_steps]


def test_the_table_names_phases_operators_machine_and_rate(digits) -> None:
    _, profile = profiled(digits, family="mlp", steps=2)
    text = render(profile)
    for part in (*profile.phases, profile.operators[0].name, str(profile.machine["device"]), "images/s", "1 threads"):
        assert part in text
    assert max(map(len, text.splitlines())) < 120
    assert "draw: the next batch" in text and "calls a step" in text
    on_gpu = render(replace(profile, device_busy=0.8, device_memory_mb=321.0))
    assert "busy 80 % of the time".replace(" %", "%") in on_gpu and "321 MB" in on_gpu and "(device)" in on_gpu


def test_a_trace_is_a_file_that_chrome_reads_with_our_ranges_in_it(digits, tmp_path) -> None:
    profiled(digits, family="mlp", steps=2, trace=tmp_path / "deep" / "trace.json")
    names = {event.get("name") for event in json.loads((tmp_path / "deep" / "trace.json").read_text())["traceEvents"]}
    assert {"ganline/step", "ganline/D forward", "ganline/ema"} <= names
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["trace.json"]


def test_profiling_looks_at_the_asked_share_of_the_budget(digits, monkeypatch) -> None:
    seen = []
    real_step = profiler.run_step

    def spy(state, *, config, **rest):
        seen.append(state.nimg / config.total_nimg)
        return real_step(state, config=config, **rest)

    monkeypatch.setattr(profiler, "run_step", spy)
    profiled(digits, family="mlp", steps=2, at=0.5)
    assert seen[0] == 0.5


@pytest.mark.parametrize("slowdown, words", [(0.94, "were not measurably slower"), (1.3, "took 1.30 times as long")])
def test_a_profiler_that_costs_nothing_is_not_said_to_speed_up(slowdown, words, digits) -> None:
    _, profile = profiled(digits, family="mlp", steps=2)
    assert f"under the profiler, steps {words}" in render(replace(profile, slowdown=slowdown))


@pytest.mark.parametrize("options, found", [({"steps": 0}, "--steps 0"), ({"at": 1.5}, "--at 1.5")])
def test_senseless_options_are_refused(options, found, digits) -> None:
    with pytest.raises(ConfigError, match=found) as caught:
        profiled(digits, **options)
    assert "to do: give --" in str(caught.value)


def test_a_line_that_has_not_run_yet_is_told_what_to_run(tmp_path) -> None:
    with pytest.raises(DataError, match="no prepared data") as caught:
        profiled(SimpleNamespace(folder=tmp_path))
    assert "prepare" in str(caught.value)


@dataclass
class Event:
    """As much of torch's FunctionEvent as we read. Times in microseconds."""

    name: str
    start: float
    end: float
    self_cpu_time_total: float = 0.0
    self_device_time_total: float = 0.0
    device_type: DeviceType = DeviceType.CPU

    @property
    def time_range(self):
        return SimpleNamespace(start=self.start, end=self.end)

    @property
    def is_user_annotation(self) -> bool:
        return self.name.startswith(("ganline/", "Optimizer."))


TWO_STEPS = [
    Event("ganline/step", 0, 100, self_cpu_time_total=10),
    Event("ganline/D forward", 10, 60),
    Event("ganline/penalty", 20, 50),
    Event("ganline/ema", 60, 90),
    Event("ganline/step", 100, 200),
    Event("ganline/D forward", 100, 200),
]


def test_inner_ranges_are_taken_from_outer_ones() -> None:
    assert wall_times(TWO_STEPS) == {BETWEEN: 20, "D forward": 120, "penalty": 30, "ema": 30}
    assert list(shares(wall_times(TWO_STEPS)).items()) == [
        ("D forward", 0.6),
        ("penalty", 0.15),
        ("ema", 0.15),
        (BETWEEN, 0.1),
    ]


def test_a_kernel_belongs_to_the_innermost_range_that_was_open_when_it_was_launched() -> None:
    launches = [
        Event("aten::conv2d", 12, 14, self_device_time_total=500),
        Event("aten::mm", 30, 31, self_device_time_total=70),
        Event("aten::add", 55, 56, self_device_time_total=7),  # after the inner range, still in the outer
        Event("aten::lerp_", 95, 96, self_device_time_total=3),
        Event("Optimizer.step#Adam.step", 30, 40, self_device_time_total=99),  # a range: its operators count
        Event("gemm_kernel", 30, 99, self_device_time_total=70, device_type=DeviceType.CUDA),  # mm's own kernel
    ]
    assert device_times([*TWO_STEPS, *launches]) == {"D forward": 507, "penalty": 70, "ema": 0, BETWEEN: 3}


def test_operators_are_added_up_over_steps_by_their_own_time() -> None:
    events = [
        Event("aten::mm", 1, 9, self_cpu_time_total=8),
        Event("aten::mm", 101, 113, self_cpu_time_total=12),
        Event("aten::add", 10, 15, self_cpu_time_total=40),
        Event("Optimizer.step#Adam.step", 20, 90, self_cpu_time_total=70),
        *TWO_STEPS,
    ]
    found = [(op.name, op.calls, op.share) for op in operators(events, 2, on_device=False, total=200)]
    assert found == [("aten::add", 0.5, 0.2), ("aten::mm", 1.0, 0.1)]
    assert outside_operators(events) == pytest.approx(1 - 60 / 200)


def test_steps_are_grouped_by_what_not_all_of_them_tell() -> None:
    plain, lazy = frozenset({"loss_D"}), frozenset({"loss_D", "r1"})
    steps = [(0.03, lazy), (0.01, plain), (0.012, plain), (0.014, plain)]
    assert by_kind(steps) == (Kind((), 3, pytest.approx(12.0)), Kind(("r1",), 1, pytest.approx(30.0)))


def test_a_device_is_timed_between_marks_on_its_own_clock(monkeypatch) -> None:
    class Event:
        """A device that is at 0, 3, 10 ms when it comes to the marks, whenever the host set them."""

        times = iter([0.0, 3.0, 10.0])

        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing

        def record(self, stream: str) -> None:
            self.at = next(Event.times)

        def elapsed_time(self, end: Event) -> float:
            return end.at - self.at

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "stream")
    waits = []
    compute = SimpleNamespace(device=torch.device("cuda"), synchronize=lambda: waits.append(1))
    names = iter([{"loss_D"}, {"loss_D", "r1"}])
    steps = profiler.timed(lambda: next(names), 2, compute)
    assert steps == [(0.003, {"loss_D"}), (0.007, {"loss_D", "r1"})]
    assert len(waits) == 2
