"""ganline's training step against other projects' own loops: the same image size, batch and threads.

    python benchmarks/loops_of_others.py --mimicry ../mimicry --lightweight ../lightweight-gan --seconds 60 \
        --out benchmarks/results/loops_of_others.json

mimicry's SNGAN for 32 px, RGB, at its published widths, batch 64 and five updates of D a step, against the family
`sngan` with the same sizes (the parameters are counted), in fp32 and at best precision. lightweight-gan at 32 px, grey,
40 images a step, against the default recipe at that size and batch: other networks, each its project's own, so that
ratio is one of projects, not of loops. Other projects run as in versus_others.py; images are real ones that D sees.
Each in a process of its own, one after the other. Needs artifacts/prepare.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ganline.environment import DEFAULTS, set_defaults

set_defaults()

import numpy as np
from loops import WARM_UP
from scaling import Resized

from ganline.config import read_yaml
from ganline.data.loader import Batches, Prepared
from ganline.devices import available_cores, machine, make_exact, pick
from ganline.models import Conditioning, ImageSpec
from ganline.overlay import merge
from ganline.training.config import TrainConfig
from ganline.training.state import make_state
from ganline.training.step import run_step

ROOT = Path(__file__).parents[1]
SIDE = 32
ADAM = {"lr": 2e-4, "betas": [0.0, 0.9]}
SAME: dict[str, dict[str, Any]] = {
    "mimicry": {
        "batch": 64,
        "model": {"name": "sngan", "g_width": 256, "d_width": 128, "class_conditional": False},
        "objective": {"adversarial": "hinge", "n_critic": 5, "r1_gamma": 0.0, "r2_gamma": 0.0},
        "G_optimizer": ADAM,
        "D_optimizer": ADAM,
    },
    "lightweight": {"batch": 40},
}
CHANNELS = {"mimicry": 3, "lightweight": 1}


def ours(other: str, precision: str, folder: Path, seconds: float) -> dict[str, Any]:
    """ganline's loop in this process: whole cycles of lazy penalties after a warm-up, and until `seconds` are over."""
    make_exact()
    prepared = Prepared(folder)
    section = merge(read_yaml(ROOT / "params.yaml")["train"], SAME[other] | {"precision": precision})
    config = TrainConfig.model_validate(section)
    compute, phases = pick(config.precision), config.objective.phases()
    labels = prepared.labels if config.model.class_conditional else ()
    image = ImageSpec(resolution=SIDE, channels=CHANNELS[other])  # type: ignore[arg-type]
    state = make_state(config, image, Conditioning(labels=labels), compute)
    split = Resized(prepared.split("train"), SIDE)
    split.images = np.repeat(split.images, CHANNELS[other], axis=1)
    batches = Batches(split, batch=config.batch, seed=0, mirror=config.mirror, device=compute.device)

    def steps(count: int) -> None:
        for _ in range(count):
            run_step(state, config=config, phases=phases, batches=batches, compute=compute)
        compute.synchronize()

    cycle = config.objective.penalty_every if config.objective.r1_gamma else 1
    steps(1 if config.objective.n_critic > 1 else WARM_UP)
    started, before = time.monotonic(), state.nimg
    while time.monotonic() - started < seconds:
        steps(cycle)
    elapsed = time.monotonic() - started
    parameters = {name: sum(p.numel() for p in net.parameters()) for name, net in (("G", state.G), ("D", state.D))}
    speed = {"nimg": state.nimg - before, "seconds": elapsed, "images_per_second": (state.nimg - before) / elapsed}
    return speed | {"parameters": parameters, "machine": machine(compute)}


def theirs(script: str, repo: Path, python: str, options: argparse.Namespace) -> dict[str, Any]:
    """The other project's loop, with none of ganline's settings."""
    images = options.prepared / "train_images.npy"
    flags = {"repo": repo, "images": images, "seconds": options.seconds, "threads": available_cores()}
    command = [python, str(ROOT / "benchmarks" / script), *(str(x) for k, v in flags.items() for x in (f"--{k}", v))]
    plain = {key: value for key, value in os.environ.items() if key not in DEFAULTS}
    done = subprocess.run(command, env=plain, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mimicry", type=Path, metavar="REPO", help="a checkout of kwotsin/mimicry")
    parser.add_argument("--lightweight", type=Path, metavar="REPO", help="a checkout of lucidrains/lightweight-gan")
    parser.add_argument("--python", default=sys.executable, help="the interpreter for the other projects")
    parser.add_argument("--prepared", type=Path, default=ROOT / "artifacts" / "prepare")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--measure", nargs=2, metavar=("OTHER", "PRECISION"), help="ganline's side, in this process")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(ours(*options.measure, options.prepared, options.seconds)))
        return
    results: dict[str, Any] = {}
    for name, script in (("mimicry", "run_mimicry.py"), ("lightweight", "run_lightweight.py")):
        if repo := getattr(options, name):
            row = {"theirs": theirs(script, repo, options.python, options)}
            for precision in ("fp32", "auto"):
                flags = ["--measure", name, precision, "--prepared", str(options.prepared)]
                command = [sys.executable, __file__, *flags, "--seconds", str(options.seconds)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                row[precision] = json.loads(done.stdout.splitlines()[-1])
                rates = [row[key]["images_per_second"] for key in (precision, "theirs")]
                row[precision]["ratio"] = rates[0] / rates[1]
            results[name] = row
            print(name, {key: round(value["images_per_second"], 1) for key, value in row.items()}, flush=True)
            if options.out:
                options.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
