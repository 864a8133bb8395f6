"""ganline's default against the plain DCGAN script of eriklindernoren/PyTorch-GAN: same data, cores and wall-clock.

    python benchmarks/versus_dcgan.py --repo ../PyTorch-GAN --seeds 0 1 2 --out benchmarks/results/versus_dcgan.json

The other script runs as it is, from its own checkout and in a process of its own (run_dcgan.py), until its loop has had
the time that ganline's training took with the same seed. Both are measured at 32 px, the script's own resolution (its
transform brings real and our 28 px images there), on the test split, N = 10,000, by an extractor of another design
than any that tuning has used (a pre-activation ResNet, trained here). The script draws its samples in train mode; its G
is measured in train and eval mode, and the better one counts. Prints a line a seed; writes JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ganline.environment import DEFAULTS, set_defaults

set_defaults()

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import cross_entropy, relu

from ganline.config import load_config
from ganline.data.loader import Prepared
from ganline.devices import machine, make_exact, pick
from ganline.evaluation.frechet import Gaussian, fit_gaussian, frechet_distance
from ganline.models import Conditioning, ImageSpec
from ganline.models.sampling import sample
from ganline.training.loop import Run, train

ROOT = Path(__file__).parents[1]
PREPARED = ROOT / "artifacts" / "prepare"
SIDE, N = 32, 10_000


def to_side(images: np.ndarray) -> np.ndarray:
    """uint8 [N, 1, H, W] -> [N, 1, 32, 32], by the bilinear resize that the script's own transform does."""
    return np.stack(
        [np.asarray(Image.fromarray(i[0]).resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for i in images]
    )[:, None]


class Residual(nn.Module):
    """Pre-activation block (He et al. 2016, arXiv 1603.05027), halving the side."""

    def __init__(self, a: int, b: int):
        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm2d(a), nn.BatchNorm2d(b)])
        self.convs = nn.ModuleList([nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.Conv2d(b, b, 3, 1, 1, bias=False)])
        self.skip = nn.Conv2d(a, b, 1, 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = relu(self.norms[0](x))
        return self.skip(h) + self.convs[1](relu(self.norms[1](self.convs[0](h))))


class Judge(nn.Module):
    """A small ResNet: image [N, 1, 32, 32] -> (logits, features [N, 96])."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 24, 3, 1, 1), Residual(24, 48), Residual(48, 72), Residual(72, 96))
        self.head = nn.Linear(96, 10)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = relu(self.body(x)).mean((2, 3))
        return self.head(features), features


def normal(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).float().div_(127.5).sub_(1.0)


def train_judge(prepared: Prepared) -> tuple[Judge, float]:
    torch.manual_seed(12345)
    split, test = prepared.split("train"), prepared.split("test")
    images, labels = to_side(split.images), torch.from_numpy(split.labels)
    judge = Judge()
    steps = 2 * len(images) // 128
    optimizer = torch.optim.Adam(judge.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for _ in range(steps):
        rows = torch.randint(len(images), (128,))
        loss = cross_entropy(judge(normal(images[rows.numpy()]))[0], labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    judge.eval()
    logits, _ = run_judge(judge, to_side(test.images))
    return judge, float((logits.argmax(1) == test.labels).mean())


@torch.inference_mode()
def run_judge(judge: Judge, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pairs = [judge(normal(images[i : i + 500])) for i in range(0, len(images), 500)]
    return torch.cat([a for a, _ in pairs]).numpy(), torch.cat([b for _, b in pairs]).numpy()


def ours(prepared: Prepared, seed: int) -> tuple[np.ndarray, float, int]:
    """Our default recipe with one seed: N images at 28 px, seconds of training, images seen."""
    config = load_config(ROOT).train.model_copy(update={"seed": seed, "checkpoint_seconds": 1e9})
    compute, image = pick(config.precision), ImageSpec(resolution=prepared.resolution, channels=1)
    conditioning = Conditioning(labels=prepared.labels)
    with tempfile.TemporaryDirectory() as work:
        started = time.monotonic()
        run = Run(Path(work), f"versus-{seed}", machine(compute))
        state = train(config, prepared.split("train"), image=image, conditioning=conditioning, run=run, compute=compute)
        seconds = time.monotonic() - started
    G: Any = state.G_ema
    batches = sample(G, n=N, seed=seed + 1000, num_classes=len(prepared.labels), compute=compute)
    return torch.cat([images for images, _ in batches]).cpu().numpy(), seconds, state.nimg


def theirs(repo: Path, seed: int, seconds: float) -> tuple[dict[str, np.ndarray], int]:
    """The script as it is, for `seconds` of its loop: N images of its G by mode (train, eval), and images seen."""
    plain = {key: value for key, value in os.environ.items() if key not in DEFAULTS}
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "fakes.npz"
        options: dict[str, object] = {"repo": repo.resolve(), "images": PREPARED / "train_images.npy", "out": out}
        options |= {"seconds": seconds, "seed": seed, "n": N}
        flags = [str(part) for key, value in options.items() for part in (f"--{key}", value)]
        subprocess.run([sys.executable, str(ROOT / "benchmarks" / "run_dcgan.py"), *flags], env=plain, check=True)
        with np.load(out) as content:
            return {mode: content[mode] for mode in ("train", "eval")}, int(content["nimg"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repo", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    make_exact()
    prepared = Prepared(PREPARED)
    judge, accuracy = train_judge(prepared)
    test, real_train = to_side(prepared.split("test").images), to_side(prepared.split("train").images[:N])

    def statistics(images: np.ndarray) -> Gaussian:
        return fit_gaussian(run_judge(judge, images)[1])

    target = statistics(test)
    result: dict[str, Any] = {
        "machine": machine(pick()),
        "judge": {"architecture": "pre-activation ResNet, 96 features", "test_accuracy": accuracy},
        "n": N,
        "split": "test",
        "floor": frechet_distance(statistics(real_train), target),
        "runs": [],
    }
    for seed in options.seeds:
        images, seconds, nimg = ours(prepared, seed)
        mine = frechet_distance(statistics(to_side(images)), target)
        other, other_nimg = theirs(options.repo, seed, seconds)
        plain = {mode: frechet_distance(statistics(fakes), target) for mode, fakes in other.items()}
        row = {"seed": seed, "seconds": seconds, "ganline": mine, "ganline_nimg": nimg, "dcgan_nimg": other_nimg}
        row |= {f"dcgan_{mode}": value for mode, value in plain.items()}
        result["runs"].append(row | {"ratio": min(plain.values()) / mine})
        print(json.dumps(result["runs"][-1]), flush=True)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
