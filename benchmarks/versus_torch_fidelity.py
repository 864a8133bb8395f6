"""ganline's distances beside torch-fidelity's: same images, same frozen network, same threads.

    python benchmarks/versus_torch_fidelity.py --data FOLDER --out benchmarks/results/versus_torch_fidelity.json

`--data` is a prepared folder (artifacts/prepare) with 20,000 training images or more: the preset cifar10's, at 32 px.
The real side is a random half of 20,000 of them; the other half with noise of standard deviation 12 stands for a
generator, so that every figure is far from zero. The network is the default extractor, trained here once for an epoch
and kept under .ganline. Both sides start from uint8 images in memory and end with Fréchet distance, KID over all pairs,
and precision and recall at k = 5 (ours adds density and coverage). torch-fidelity runs in both of its ways: the default
one (four loading processes, whole matrices) and `save_cpu_ram` (no processes, parts); ratios are to the faster one.
Runs alternate, `--repeats` times; the best seconds of each count, on the clock and in CPU time of the process and its
children (which other load hardly moves). Its default KID, 100 subsets of 1,000, runs once: another estimate of the same
quantity.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ganline.environment import set_defaults

set_defaults()

import numpy as np
import torch

from ganline.data.loader import Prepared
from ganline.devices import available_cores, machine, make_exact, pick
from ganline.evaluation.config import ExtractorConfig
from ganline.evaluation.extractor import Extractor, train_extractor
from ganline.evaluation.features import CHUNK
from ganline.evaluation.frechet import Moments, frechet_distance
from ganline.evaluation.kid import kernel_distance
from ganline.evaluation.prdc import prdc
from ganline.images import to_network
from ganline.torchvision_shim import ensure_torchvision

ROOT = Path(__file__).parents[1]
N, K, SEED, NOISE = 10_000, 5, 0, 12.0
WAYS: dict[str, dict[str, Any]] = {
    "default": {},
    "save_cpu_ram": {"save_cpu_ram": True},
    "save_cpu_ram_default_kid": {"save_cpu_ram": True, "kid_subsets": 100, "kid_subset_size": 1000},
}
SAME = ("ganline", "torch_fidelity_default", "torch_fidelity_save_cpu_ram")
THEIRS = {
    "fd": "frechet_inception_distance",
    "kid": "kernel_inception_distance_mean",
    "precision": "precision",
    "recall": "recall",
}


def images_of(prepared: Prepared) -> tuple[torch.Tensor, torch.Tensor]:
    """Fakes and reals, uint8 [N, C, H, W] each: disjoint halves of training images in random order, one with noise."""
    rng, split = np.random.default_rng(SEED), prepared.split("train")
    rows = rng.permutation(len(split))[: 2 * N]
    other, real = (split.images[np.sort(part)] for part in (rows[N:], rows[:N]))
    noisy = other + rng.normal(0.0, NOISE, other.shape)
    return torch.from_numpy(noisy.round().clip(0, 255).astype(np.uint8)), torch.from_numpy(np.array(real))


def extractor_of(prepared: Prepared) -> Extractor:
    """The default extractor after one epoch, made once."""
    folder = ROOT / ".ganline" / "versus-torch-fidelity" / prepared.name
    if not (folder / "extractor.json").exists():
        train_extractor(prepared, ExtractorConfig(epochs=1.0, min_accuracy=0.0), folder, pick())
    return Extractor.load(folder, pick())


def ours(extractor: Extractor, fake: torch.Tensor, real: torch.Tensor) -> dict[str, float]:
    """One pass over each side, then all figures."""
    sides, gaussians = [], []
    for images in (fake, real):
        moments, parts = Moments(), []
        for part in images.split(CHUNK):
            parts.append(extractor(part)[0])
            moments.add(parts[-1])
        sides.append(torch.cat(parts))
        gaussians.append(moments.gaussian())
    return {"fd": frechet_distance(*gaussians), "kid": kernel_distance(*sides)} | prdc(*sides, k=K)


def register(extractor: Extractor) -> None:
    """Make the same network known to torch-fidelity, under its own name."""
    ensure_torchvision()
    import torch_fidelity

    class Same(torch_fidelity.FeatureExtractorBase):
        def __init__(self, name: str, features_list: list[str], **_: Any):
            super().__init__(name, features_list)
            self.net = extractor.net

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return ("features",)

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "features"

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
            return (self.net(to_network(images))[1],)

    torch_fidelity.register_feature_extractor(extractor.name, Same)


class Bare(torch.utils.data.Dataset):
    """uint8 images as torch-fidelity wants them: one bare tensor at a time."""

    def __init__(self, images: torch.Tensor):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> torch.Tensor:
        return self.images[i]


def theirs(extractor: Extractor, fake: torch.Tensor, real: torch.Tensor, **options: Any) -> dict[str, float]:
    import torch_fidelity

    fixed = {"kid_subsets": 1, "kid_subset_size": len(fake), "prc_neighborhood": K}
    found = torch_fidelity.calculate_metrics(
        input1=Bare(fake),
        input2=Bare(real),
        feature_extractor=extractor.name,
        fid=True,
        kid=True,
        prc=True,
        cuda=extractor.compute.device.type == "cuda",
        cache=False,
        verbose=False,
        **(fixed | options),
    )
    return {name: found[key] for name, key in THEIRS.items()}


def cpu_seconds() -> float:
    """CPU time of this process and of children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def timed(run: Callable[[], dict[str, float]]) -> tuple[dict[str, float], tuple[float, float]]:
    """What it gives, and its seconds on the clock and of CPU time."""
    clock, cpu = time.monotonic(), cpu_seconds()
    found = run()
    return found, (time.monotonic() - clock, cpu_seconds() - cpu)


