"""What images cost by the size of the micro-batches that they are sampled in; 64 is how they were sampled before.

    [OMP_NUM_THREADS=1] python benchmarks/micro_batches.py --out benchmarks/results/micro_batches.json

The default recipe's network with drawn weights (their values do not decide the time), float32, n images of one request
from `sample`, in each backend with one thread and with all. Sizes take turns, the best of `--rounds` counts: wall time,
and processor time, which other work on the machine moves less.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import torch

from ganline.environment import set_defaults

set_defaults()

from ganline.acceleration.export import export_generator
from ganline.acceleration.fold import fold
from ganline.acceleration.quantize import quantize_generator
from ganline.acceleration.runtime import open_generator
from ganline.config import load_config
from ganline.devices import available_cores, cpu_model, make_exact, pick
from ganline.files import write_json
from ganline.models import Conditioning, ImageSpec
from ganline.models.sampling import sample
from ganline.models.spec import Generator

ROOT = Path(__file__).parents[1]
SIZES = (1, 2, 4, 8, 16, 32, 64)
COUNTS = (1, 64, 512)
NUM_CLASSES, SEED = 10, 0


def open_backends(folder: Path) -> Callable[[int], dict[str, Generator]]:
    """Threads -> backend -> the default network."""
    config = load_config(ROOT)
    image = ImageSpec(resolution=config.prepare.resolution, channels=config.prepare.channels)  # type: ignore[arg-type]
    torch.manual_seed(SEED)
    G = config.train.model.build_generator(image, Conditioning(labels=tuple(map(str, range(NUM_CLASSES)))))
    G.eval().requires_grad_(False)
    z, labels = torch.randn(256, G.z_dim), torch.randint(NUM_CLASSES, (256,))
    export_generator(fold(G), folder / "onnx.onnx", num_classes=NUM_CLASSES)
    quantize_generator(folder / "onnx.onnx", folder / "int8.onnx", z=z, condition=labels)
    return lambda threads: {
        "torch": pick("fp32").place(G),
        "onnx": open_generator(folder / "onnx.onnx", threads=threads),
        "int8": open_generator(folder / "int8.onnx", threads=threads),
    }


def timed(G: Generator, *, n: int, size: int) -> tuple[float, float]:
    """Milliseconds of n images in micro-batches of `size`: on the wall, and of the processor."""
    G.micro_batch = size
    wall, processor = time.perf_counter(), time.process_time()
    for _ in sample(G, n=n, seed=SEED, num_classes=NUM_CLASSES, compute=pick("fp32")):
        pass
    return 1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - processor)


def measure(backends: dict[str, Generator], *, counts: tuple[int, ...], rounds: int) -> dict:
    """Backend -> n -> size -> the least wall and processor milliseconds."""
    found: dict = {name: {str(n): {} for n in counts} for name in backends}
    for turn, n, (name, G), size in product(range(rounds + 1), counts, backends.items(), SIZES):
        wall, processor = timed(G, n=n, size=size)
        if turn:  # the first is for warming up
            best = found[name][str(n)].setdefault(str(size), {"wall_ms": wall, "cpu_ms": processor})
            best |= {"wall_ms": min(best["wall_ms"], wall), "cpu_ms": min(best["cpu_ms"], processor)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        opened = open_backends(Path(folder))
        for threads in sorted({1, available_cores()}):
            make_exact(threads=threads)
            results[str(threads)] = measure(opened(threads), counts=tuple(arguments.counts), rounds=arguments.rounds)
            for name, counts in results[str(threads)].items():
                for n, sizes in counts.items():
                    told = ", ".join(f"{k}: {each['wall_ms']:.2f} ({each['cpu_ms']:.2f})" for k, each in sizes.items())
                    print(f"{threads} threads, {name}, n = {n}: ms on the wall (processor): {told}", flush=True)
    if arguments.out:
        facts = {"cpu": cpu_model(), "cores": available_cores(), "torch": torch.__version__}
        asked = {"seed": SEED, "rounds": arguments.rounds, "date": datetime.now(UTC).date().isoformat()}
        write_json(arguments.out, {"machine": facts, **asked, "threads": results})


if __name__ == "__main__":
    main()
