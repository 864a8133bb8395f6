"""The clock: turns, bounds, fresh inputs, one thread for one image, what cannot be opened, and the forms themselves."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import pytest
import torch

from ganline.acceleration.benchmark import (
    LEAST_POOL,
    drawing_inputs,
    measure_times,
    passes_of,
    take_turns,
    torch_threads,
    warn_if_busy,
)
from ganline.acceleration.fold import fold
from ganline.acceleration.macs import bytes_of, macs_of
from ganline.acceleration.runtime import compiled_generator, eager_generator, open_generator
from ganline.devices import Compute, pick
from ganline.errors import GanlineError
from ganline.models.spec import Generator
from tests.unit.acceleration.small import drawn, levels_apart, small

CPU = Compute(torch.device("cpu"), None)


class Sleeper(Generator):
    """Takes its time, and remembers what it was told, and on how many threads."""

    def __init__(self, seconds: float, log: list[str], name: str):
        super().__init__()
        self.z_dim, self.num_classes, self.seconds, self.log, self.name = 2, 5, seconds, log, name
        self.told: list[tuple[torch.Tensor, torch.Tensor | None, int]] = []

    def forward(self, z: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        self.log.append(self.name)
        self.told.append((z, condition, torch.get_num_threads()))
        time.sleep(self.seconds)
        return z


def test_forms_take_turns_and_settle_for_equal_times_which_are_not_counted() -> None:
    log: list[str] = []

    def form(name: str, seconds: float):
        def run(number: int) -> None:
            log.append(f"{name}{number}")
            time.sleep(seconds)

        return run

    forms = [form("slow", 0.11), form("quick", 0.04)]
    turns = take_turns(forms, rounds=2, passes=2, warm_up=1, settle_ms=100.0, compute=CPU)
    slow, quick = ([entry for entry in log if entry.startswith(name)] for name in ("slow", "quick"))
    # Those that settle have the inputs of passes to come, and none of those that count in this turn.
    assert slow == ["slow0", "slow2", "slow0", "slow1", "slow4", "slow2", "slow3"]
    assert quick[:3] == ["quick0", "quick2", "quick3"] and quick[-2:] == ["quick2", "quick3"]
    assert turns.rounds == 2 and [len(own) for own in turns.ms] == [4, 4]
    assert [len(own) for own in turns.first_ms] == [2, 2] and turns.first_ms[0][0] not in turns.ms[0]
    # What studies before the tenth counted: the five passes after a turn's first, here all that there are.
    assert [len(own) for own in turns.early_ms] == [4, len(quick) - 1 - 2] and set(turns.ms[0]) <= set(
        turns.early_ms[0]
    )


def test_forms_take_turns_in_an_order_that_is_drawn_anew_each_round() -> None:
    log: list[int] = []
    forms = [partial(lambda which, number: log.append(which), which) for which in range(4)]
    take_turns(forms, rounds=8, passes=2, warm_up=0, compute=CPU)
    rounds = [log[start : start + 8] for start in range(0, 64, 8)]
    assert all(sorted(each[::2]) == [0, 1, 2, 3] and each[::2] == each[1::2] for each in rounds)
    assert len(set(map(tuple, rounds))) > 3


def test_without_settling_the_first_pass_counts() -> None:
    log: list[int] = []
    turns = take_turns([log.append], rounds=2, passes=2, warm_up=0, compute=CPU)
    assert log == [0, 1, 2, 3] and turns.first_ms == [turns.ms[0][::2]]


def test_time_bounds_the_rounds_but_every_form_has_as_many() -> None:
    calls = [lambda number: time.sleep(0.02), lambda number: None]
    turns = take_turns(calls, rounds=1000, passes=2, warm_up=0, seconds=0.15, compute=CPU)
    assert 1 <= turns.rounds <= 6 and len(turns.ms[0]) == len(turns.ms[1]) == 2 * turns.rounds
    assert take_turns(calls, rounds=1000, passes=1, warm_up=0, seconds=0.0, compute=CPU).rounds == 1


def test_times_are_those_of_the_form_and_each_pass_has_inputs_of_its_own() -> None:
    log: list[str] = []
    opened: list[tuple[Sleeper, int]] = []

    def start(seconds: float, name: str):
        def open_it(threads: int) -> Generator:
            opened.append((Sleeper(seconds, log, name), threads))
            return opened[-1][0]

        return open_it

    def broken(threads: int) -> Generator:
        raise GanlineError("no compiler", remedy="install one")

    draw = drawing_inputs(seed=3, compute=CPU)
    measured = measure_times(
        {"slow": start(0.02, "slow"), "quick": start(0.012, "quick"), "broken": broken},
        threads=2,
        rounds=4,
        seconds=20.0,
        draw=draw,
        compute=CPU,
        batch=8,
    )
    timings = measured.timings
    assert list(timings) == ["slow", "quick"] == list(measured.images)
    assert measured.failed == {"broken": "GanlineError: no compiler to do: install one"}
    assert 20 <= timings["slow"].p50_ms < 200 and 12 <= timings["quick"].p50_ms < 100  # a busy machine sleeps longer
    assert timings["slow"].p50_ms <= timings["slow"].p95_ms and timings["slow"].cold_ms >= 20
    assert 8 / 0.2 < timings["slow"].throughput <= 8 / 0.02 and timings["slow"].batch == 8
    assert timings["slow"].rounds == 4
    # Opened on one thread for single images, on two for batches; both ran so.
    assert [threads for _, threads in opened] == [1, 1, 2, 2]
    assert {told[2] for told in opened[0][0].told} == {1} and {told[2] for told in opened[2][0].told} == {2}
    assert {len(told[0]) for told in opened[0][0].told} == {1} and {len(told[0]) for told in opened[2][0].told} == {8}
    seen = [told[0] for told in opened[0][0].told[-10:]]
    assert not any(torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])
    # All are told the same classes (and settle within one pass).
    assert [told[1] for told in opened[0][0].told] == [told[1] for told in opened[1][0].told]


def test_inputs_are_functions_of_seed_and_number() -> None:
    G, draw = small(), drawing_inputs(seed=1, compute=CPU)
    z, _ = draw(G, 3, 0)
    again, _ = draw(G, 3, 0)
    other, _ = draw(G, 3, 1)
    assert z.shape == (3, G.z_dim) and torch.equal(z, again) and not torch.equal(z, other)
    of_classes, untold = Sleeper(0.0, [], "a"), Sleeper(0.0, [], "b")
    untold.num_classes = 0
    labels = draw(of_classes, 64, 0)[1]
    assert labels is not None and set(labels.tolist()) == {0, 1, 2, 3, 4}
    assert draw(untold, 3, 0)[1] is None


def test_a_pool_of_inputs_comes_again_when_it_is_used_up() -> None:
    G = Sleeper(0.0, [], "a")
    run = passes_of(G, batch=128, draw=drawing_inputs(seed=0, compute=CPU))
    for number in range(LEAST_POOL + 1):
        run(number)
    first, second, *_, again = (told[0] for told in G.told)
    assert torch.equal(first, again) and not torch.equal(first, second)


@pytest.mark.parametrize(("percent", "warned"), [(5.0, False), (75.0, True)])
def test_a_busy_machine_is_told_of(
    percent: float, warned: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("psutil.cpu_percent", lambda interval: percent)
    monkeypatch.setattr("psutil.cpu_count", lambda: 2)
    warn_if_busy(2)
    assert ("other work holds 1.5 of the 2 cores" in caplog.text) == warned


def test_threads_are_put_back_even_after_an_error() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ValueError), torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise ValueError
    assert torch.get_num_threads() == before


def test_real_forms_are_timed_together(exported: Path) -> None:
    G = small()
    measured = measure_times(
        {"eager": lambda threads: eager_generator(G, CPU), "onnx": lambda threads: open_generator(exported)},
        threads=1,
        rounds=3,
        seconds=5.0,
        draw=drawing_inputs(seed=0, compute=CPU),
        compute=CPU,
        batch=4,
    )
    assert not measured.failed and all(timing.p50_ms > 0 for timing in measured.timings.values())
    eager, onnx = measured.images.values()
    assert eager.dtype == onnx.dtype == torch.uint8 and eager.shape == onnx.shape == (4, 1, 16, 16)
    assert levels_apart(eager, onnx) <= 1 and eager.float().std() > 1


def test_compiling_without_a_compiler_is_refused_with_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Compute, "can_compile", lambda self: False)
    with pytest.raises(GanlineError, match="finds no compiler"):
        compiled_generator(small(), CPU)


@pytest.mark.slow
@pytest.mark.skipif(
    not pick("fp32").can_compile(), reason="torch.compile finds no compiler here: another test says that this is told"
)
def test_compiled_forms_paint_the_same_and_two_instances_do_not_share_their_compilations() -> None:
    for _ in range(2):
        G = small()
        compiled = compiled_generator(G, CPU)
        for n in (1, 3):
            z, label = drawn(G, n)
            with torch.inference_mode():
                assert (compiled(z, label) - G(z, label)).abs().max() <= 1e-5
        cached = torch._dynamo.eval_frame._debug_get_cache_entry_list(compiled.compiled._torchdynamo_orig_callable)
        assert len(cached) == 2


def test_multiply_accumulates_are_those_of_the_layers() -> None:
    G = small()  # 16 px: Linear 11 -> 16 * 8 * 8, then one convolution 16 -> 4 at 8 x 8
    z, label = drawn(G, 1)
    assert macs_of(G, z, label) == 11 * 1024 + 9 * 16 * 4 * 64 == macs_of(fold(G), z, label)


def test_attention_counts_as_two_products() -> None:
    class Attends(Generator):
        def forward(self, z: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
            x = z.view(1, 2, 4, 8)  # two heads, four positions, eight numbers
            return torch.nn.functional.scaled_dot_product_attention(x, x, x)

    assert macs_of(Attends(), torch.randn(1, 64)) == 2 * (2 * 4 * 4 * 8)


def test_bytes_are_those_of_parameters_and_saved_buffers() -> None:
    assert bytes_of(torch.nn.BatchNorm1d(4)) == 4 * 4 * 4 + 8
    assert bytes_of(torch.nn.Linear(3, 2).double()) == 8 * 8
