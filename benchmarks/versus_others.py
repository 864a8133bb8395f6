"""ganline's default recipe against other projects' own code: same data, cores and wall-clock.

    python benchmarks/versus_others.py --dcgan ../PyTorch-GAN --mimicry ../mimicry --lightweight ../lightweight-gan \
        --seeds 0 1 2 --out benchmarks/results/versus_others.json

Any of the three checkouts may be left out. Each project's script or trainer runs as it is, with its usual settings, in
a process of its own (run_dcgan.py, run_mimicry.py, run_lightweight.py, whose docstrings say what they replace), until
its loop has had the time that ganline's training took with the same seed; a step begun is finished. --python names
the interpreter for them, where their packages are not installed beside ganline: it needs ganline, torch and
torchvision too. --labels lets mimicry's class-conditional cGAN-PD run besides SNGAN, since ganline's default is
class-conditional.

All are measured at 32 px, the other projects' resolution (torchvision's bilinear resize brings real and our 28 px
images there), on the test split, N = 10,000, by an extractor of another design than any that tuning has used (a
pre-activation ResNet, trained here). Colour fakes become grey as the mean of their channels. Where a project draws
its samples in two ways, both are measured, and the better counts. --n-slow takes fewer fakes of mimicry and
lightweight-gan, which need minutes for 10,000 on a CPU; a row says its n. Prints a line a seed and project; writes
JSON, in which rows of other seeds stay.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganline.environment import DEFAULTS, set_defaults

set_defaults()

import numpy as np
import torch
from others import to_side
from torch import nn
from torch.nn.functional import cross_entropy, relu

from ganline.config import load_config
from ganline.data.loader import Prepared
from ganline.devices import machine, make_exact, pick
from ganline.evaluation.frechet import Gaussian, fit_gaussian, frechet_distance
from ganline.models import Conditioning, ImageSpec
from ganline.models.sampling import label_histogram, sample
from ganline.training.loop import Run, train

ROOT = Path(__file__).parents[1]


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


def grey(images: np.ndarray) -> np.ndarray:
    """uint8 [N, C, H, W] -> [N, 1, H, W]: the mean of the channels, rounded."""
    if images.shape[1] == 1:
        return images
    return images.mean(1, keepdims=True, dtype=np.float32).round().astype(np.uint8)


@dataclass(frozen=True)
class Contest:
    """What is alike for all: the data, how many fakes of each, ganline's budget (None: its recipe's) and threads."""

    prepared: Prepared
    n: int
    total_kimg: float | None
    python: str

    @property
    def threads(self) -> int:
        return torch.get_num_threads()


@dataclass(frozen=True)
class Fakes:
    """What one training left: uint8 [N, C, H, W] by the way they were drawn, real images that D saw, its time.

    `cpu_seconds` far below threads x seconds tells of a machine that others used too.
    """

    images: dict[str, np.ndarray]
    nimg: int
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Other:
    """Another project's model: the script that runs it, from which checkout, with which options of its own."""

    script: str
    repo: Path
    n: int
    options: dict[str, Path] = field(default_factory=dict)

    def commit(self) -> str | None:
        """The checkout's commit, None where it is none of git's."""
        command = ["git", "-C", str(self.repo), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or None

    def train(self, contest: Contest, *, seed: int, seconds: float) -> Fakes:
        """The project's loop for `seconds`, in the environment that its user has (none of ganline's settings)."""
        plain = {key: value for key, value in os.environ.items() if key not in DEFAULTS}
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch) / "fakes.npz"
            options: dict[str, object] = {"repo": self.repo, "images": contest.prepared.folder / "train_images.npy"}
            options |= {"seconds": seconds, "seed": seed, "threads": contest.threads, "n": self.n, "out": out}
            flags = [str(part) for key, value in (options | self.options).items() for part in (f"--{key}", value)]
            script = ROOT / "benchmarks" / self.script
            subprocess.run([contest.python, str(script), *flags], env=plain, check=True, stdout=subprocess.DEVNULL)
            with np.load(out) as content:
                arrays = dict(content)
        nimg, took, cpu = (arrays.pop(name).item() for name in ("nimg", "seconds", "cpu_seconds"))
        return Fakes(arrays, nimg, took, cpu)


