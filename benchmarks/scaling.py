"""How the cost of a training step grows with batch, resolution and width.

    python benchmarks/scaling.py --out benchmarks/results/scaling.json

Real images of artifacts/prepare (`dvc repro prepare`), resized; the default recipe and a narrow R3GAN. A line a
setting: milliseconds a step over whole cycles of lazy penalties, images/s, peak memory of the process or the device.
Beside the JSON it draws a PNG.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ganline.environment import set_defaults

set_defaults()

import numpy as np
import torch
from torch.nn.functional import interpolate

from ganline.config import read_yaml
from ganline.data.loader import Batches, Prepared, Split
from ganline.devices import device_memory_mb, machine, make_exact, pick
from ganline.models import Conditioning, ImageSpec
from ganline.overlay import merge
from ganline.training.config import TrainConfig
from ganline.training.state import make_state
from ganline.training.step import run_step

ROOT = Path(__file__).parents[1]
FAMILIES: dict[str, dict[str, Any]] = {
    "pixelshuffle": {"name": "pixelshuffle", "g_width": 96, "d_width": 32},
    "r3gan": {"name": "r3gan", "width": 64, "widest_side": 8, "blocks": 1, "class_conditional": True},
}
AXES: dict[str, list[float]] = {"batch": [16, 32, 64, 128], "resolution": [16, 32, 64], "width": [0.5, 1, 2]}
MIDDLE = {"batch": 32, "resolution": 32, "width": 1.0}
WIDTHS = ("g_width", "d_width", "width")


class Resized(Split):
    """The first images of a split, at another resolution."""

    def __init__(self, split: Split, resolution: int, *, count: int = 4096):
        images = torch.from_numpy(np.array(split.images[:count])).float()
        smooth = interpolate(images, size=(resolution, resolution), mode="bilinear", antialias=True)
        self.images, self.labels = smooth.round().to(torch.uint8).numpy(), split.labels[:count]


def measure(family: str, *, batch: int, resolution: int, width: float, folder: Path, seconds: float) -> dict[str, Any]:
    """One setting in this process."""
    make_exact()
    model = {key: int(value * width) if key in WIDTHS else value for key, value in FAMILIES[family].items()}
    section = merge(read_yaml(ROOT / "params.yaml")["train"], {"batch": batch, "model": model})
    config, prepared = TrainConfig.model_validate(section), Prepared(folder)
    compute, phases = pick(config.precision), config.objective.phases()
    image = ImageSpec(resolution=resolution, channels=prepared.channels)  # type: ignore[arg-type]
    state = make_state(config, image, Conditioning(labels=prepared.labels), compute)
    split = Resized(prepared.split("train"), resolution)
    batches = Batches(split, batch=batch, seed=0, mirror=False, device=compute.device)

    def steps(count: int) -> None:
        for _ in range(count):
            run_step(state, config=config, phases=phases, batches=batches, compute=compute)
        compute.synchronize()

    cycle = config.objective.penalty_every
    steps(cycle)
    started, done = time.monotonic(), 0
    while time.monotonic() - started < seconds:
        steps(cycle)
        done += cycle
    each = (time.monotonic() - started) / done
    memory = device_memory_mb(compute) or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    parameters = {name: sum(p.numel() for p in net.parameters()) for name, net in (("G", state.G), ("D", state.D))}
    return {
        "family": family,
        "batch": batch,
        "resolution": resolution,
        "width": width,
        "ms_per_step": round(1000 * each, 2),
        "images_per_second": round(batch / each, 1),
        "memory_mb": round(memory),
        "parameters": parameters,
        "machine": machine(compute),
    }


def settings() -> list[dict[str, Any]]:
    """The middle, and one axis at a time away from it."""
    found = [dict(MIDDLE)]
    for axis, values in AXES.items():
        found += [MIDDLE | {axis: value} for value in values if value != MIDDLE[axis]]
    return found


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Milliseconds a step against each axis, both logarithmic."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for plot, axis in zip(figure.subplots(1, 3, sharey=True), AXES, strict=True):
        for family, colour in zip(FAMILIES, ("#0072b2", "#d55e00"), strict=True):
            own = [row for row in rows if row["family"] == family]
            line = sorted((r[axis], r["ms_per_step"]) for r in own if all(r[k] == MIDDLE[k] for k in AXES if k != axis))
            plot.loglog(*zip(*line, strict=True), marker="o", label=family, color=colour)
        plot.set_xlabel(axis if axis != "width" else "width, times the preset's")
        plot.set_xticks(AXES[axis], [f"{value:g}" for value in AXES[axis]])
        plot.minorticks_off()
        plot.grid(alpha=0.3)
    low, high = min(row["ms_per_step"] for row in rows), max(row["ms_per_step"] for row in rows)
    marks = [mark for ten in (1, 10, 100, 1000) for mark in (ten, 2 * ten, 5 * ten) if low / 1.3 < mark < high * 1.3]
    figure.axes[0].set_yticks(marks, [f"{mark:g}" for mark in marks])
    figure.axes[0].set_ylabel("ms a step")
    figure.axes[0].legend()
    figure.savefig(path, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prepared", type=Path, default=ROOT / "artifacts" / "prepare")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--measure", help="one setting as JSON, in this process")
    options = parser.parse_args()
    if options.measure:
        found = measure(**json.loads(options.measure), folder=options.prepared, seconds=options.seconds)
        print(json.dumps(found))
        return
    rows = []
    for family in FAMILIES:
        for setting in settings():
            flags = ["--prepared", str(options.prepared), "--seconds", str(options.seconds)]
            command = [sys.executable, __file__, *flags, "--measure", json.dumps({"family": family, **setting})]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print({k: v for k, v in rows[-1].items() if k not in ("machine", "parameters")}, flush=True)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(rows, indent=2) + "\n")
        draw(rows, options.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
