"""Where a training step's time goes: torch.profiler over the real step on real data.

Steps are timed without the profiler, which slows what it watches, and one by one, so that the mean over all is the mean
over their kinds; shares and operators come from a pass of their own.
Shares are of the time inside the ranges "ganline/…" that training/step.py opens.
"""

from __future__ import annotations

import math
import os
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch.autograd import DeviceType

from ganline.data.loader import Batches, Prepared
from ganline.devices import Compute, device_memory_mb, machine
from ganline.errors import ConfigError, DataError
from ganline.files import atomic_path
from ganline.models import Conditioning, ImageSpec
from ganline.training.config import TrainConfig
from ganline.training.state import State, make_state
from ganline.training.step import run_step

WARM_UP, ROUNDS = 4, 3
RANGE = "ganline/"
STEP = RANGE + "step"
BETWEEN = "between the ranges"
TOP = 12
MEANINGS = {
    "draw": "the next batch of images and its latents",
    "ema": "G_ema, the moving average of G's weights",
    BETWEEN: "the rest of the step, in no phase above",
}
Timed = list[tuple[float, frozenset[str]]]  # seconds of each step, and the names of its statistics


@dataclass(frozen=True)
class Kind:
    """Steps that told the same statistics: `extra` is what not every step tells, such as a lazy penalty's value.

    `ms` is their mean.
    """

    extra: tuple[str, ...]
    num_steps: int
    ms: float


@dataclass(frozen=True)
class Operator:
    """One operator: calls a step, and its own time (without operators inside it) as a share of the whole."""

    name: str
    calls: float
    share: float


@dataclass(frozen=True)
class Profile:
    """What `profile_training` found.

    `phases` sums to one. Shares are of a step's time on the host, or of the device's working time if there is one;
    `device_busy` is then the share of the time in which it worked. `outside_operators` is the share of the host's time
    in which no operator of torch ran: Python, and the profiler's own work. `slowdown` is what the profiler cost.
    `num_steps` is a multiple of `cycle`, after which lazy penalties repeat; `ms` is the mean of `kinds` over all steps.
    """

    machine: dict[str, str | int]
    model: str
    batch: int
    resolution: int
    num_parameters: dict[str, int]
    num_steps: int
    cycle: int
    ms: float
    images_per_second: float
    kinds: tuple[Kind, ...]
    phases: dict[str, float]
    operators: tuple[Operator, ...]
    outside_operators: float
    device_busy: float | None
    slowdown: float
    memory_mb: float
    device_memory_mb: float | None


def profile_training(
    config: TrainConfig,
    folder: Path,
    *,
    compute: Compute,
    steps: int = 16,
    at: float = 1.0,
    trace: Path | None = None,
) -> Profile:
    """Profile `steps` steps (rounded up to whole cycles of lazy penalties) of the configured training.

    `folder` is the prepared data; `at` is the share of the budget at which to look: networks may grow and schedules
    move. Fresh weights, and nothing is kept. `trace` names a file for Chrome's trace viewer (also ui.perfetto.dev).
    Raises DataError without prepared data, ConfigError where options make no sense.
    """
    if steps < 1:
        raise ConfigError(f"--steps {steps}", expected="at least one step", remedy="give --steps 16, or leave it out")
    if not 0 <= at <= 1:
        raise ConfigError(f"--at {at}", expected="a share of the budget", remedy="give --at a number from 0 to 1")
    if not (folder / "dataset.json").is_file():
        raise DataError(
            f"no prepared data in {folder}",
            remedy="run `ganline run` first; a preset's data are in its workspace: cd .ganline/ws/NAME",
        )
    prepared = Prepared(folder)
    image = ImageSpec(resolution=prepared.resolution, channels=prepared.channels)  # type: ignore[arg-type]
    labels = prepared.labels if config.model.class_conditional else ()
    state = make_state(config, image, Conditioning(labels=labels), compute)
    state.nimg = round(at * config.total_nimg)
    step = stepper(state, config, prepared, compute)
    cycle = math.lcm(config.objective.penalty_every, config.objective.path_length_every)
    steps = math.ceil(steps / cycle) * cycle
    for _ in range(WARM_UP):
        step()

    before = state.nimg
    best = min((timed(step, steps, compute) for _ in range(ROUNDS)), key=total_seconds)  # others disturbed it least
    seconds = total_seconds(best)
    rate = (state.nimg - before) / ROUNDS / seconds
    events, watched_seconds = watched(step, steps, compute=compute, trace=trace)
    on_device = compute.device.type != "cpu"
    phases = device_times(events) if on_device else wall_times(events)
    return Profile(
        machine=machine(compute),
        model=config.model.name,
        batch=config.batch,
        resolution=prepared.resolution,
        num_parameters={name: sum(p.numel() for p in state.networks[name].parameters()) for name in ("G", "D")},
        num_steps=steps,
        cycle=cycle,
        ms=seconds / steps * 1000,
        images_per_second=rate,
        kinds=by_kind(best),
        phases=shares(phases),
        operators=operators(events, steps, on_device=on_device, total=sum(phases.values())),
        outside_operators=outside_operators(events),
        device_busy=sum(phases.values()) / 1e6 / watched_seconds if on_device else None,
        slowdown=watched_seconds / seconds,
        memory_mb=peak_memory_mb(),
        device_memory_mb=device_memory_mb(compute),
    )