def ours(contest: Contest, seed: int) -> Fakes:
    """Our default recipe with one seed: N images at its own resolution."""
    prepared = contest.prepared
    changes: dict[str, Any] = {"seed": seed, "checkpoint_seconds": 1e9}
    if contest.total_kimg is not None:
        changes["total_kimg"] = contest.total_kimg
    config = load_config(ROOT).train.model_copy(update=changes)
    compute, image = pick(config.precision), ImageSpec(resolution=prepared.resolution, channels=1)
    conditioning = Conditioning(labels=prepared.labels)
    with tempfile.TemporaryDirectory() as work:
        started, cpu_started = time.monotonic(), time.process_time()
        run = Run(Path(work), f"versus-{seed}", machine(compute))
        state = train(config, prepared.split("train"), image=image, conditioning=conditioning, run=run, compute=compute)
        seconds, cpu_seconds = time.monotonic() - started, time.process_time() - cpu_started
    G: Any = state.G_ema
    classes = len(prepared.labels)
    weights = label_histogram(prepared.split("train").labels, classes)
    batches = sample(G, n=contest.n, seed=seed + 1000, num_classes=classes, label_weights=weights, compute=compute)
    return Fakes({"ema": torch.cat([images for images, _ in batches]).cpu().numpy()}, state.nimg, seconds, cpu_seconds)


def others_of(options: argparse.Namespace) -> dict[str, Other]:
    """The models to compare with, by name: those whose checkouts are given."""
    others: dict[str, Other] = {}
    slow = options.n_slow or options.n
    if options.dcgan:
        others["dcgan"] = Other("run_dcgan.py", options.dcgan, options.n)
    if options.mimicry:
        others["sngan"] = Other("run_mimicry.py", options.mimicry, slow)
        if options.labels:
            labels = {"labels": options.prepared / "train_labels.npy"}
            others["cgan_pd"] = Other("run_mimicry.py", options.mimicry, slow, labels)
    if options.lightweight:
        others["lightweight"] = Other("run_lightweight.py", options.lightweight, slow)
    return others


def command_line() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dcgan", type=Path, metavar="REPO", help="a checkout of eriklindernoren/PyTorch-GAN")
    parser.add_argument("--mimicry", type=Path, metavar="REPO", help="a checkout of kwotsin/mimicry")
    parser.add_argument("--lightweight", type=Path, metavar="REPO", help="a checkout of lucidrains/lightweight-gan")
    parser.add_argument("--labels", action="store_true", help="run mimicry's cGAN-PD too")
    parser.add_argument("--python", default=sys.executable, help="the interpreter for the other projects")
    parser.add_argument("--prepared", type=Path, default=ROOT / "artifacts" / "prepare")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--n", type=int, default=10_000, help="images of each that are judged")
    parser.add_argument("--n-slow", type=int, help="images of mimicry and lightweight-gan (default: as many)")
    parser.add_argument("--kimg", type=float, help="ganline's budget, for a quick look (default: its recipe's)")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if not others_of(options):
        parser.error("no checkout to compare with: give --dcgan, --mimicry or --lightweight")
    return options


def main() -> None:
    options = command_line()
    make_exact()
    contest = Contest(Prepared(options.prepared), options.n, options.kimg, options.python)
    others = others_of(options)
    judge, accuracy = train_judge(contest.prepared)

    def statistics(images: np.ndarray) -> Gaussian:
        return fit_gaussian(run_judge(judge, to_side(grey(images)))[1])

    target = statistics(contest.prepared.split("test").images)

    def score(fakes: Fakes) -> dict[str, Any]:
        distances = {mode: frechet_distance(statistics(images), target) for mode, images in fakes.images.items()}
        speed = {"nimg": fakes.nimg, "seconds": fakes.seconds, "cpu_seconds": fakes.cpu_seconds}
        speed["images_per_second"] = round(fakes.nimg / fakes.seconds, 2)
        speed["n"] = len(next(iter(fakes.images.values())))
        return speed | {"distance": min(distances.values()), "distances": distances}

    result: dict[str, Any] = {
        "machine": machine(pick()),
        "judge": {"architecture": "pre-activation ResNet, 96 features", "test_accuracy": accuracy},
        "commits": {name: other.commit() for name, other in others.items()},
        "n": contest.n,
        "total_kimg": contest.total_kimg or load_config(ROOT).train.total_kimg,
        "split": "test",
        "floor": frechet_distance(statistics(contest.prepared.split("train").images[: contest.n]), target),
        "runs": [],
    }
    if options.out.exists():
        kept = json.loads(options.out.read_text())["runs"]
        result["runs"] = [row for row in kept if row["seed"] not in options.seeds]
    for seed in options.seeds:
        mine = ours(contest, seed)
        row: dict[str, Any] = {"seed": seed, "ganline": score(mine)}
        result["runs"].append(row)
        print(seed, "ganline", json.dumps(row["ganline"]), flush=True)
        for name, other in others.items():
            row[name] = score(other.train(contest, seed=seed, seconds=mine.seconds))
            row[name]["ratio"] = row[name]["distance"] / row["ganline"]["distance"]
            print(seed, name, json.dumps(row[name]), flush=True)
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
