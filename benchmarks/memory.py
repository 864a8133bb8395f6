"""Memory of the distances as the number of images grows: constant for the Fréchet distance, bounded for the others.

    python benchmarks/memory.py --out benchmarks/results/memory.json

Every row is a process of its own: peak resident memory of the computation less what was resident when it began (with
the features, where they are held). Features are random, 128 a image. Streaming draws them by 64 and keeps none.
torch-fidelity's precision and recall are there for comparison, in its default way. Linux only (/proc).
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from ganline.environment import set_defaults

set_defaults()

import torch

from ganline.devices import machine, make_exact, pick
from ganline.evaluation.frechet import Moments, frechet_distance
from ganline.evaluation.kid import kernel_distance
from ganline.evaluation.neighbours import nearest
from ganline.evaluation.prdc import prdc

F, BATCH, SEED = 128, 64, 0
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def streaming(n: int) -> Callable[[], object]:
    def run() -> float:
        generator = torch.Generator().manual_seed(SEED)
        sides = [Moments(), Moments()]
        for _ in range(n // BATCH):
            for moments in sides:
                moments.add(torch.randn(BATCH, F, generator=generator))
        return frechet_distance(*(moments.gaussian() for moments in sides))

    return run


def held(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(SEED)
    return torch.randn(n, F, generator=generator), torch.randn(n, F, generator=generator)


def neighbourhoods(n: int) -> Callable[[], object]:
    fake, real = held(n)
    return lambda: prdc(fake, real)


def kernel(n: int) -> Callable[[], object]:
    fake, real = held(n)
    return lambda: kernel_distance(fake, real)


def training_neighbours(n: int) -> Callable[[], object]:
    fake, train = held(n)
    return lambda: nearest(fake[:1000], train, k=2)


def torch_fidelity_prc(n: int) -> Callable[[], object]:
    from ganline.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    from torch_fidelity.metric_prc import prc_features_to_metric

    fake, real = held(n)
    return lambda: prc_features_to_metric(fake, real, prc_neighborhood=5, verbose=False)


RUNS: dict[str, tuple[Callable[[int], Callable[[], object]], tuple[int, ...]]] = {
    "frechet distance, streamed": (streaming, (10_000, 100_000, 400_000)),
    "precision, recall, density, coverage": (neighbourhoods, (5_000, 10_000, 20_000)),
    "kernel distance": (kernel, (5_000, 10_000, 20_000)),
    "nearest two of N for 1,000": (training_neighbours, (10_000, 100_000)),
    "torch-fidelity, precision and recall": (torch_fidelity_prc, (5_000, 10_000)),
}


def resident_mb(field: str) -> float:
    """VmRSS (now) or VmHWM (peak since it was cleared) of this process."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field + ":"))
    return int(line.split()[1]) / 1024


def measure(name: str, n: int) -> None:
    """Print the growth in this process, after a small run that loads the libraries' code."""
    make_exact()
    start = RUNS[name][0]
    start(640)()
    run = start(n)
    CLEAR.write_text("5")
    before = resident_mb("VmRSS")
    run()
    growth = {"n": n, "features_mb": round(2 * n * F * 4 / 2**20, 1), "growth_mb": round(resident_mb("VmHWM") - before)}
    print(json.dumps({"row": growth, "machine": machine(pick("fp32"))}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", nargs=2, metavar=("NAME", "N"), help="measure in this process")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure[0], int(options.measure[1]))
        return
    rows: dict[str, list[dict[str, float]]] = {}
    last: dict = {}
    for name, (_, sizes) in RUNS.items():
        rows[name] = []
        for n in sizes:
            command = [sys.executable, __file__, "--measure", name, str(n)]
            last = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            rows[name].append(last["row"])
            print(name, last["row"], flush=True)
    if options.out:
        about = {"date": datetime.date.today().isoformat(), "machine": last["machine"], "feature_dim": F, "seed": SEED}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(about | {"peak_growth": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
