"""The int8 forms of teacher and students in turns with one another alone: caches stay warm, as where one model serves.

    python benchmarks/int8_turns.py --root .ganline/ws/speedup-fashion --out benchmarks/results/int8_turns.json

`ganline speedup` lets all forms take turns. Milliseconds at batch 1 and images a second at batch 64, one thread. Of a
mixture its first member alone is timed, too: what being six costs. With `--guidance S` the teacher is also drawn with
classifier-free guidance (two passes a token). `--settle MS …` asks how the ratio depends on how long a form runs in its
turn before its times count.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path

from whole_test import export_guided

from ganline.acceleration.benchmark import Measured, drawing_inputs, measure_times
from ganline.acceleration.decoding_onnx import open_teacher
from ganline.acceleration.runtime import exported, open_generator
from ganline.config import load_config
from ganline.devices import available_cores, cpu_model, host, make_exact
from ganline.files import write_json
from ganline.models.spec import Generator
from ganline.speeding.forms import forms
from ganline.stages.accelerating import TEACHER
from ganline.stages.places import ACCELERATED

TIME_SEED = 12_101


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", type=Path, required=True, help="a workspace where `ganline speedup` ran")
    parser.add_argument("--ways", nargs="+", default=["narrow"])
    parser.add_argument("--guidance", type=float, help="draw the teacher with this guidance, too")
    parser.add_argument("--settle", type=float, nargs="*", default=(), metavar="MS")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    make_exact()
    config, compute = load_config(arguments.root), host()
    every = forms(config, arguments.root, compute, prompts=False)
    opens = {f"{model} int8": every[f"{model} int8"] for model in (TEACHER, *arguments.ways)}
    for way in arguments.ways:
        if len(files := exported(arguments.root / ACCELERATED / way, "int8")) > 1:
            opens[f"{way} one member int8"] = partial(one_member, files[0])
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.guidance is not None:
            export_guided(config, arguments.root, arguments.guidance, Path(scratch))
            name = f"{TEACHER} with guidance {arguments.guidance} int8"
            opens[name] = lambda threads: open_teacher(Path(scratch), "int8", threads=threads)
        clock = partial(
            measure_times,
            opens,
            threads=1,
            rounds=200,
            draw=drawing_inputs(seed=TIME_SEED, compute=compute),
            compute=compute,
        )
        times = told(clock(seconds=120))
        by_settling = {f"{ms:g} ms": told(clock(seconds=30, settle_ms=ms)) for ms in arguments.settle}
    if arguments.out:
        where = {"cpu": cpu_model(), "cores": available_cores()}
        write_json(arguments.out, {"machine": where, "int8": times, "by milliseconds of settling": by_settling})


def told(clocked: Measured) -> dict[str, dict[str, float]]:
    """Each form's times, printed with their ratios to the teacher's."""
    times = {name: asdict(each) for name, each in clocked.timings.items()}
    teacher = times[f"{TEACHER} int8"]
    for name, each in times.items():
        ratios = ", ".join(f"{key} {teacher[key] / each[key]:.1f}" for key in ("p50_ms", "first_ms", "early_ms"))
        ratios += f", throughput {each['throughput'] / teacher['throughput']:.1f}"
        print(
            f"{name}: {each['p50_ms']:.4f} ms, {each['throughput']:,.0f} images/s; teacher's times: {ratios}",
            flush=True,
        )
    return times


def one_member(path: Path, threads: int) -> Generator:
    return open_generator(path, threads=threads)


if __name__ == "__main__":
    main()