def contest(runs: dict[str, Callable[[], dict[str, float]]], *, repeats: int) -> dict[str, Any]:
    """Values, differences, best seconds and ratios; the first run is ours."""
    values: dict[str, dict[str, float]] = {}
    best = dict.fromkeys(runs, (math.inf, math.inf))
    for repeat in range(repeats):
        for name, run in runs.items():
            if repeat and name not in SAME:
                continue
            values[name], seconds = timed(run)
            best[name] = (min(best[name][0], seconds[0]), min(best[name][1], seconds[1]))
            print(name, [round(each, 2) for each in seconds], values[name], flush=True)
    rivals = [name for name in SAME if name != "ganline"]
    return {
        "values": values,
        "relative_difference": {
            name: {key: abs(values["ganline"][key] / value - 1) for key, value in values[name].items()}
            for name in rivals
        },
        "best_seconds": {name: round(clock, 2) for name, (clock, _) in best.items()},
        "best_cpu_seconds": {name: round(cpu, 2) for name, (_, cpu) in best.items()},
        "speed_ratio": round(min(best[name][0] for name in rivals) / best["ganline"][0], 2),
        "cpu_ratio": round(min(best[name][1] for name in rivals) / best["ganline"][1], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT / "artifacts" / "prepare")
    parser.add_argument("--threads", type=int, nargs="+", default=[available_cores()])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--note", default="", help="what else the machine was doing")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    make_exact()
    prepared = Prepared(options.data)
    extractor = extractor_of(prepared)
    register(extractor)
    fake, real = images_of(prepared)
    runs: dict[str, Callable[[], dict[str, float]]] = {"ganline": lambda: ours(extractor, fake, real)}
    for way, chosen in WAYS.items():
        runs[f"torch_fidelity_{way}"] = lambda chosen=chosen: theirs(extractor, fake, real, **chosen)  # type: ignore[misc]
    result: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "machine": {key: value for key, value in machine(pick("fp32")).items() if key != "threads"},
        "note": options.note,
        "data": {"name": prepared.name, "split": "train", "n": [N, N], "seed": SEED, "noise": NOISE},
        "extractor": {"name": extractor.name, "batch": CHUNK},
        "repeats": options.repeats,
    }
    for threads in options.threads:
        make_exact(threads=threads)
        result[f"threads_{threads}"] = contest(runs, repeats=options.repeats)
        print(threads, json.dumps(result[f"threads_{threads}"], indent=2), flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
