"""Try a change of a student's recipe: train it, measure it on the validation split by both extractors, append a line.

    python benchmarks/ways.py narrow --seed 9 longer total_kimg=600 model.d_width=48

Options are keys of `students.train`, laid over what the way of --preset has.
Needs artifacts/prepare, extractor and judge (`ganline fetch`, then `dvc repro extractor judge`). The test split, which
the study measures on, is never read, and training seeds of the study are refused. One thread a training, so that two
may run side by side: OMP_NUM_THREADS is set to 1 unless you set it. The log is benchmarks/results/ways.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from ganline.environment import set_defaults

set_defaults()
os.environ.setdefault("OMP_NUM_THREADS", "1")

import yaml
from validating import distances

from ganline.config import Config, parse, read_yaml
from ganline.data.loader import Prepared
from ganline.devices import machine, make_exact, pick
from ganline.evaluation.uncertainty import spread
from ganline.models import Conditioning, ImageSpec
from ganline.overlay import merge
from ganline.stages.places import PREPARE
from ganline.training.config import TrainConfig
from ganline.training.loop import Run, train

ROOT = Path(__file__).parents[1]
LOG = ROOT / "benchmarks" / "results" / "ways.jsonl"


def laid_over(options: list[str]) -> dict[str, Any]:
    """`a.b=1` -> {"a": {"b": 1}}, of all options together."""
    told: dict[str, Any] = {}
    for key, _, value in (each.partition("=") for each in options):
        inner = yaml.safe_load(value)
        for part in reversed(key.split(".")):
            inner = {part: inner}
        told = merge(told, inner)
    return told


def configured(config: Config, way: str, seed: int, options: dict[str, Any]) -> TrainConfig:
    section = config.students.training(way, seed).model_dump(mode="json")
    return TrainConfig.model_validate(merge(section, options | {"checkpoint_seconds": 1e9}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("way", help="a way on real images whose z_dim is its own")
    parser.add_argument("name")
    parser.add_argument("options", nargs="*", help="key=value")
    parser.add_argument("--preset", default="speedup-fashion")
    parser.add_argument("--seed", type=int, default=9)
    arguments = parser.parse_args()
    preset = f"presets/{arguments.preset}.yaml"
    config = parse(merge(read_yaml(ROOT / "params.yaml"), read_yaml(ROOT / preset)), source=preset)
    if arguments.seed in (*config.students.seeds, *config.students.seeds_of(arguments.way)):
        parser.error(f"seed {arguments.seed} is one that the study trains with")
    options = laid_over(arguments.options)
    section = configured(config, arguments.way, arguments.seed, options)
    make_exact()
    compute, prepared, measured = pick(section.precision), Prepared(ROOT / PREPARE), distances(ROOT, pick("fp32"))
    image = ImageSpec(resolution=prepared.resolution, channels=prepared.channels)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as work:
        started = time.process_time()
        state = train(
            section,
            prepared.split("train"),
            image=image,
            conditioning=Conditioning(labels=prepared.labels),
            run=Run(Path(work), arguments.name, machine(compute)),
            compute=compute,
        )
        cpu_seconds = time.process_time() - started
    found = {key: [round(value, 4) for value in values] for key, values in measured(state.G_ema).items()}
    row = {
        "way": arguments.way,
        "name": arguments.name,
        "seed": arguments.seed,
        "options": arguments.options,
        "figures": {key: spread(values) | {"seeds": values} for key, values in found.items()},
        "cpu_us_an_image": round(1e6 * cpu_seconds / state.nimg),
        "nimg": state.nimg,
        "machine": machine(compute),
    }
    print(json.dumps(row))
    with LOG.open("a") as log:
        log.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