def stepper(state: State, config: TrainConfig, prepared: Prepared, compute: Compute) -> Callable[[], set[str]]:
    """One real step a call, which returns the names of its statistics: the only place that calls `run_step`."""
    split = prepared.split("train")
    batches = Batches(split, batch=config.batch, seed=config.seed, mirror=config.mirror, device=compute.device)
    phases = config.objective.phases()

    def step() -> set[str]:
        return set(run_step(state, config=config, phases=phases, batches=batches, compute=compute))

    return step


def timed(step: Callable[[], set[str]], steps: int, compute: Compute) -> Timed:
    """Each of `steps` steps on end. A device is waited for at both ends only, as in training: its clock marks steps."""
    compute.synchronize()
    marks, told = [mark(compute)], []
    for _ in range(steps):
        told.append(frozenset(step()))
        marks.append(mark(compute))
    compute.synchronize()
    return [(seconds_between(*ends), names) for ends, names in zip(pairwise(marks), told, strict=True)]


def mark(compute: Compute) -> Any:
    """This moment: on the host's clock, or where the device will be when it has done all that it was given so far."""
    if compute.device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(compute.device))
    return event


def seconds_between(start: Any, end: Any) -> float:
    """From one `mark` to a later one."""
    return float(end - start) if isinstance(start, float) else start.elapsed_time(end) / 1000


def total_seconds(steps: Timed) -> float:
    return sum(seconds for seconds, _ in steps)


def by_kind(steps: Timed) -> tuple[Kind, ...]:
    """Steps grouped by the statistics that not all of them tell, the plain ones first."""
    common = frozenset.intersection(*(told for _, told in steps))
    groups: dict[tuple[str, ...], list[float]] = {}
    for seconds, told in steps:
        groups.setdefault(tuple(sorted(told - common)), []).append(seconds * 1000)
    return tuple(Kind(extra, len(ms), fmean(ms)) for extra, ms in sorted(groups.items()))


def watched(
    step: Callable[[], set[str]], steps: int, *, compute: Compute, trace: Path | None
) -> tuple[list[Any], float]:
    """The profiler's events of `steps` steps, and the seconds that they took while it looked."""
    from torch.profiler import ProfilerActivity, profile, record_function

    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it tells of its start and stop otherwise
    activities = [ProfilerActivity.CPU]
    if compute.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)

    def marked() -> set[str]:
        with record_function(STEP):
            return step()

    with profile(activities=activities) as profiler:
        seconds = total_seconds(timed(marked, steps, compute))
    if trace is not None:
        with atomic_path(trace) as partial:
            profiler.export_chrome_trace(str(partial))
    return list(profiler.events()), seconds


def host_ranges(events: Iterable[Any]) -> list[Any]:
    """Our ranges on the host's clock, outer before inner."""
    ours = [event for event in events if event.name.startswith(RANGE) and event.device_type == DeviceType.CPU]
    return sorted(ours, key=lambda event: (event.time_range.start, -event.time_range.end))


def label(name: str) -> str:
    """A range's name without its prefix; what a step does outside of all its ranges has a name of its own."""
    return BETWEEN if name == STEP else name.removeprefix(RANGE)


def wall_times(events: Iterable[Any]) -> dict[str, float]:
    """Microseconds by range on the host's clock, inner ranges apart: they add up to all steps."""
    times: Counter[str] = Counter()
    open_: list[Any] = []
    for event in host_ranges(events):
        start, end = event.time_range.start, event.time_range.end
        while open_ and open_[-1].time_range.end <= start:
            open_.pop()
        if open_:
            times[label(open_[-1].name)] -= end - start
        times[label(event.name)] += end - start
        open_.append(event)
    return dict(times)


