"""How OpenMP's waiting threads decide the speed of training: the default recipe's step under each policy.

    python benchmarks/threads.py --out benchmarks/results/threads.json

Needs artifacts/prepare (`dvc repro prepare`). Every policy runs in a process of its own, the policies in turn,
`--repeats` times; the best rate of each counts. Then two trainings at once, with two threads each and with one each:
few steps, for they may take a second each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
POLICIES = {
    "passive (sleep at once)": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"},
    "bounded spin (ganline's default)": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"},
    "active (spin without end)": {"OMP_WAIT_POLICY": "ACTIVE", "GOMP_SPINCOUNT": "infinity"},
}
STEPS_ALONE, STEPS_TOGETHER = 48, 8


def measure(count: int) -> None:
    """Print images per second of the default recipe's training step, in this process."""
    from ganline.config import load_config
    from ganline.data.loader import Batches, Prepared
    from ganline.devices import machine, make_exact, pick
    from ganline.models import Conditioning, ImageSpec
    from ganline.training.state import make_state
    from ganline.training.step import run_step

    make_exact()
    config, prepared = load_config(ROOT).train, Prepared(ROOT / "artifacts" / "prepare")
    compute, phases = pick(config.precision), config.objective.phases()
    image = ImageSpec(resolution=prepared.resolution, channels=prepared.channels)  # type: ignore[arg-type]
    state = make_state(config, image, Conditioning(labels=prepared.labels), compute)
    batches = Batches(prepared.split("train"), batch=config.batch, seed=0, mirror=False, device=compute.device)

    def steps(count: int) -> float:
        started = time.monotonic()
        for _ in range(count):
            run_step(state, config=config, phases=phases, batches=batches, compute=compute)
        return count * config.batch / (time.monotonic() - started)

    steps(count // 3)
    print(json.dumps({"rate": max(steps(count) for _ in range(2)), "machine": machine(compute)}))


def start(environment: dict[str, str], *, steps: int) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--measure", str(steps)]
    return subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.PIPE, text=True)


def rate_of(process: subprocess.Popen[str]) -> tuple[float, dict]:
    result = json.loads(process.communicate()[0].splitlines()[-1])
    return result["rate"], result["machine"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", type=int, metavar="STEPS", help="measure in this process")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return
    alone: dict[str, list[float]] = {name: [] for name in POLICIES}
    machine: dict = {}
    for _ in range(options.repeats):
        for name, environment in POLICIES.items():
            rate, machine = rate_of(start(environment, steps=STEPS_ALONE))
            alone[name].append(round(rate, 1))
            print(name, alone[name], flush=True)
    together = {}
    for threads in ("2", "1"):
        for name, environment in POLICIES.items():
            env = environment | {"OMP_NUM_THREADS": threads}
            pair = [start(env, steps=STEPS_TOGETHER) for _ in range(2)]
            together[f"{threads} threads each, {name}"] = [round(rate_of(process)[0], 1) for process in pair]
            print(threads, name, together[f"{threads} threads each, {name}"], flush=True)
    base = max(alone["passive (sleep at once)"])
    result = {
        "machine": machine,
        "images_per_second_alone": alone,
        "ratio_to_passive": {name: round(max(rates) / base, 3) for name, rates in alone.items()},
        "images_per_second_of_two_at_once": together,
    }
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["ratio_to_passive"], indent=2))


if __name__ == "__main__":
    main()
