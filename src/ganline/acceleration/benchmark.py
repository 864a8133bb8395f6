"""The clock for generators, the same for teacher and students.

All forms take turns, so that a busy moment meets them all, in an order that is drawn anew each round; inputs differ
from pass to pass and are drawn beforehand; what a pass returns is there before the clock stops. Threads are the same on
all sides. Only ratios within one call carry over to another moment or machine.
"""

from __future__ import annotations

import logging
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import psutil
import torch

from ganline.acceleration.mixture import members_of
from ganline.acceleration.study import Timing
from ganline.devices import Compute
from ganline.images import to_pixels
from ganline.models.spec import Generator
from ganline.seeds import generator

log = logging.getLogger(__name__)

Open = Callable[[int], Generator]
"""Threads -> a generator that runs on so many: its opening is timed."""
Draw = Callable[[Generator, int, int], tuple[torch.Tensor, torch.Tensor | None]]
"""Generator, batch, number of the pass -> z [batch, z_dim] and labels int64 [batch] or None: see `drawing_inputs`."""
Pass = Callable[[int], object]
"""Number of the pass -> images."""
WARM_UP, PASSES, BATCH_PASSES = 3, 5, 2
"""Passes of a form before the clock; in each of its turns, of single images and of batches."""
SETTLE_MS = 10.0
"""How long a form runs in its turn before its times count, in whole passes: one or two of a language model, a hundred
of a GAN. One pass of each would leave a GAN's caches, and all members of a mixture but one, to the forms before it."""
EARLY = slice(1, 6)
"""The passes of a turn that counted in studies before the tenth, where forms settled for one pass."""
LONGEST_REASON = 300
ORDER_SEED = 1
LOOK_SECONDS = 1.0
"""How long the machine is watched before the clock starts."""
POOL, LEAST_POOL = 256, 16
"""Images, and batches at least, whose inputs are drawn beforehand; then they come again."""


@dataclass(frozen=True)
class Turns:
    """Milliseconds of each pass that counts, form by form; of each turn's first, and of its EARLY ones, which are not
    among them where turns settle; and how many rounds there were."""

    ms: list[list[float]]
    first_ms: list[list[float]]
    early_ms: list[list[float]]
    rounds: int


@dataclass(frozen=True)
class Measured:
    """What the clock found, by form: times; why others could not be had; and pixels uint8 [batch, C, H, W] of equal
    inputs, for whoever wants to know whether forms of one network paint the same."""

    timings: dict[str, Timing]
    failed: dict[str, str]
    images: dict[str, torch.Tensor]


def take_turns(
    forms: Sequence[Pass],
    *,
    rounds: int,
    compute: Compute,
    passes: int = PASSES,
    warm_up: int = WARM_UP,
    settle_ms: float = 0.0,
    seconds: float | None = None,
) -> Turns:
    """Time all forms round by round, each `passes` times in its turn, until `rounds` are done or `seconds` are over
    (but one at least). A turn begins with whole passes for at least `settle_ms`, which do not count: they bring the
    form's weights back to the caches that the others used. Their inputs are those that come after the counted ones."""
    with torch.inference_mode():
        for run in forms:
            for number in range(warm_up):
                run(number)
        compute.synchronize()
        ms: list[list[float]] = [[] for _ in forms]
        first_ms: list[list[float]] = [[] for _ in forms]
        early_ms: list[list[float]] = [[] for _ in forms]
        order, draws = list(range(len(forms))), random.Random(ORDER_SEED)
        begun, done = time.perf_counter(), 0
        while done < rounds and (not done or seconds is None or time.perf_counter() - begun < seconds):
            draws.shuffle(order)
            for which in order:
                run, at, settled, left = forms[which], done * passes, list[float](), settle_ms
                while left > 0:
                    settled.append(pass_ms(run, at + passes + len(settled), compute))
                    left -= settled[-1]
                counted = [pass_ms(run, at + turn, compute) for turn in range(passes)]
                first, *_ = every = [*settled, *counted]
                ms[which] += counted
                first_ms[which].append(first)
                early_ms[which] += every[EARLY]
            done += 1
    return Turns(ms, first_ms, early_ms, done)


def pass_ms(run: Pass, number: int, compute: Compute) -> float:
    """Milliseconds of one pass."""
    compute.synchronize()
    started = time.perf_counter()
    run(number)
    compute.synchronize()
    return 1000 * (time.perf_counter() - started)