def device_times(events: Sequence[Any]) -> dict[str, float]:
    """Microseconds of kernels by the range in which the host launched them, on whichever thread that was."""
    ranges = host_ranges(events)
    starts = [event.time_range.start for event in ranges]
    times: Counter[str] = Counter({label(event.name): 0.0 for event in ranges})
    for event in events:
        if is_operator(event) and event.self_device_time_total > 0:
            at = event.time_range.start
            index = bisect_right(starts, at) - 1
            while index >= 0 and ranges[index].time_range.end < at:  # closed before; an outer one may still be open
                index -= 1
            times[label(ranges[index].name) if index >= 0 else BETWEEN] += event.self_device_time_total
    return dict(times)


def shares(times: dict[str, float]) -> dict[str, float]:
    """Times as shares of their sum, in the order in which they came, with what lies between the ranges last."""
    total = sum(times.values()) or 1.0
    ordered = sorted(times, key=lambda name: name == BETWEEN)
    return {name: times[name] / total for name in ordered}


def operators(events: Iterable[Any], steps: int, *, on_device: bool, total: float) -> tuple[Operator, ...]:
    """The TOP operators by their own time, on the device's clock if there is one, as shares of `total` microseconds."""
    times: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for event in events:
        if is_operator(event):
            times[event.name] += event.self_device_time_total if on_device else event.self_cpu_time_total
            calls[event.name] += 1
    return tuple(Operator(name, calls[name] / steps, us / total) for name, us in times.most_common(TOP) if us)


def is_operator(event: Any) -> bool:
    """Whether an event is torch's own work on the host (kernels hang on it), not a range or a kernel by itself."""
    return event.device_type == DeviceType.CPU and not event.is_user_annotation


def outside_operators(events: Sequence[Any]) -> float:
    """Share of the steps' time on the host in which no operator ran, on no thread."""
    steps = sum(e.time_range.end - e.time_range.start for e in host_ranges(events) if e.name == STEP)
    inside = sum(event.self_cpu_time_total for event in events if is_operator(event))
    return max(0.0, 1 - inside / steps) if steps else 0.0


def peak_memory_mb() -> float:
    """The most memory that this process has held so far, libraries and data included."""
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def render(profile: Profile) -> str:
    """The profile as an aligned text table."""
    parameters = ", ".join(f"{name} {count:,}" for name, count in profile.num_parameters.items())
    here = profile.machine
    clock = "host" if profile.device_busy is None else "device"
    whole = f", whole cycles of {profile.cycle}: --steps is rounded up" if profile.cycle > 1 else ""
    rows = [
        ("model", f"{profile.model}, {profile.resolution} px, batch {profile.batch}; parameters: {parameters}"),
        ("machine", f"{here['device']}, {here['threads']} threads, {here['precision']}, torch {here['torch']}"),
        ("step", f"{profile.ms:.2f} ms, {profile.images_per_second:,.0f} images/s ({profile.num_steps} steps{whole})"),
    ]
    if len(profile.kinds) > 1:
        for kind in profile.kinds:
            named = f"with {', '.join(kind.extra)}" if kind.extra else "plain"
            rows.append(("", f"{kind.ms:.2f} ms {named} ({kind.num_steps} of {profile.num_steps})"))
    device = "" if profile.device_memory_mb is None else f"; on the device {profile.device_memory_mb:,.0f} MB"
    rows.append(("memory", f"{profile.memory_mb:,.0f} MB at the peak of the process{device}"))
    idle = f"{profile.outside_operators:.1%} of the time"
    rows.append(("host", f"in no operator of torch {idle}: in Python, and in the profiler itself"))
    if profile.device_busy is not None:
        rows.append(("device", f"busy {profile.device_busy:.0%} of the time"))
    cost = f"took {profile.slowdown:.2f} times as long"
    rows.append(("", f"under the profiler, steps {cost if profile.slowdown >= 1.01 else 'were not measurably slower'}"))
    lines = [f"{key:<8} {value}" for key, value in rows]
    width = max(map(len, (*profile.phases, *(operator.name for operator in profile.operators), BETWEEN)))
    lines += ["", f"{'phase':<{width}}  {'share':>6}  {'ms':>8}   ({clock})"]
    for name, share in profile.phases.items():
        lines.append(f"{name:<{width}}  {share:>6.1%}  {share * profile.ms:>8.2f}   {bar(share)}".rstrip())
    lines += ["", *(f"{name}: {text}" for name, text in MEANINGS.items() if name in profile.phases)]
    lines += ["", f"{'operator (own time)':<{width}}  {'share':>6}  {'ms':>8}   calls a step"]
    for operator in profile.operators:
        ms = f"{operator.share * profile.ms:>8.2f}"
        lines.append(f"{operator.name:<{width}}  {operator.share:>6.1%}  {ms}   {operator.calls:>12.1f}")
    return "\n".join(lines)


def bar(share: float, *, full: int = 40) -> str:
    """A share as a bar of blocks."""
    return "█" * round(share * full)