def measure_times(
    forms: Mapping[str, Open],
    *,
    threads: int,
    rounds: int,
    seconds: float,
    draw: Draw,
    compute: Compute,
    batch: int = 64,
    settle_ms: float = SETTLE_MS,
) -> Measured:
    """Times of each form: a single image on one thread, and `batch` of them on `threads`.

    Each of the two takes `rounds` rounds, or as many as fit into half of `seconds`; openings come on top.
    """
    warn_if_busy(threads)
    single, cold_ms, failed = open_all(forms, draw=draw, compute=compute)
    turns = partial(take_turns, rounds=rounds, seconds=seconds / 2, compute=compute, settle_ms=settle_ms)
    passes = partial(passes_of, draw=draw)
    with torch_threads(1):
        latency = turns([passes(G, batch=1) for G in single.values()])
        log.info("times: %d rounds of single images", latency.rounds)
    with torch_threads(threads):
        wide = single if threads == 1 else {name: forms[name](threads) for name in single}
        flow = turns([passes(G, batch=batch) for G in wide.values()], passes=BATCH_PASSES)
        log.info("times: %d rounds of %d images on %d threads", flow.rounds, batch, threads)
        with torch.inference_mode():
            images = {name: to_pixels(G(*draw(G, batch, 0))).cpu() for name, G in wide.items()}
    timings = {}
    clocked = zip(single, latency.ms, latency.first_ms, latency.early_ms, flow.ms, strict=True)
    for name, ms, first_ms, early_ms, batch_ms in clocked:
        p50, p95 = np.percentile(ms, (50, 95))
        timings[name] = Timing(
            p50_ms=float(p50),
            p95_ms=float(p95),
            first_ms=statistics.median(first_ms),
            early_ms=statistics.median(early_ms),
            throughput=1000 * batch / statistics.median(batch_ms),
            batch=batch,
            cold_ms=cold_ms[name],
            rounds=latency.rounds,
            batch_rounds=flow.rounds,
        )
    return Measured(timings, failed, images)


def open_all(
    forms: Mapping[str, Open], *, draw: Draw, compute: Compute
) -> tuple[dict[str, Generator], dict[str, float], dict[str, str]]:
    """Open each form on one thread and make its first image (of a mixture, each member's): generators, milliseconds of
    that, and what failed.

    Libraries are loaded and used once before, whoever needs them, so that the first form does not pay for all; a
    compiler finds nothing of what it compiled for others.
    """
    load_libraries()
    use_once(compute)
    opened, cold_ms, failed = {}, {}, {}
    for name, start in forms.items():
        with torch_threads(1), torch.inference_mode(), fresh_compiler_cache():
            started = time.perf_counter()
            try:
                G = start(1)
                z, told = draw(G, 1, 0)
                for network in members_of(G):  # each opens, and compiles, when it is first asked
                    network(z[:, : network.z_dim], told)
                compute.synchronize()
            except Exception as error:  # whatever a compiler or a runtime may raise: that it does is what is found
                failed[name] = " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST_REASON]
                log.warning("%s cannot be timed here: %s", name, failed[name])
                continue
            opened[name], cold_ms[name] = G, 1000 * (time.perf_counter() - started)
        log.info("times: %s opened in %.0f ms", name, cold_ms[name])
    return opened, cold_ms, failed


def warn_if_busy(threads: int) -> None:
    """Say so where others want the cores too: several threads of one pass then wait for each other, and the forms that
    use OpenMP's (torch's) suffer more than ONNX Runtime's."""
    cores = psutil.cpu_count() or 1
    busy = cores * psutil.cpu_percent(interval=LOOK_SECONDS) / 100  # this process sleeps meanwhile
    if busy + threads > cores + 0.5:
        log.warning(
            "times: other work holds %.1f of the %d cores while %d are timed: times are longer then and ratios may "
            "be off; run it again on a quiet machine",
            busy,
            cores,
            threads,
        )


def passes_of(G: Generator, *, batch: int, draw: Draw) -> Pass:
    """The pass of a generator, to pixels in the host's memory: each has the next inputs of a pool."""
    count = max(POOL // batch, LEAST_POOL)
    pool = [draw(G, batch, number) for number in range(count)]
    return lambda number: to_pixels(G(*pool[number % count])).cpu()


def drawing_inputs(*, seed: int, compute: Compute) -> Draw:
    """A Draw of standard normal z, and of labels or nothing beside it, as G is told: the same for every generator that
    is told the same."""

    def draw(G: Generator, batch: int, number: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        z = torch.randn(batch, G.z_dim, generator=generator(seed, f"time z {batch}", number))
        draws = generator(seed, f"time condition {batch}", number)
        told = torch.randint(G.num_classes, (batch,), generator=draws).to(compute.device) if G.num_classes else None
        return z.to(compute.device, compute.dtype), told

    return draw


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Give torch so many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def fresh_compiler_cache() -> Iterator[None]:
    """Let torch.compile find nothing that it compiled before."""
    from torch._inductor.utils import fresh_cache

    with fresh_cache():
        yield


def load_libraries() -> None:
    """Import what opening a form may import, so that the first form does not pay for all."""
    from importlib import import_module, util

    for name in ("onnx", "onnxruntime", "torch._dynamo", "torch._inductor.compile_fx"):
        if util.find_spec(name.partition(".")[0]):
            import_module(name)


def use_once(compute: Compute) -> None:
    """Let ONNX Runtime and, where there is one, the compiler do something small."""
    import onnx
    import onnxruntime as ort

    one = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    two = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "once", [one], [two])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    if compute.can_compile():
        with torch.inference_mode():
            torch.compile(lambda x: x + 1, dynamic=False)(torch.zeros(64, device=compute.device))
