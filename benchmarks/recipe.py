"""Try a change of the recipe: train it for a budget of images, measure it on the validation side, append a line.

    python benchmarks/recipe.py wider total_kimg=140 model.g_width=128 lr=0.002

Options are keys of params.yaml's `train` section (`lr` sets both optimizers, decaying to a tenth). Needs
artifacts/prepare (`dvc repro prepare`). The test split is never read: the distance is to the validation split filled up
to N = 10,000 with training images, by a small network that the line itself does not use (5x5 convolutions, trained here
once and kept under .ganline). One thread a training, so that two may run side by side: OMP_NUM_THREADS is set to 1
unless you set it. The log is benchmarks/results/recipe.jsonl; docs/decisions/002-default-recipe.md reads it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ganline.environment import set_defaults

set_defaults()
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import cross_entropy, relu

from ganline.config import load_config
from ganline.data.loader import Batches, Prepared
from ganline.devices import machine, make_exact, pick
from ganline.evaluation.frechet import Gaussian, fit_gaussian, frechet_distance
from ganline.images import to_network
from ganline.models import Conditioning, ImageSpec
from ganline.models.sampling import label_histogram, sample
from ganline.training.config import TrainConfig
from ganline.training.loop import Run, train

ROOT = Path(__file__).parents[1]
LOG = ROOT / "benchmarks" / "results" / "recipe.jsonl"
N, GENERATOR_SEEDS = 10_000, (100, 101)


class Judge(nn.Module):
    """Two strided 5x5 convolutions and 128 features: image [N, 1, 28, 28] -> (logits, features)."""

    def __init__(self, *, channels: int, resolution: int, num_classes: int):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(channels, 32, 5, 2, 2), nn.Conv2d(32, 64, 5, 2, 2)])
        self.norms = nn.ModuleList([nn.BatchNorm2d(32), nn.BatchNorm2d(64)])
        self.features = nn.Linear(64 * (resolution // 4) ** 2, 128)
        self.head = nn.Linear(128, num_classes)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = relu(norm(conv(x)))
        features = relu(self.features(x.flatten(1)))
        return self.head(features), features


def judge_of(prepared: Prepared) -> Judge:
    """The network that measures: five epochs on the training split, made once."""
    path = ROOT / ".ganline" / "recipe-judge" / f"{prepared.name}.safetensors"
    judge = Judge(channels=prepared.channels, resolution=prepared.resolution, num_classes=len(prepared.labels))
    if not path.exists():
        torch.manual_seed(7)
        split = prepared.split("train")
        batches = Batches(split, batch=128, seed=7, mirror=False, device=torch.device("cpu"))
        steps = 5 * len(split) // 128
        optimizer = torch.optim.Adam(judge.parameters(), 1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
        for k in range(steps):
            images, labels = batches.get(k)
            optimizer.zero_grad()
            cross_entropy(judge(images)[0], labels).backward()
            optimizer.step()
            schedule.step()
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(judge.state_dict(), path)
    judge.load_state_dict(load_file(path))
    return judge.eval()


@torch.inference_mode()
def look(judge: Judge, images: torch.Tensor) -> tuple[torch.Tensor, Gaussian]:
    """Predicted classes of uint8 images, and the Gaussian of their features."""
    pairs = [judge(to_network(part)) for part in images.split(500)]
    return torch.cat([logits for logits, _ in pairs]).argmax(1), fit_gaussian(torch.cat([f for _, f in pairs]).numpy())


def configured(options: dict[str, Any]) -> TrainConfig:
    """params.yaml's `train` section with the options laid over it."""
    section = load_config(ROOT).train.model_dump(mode="json") | {"checkpoint_seconds": 1e9}
    for key, value in options.items():
        if key == "lr":
            section["G_optimizer"]["lr"] = section["D_optimizer"]["lr"] = {"start": value, "end": value / 10}
            continue
        *path, last = key.split(".")
        inner = section
        for part in path:
            inner = inner[part]
        inner[last] = value
    return TrainConfig.model_validate(section)


def main() -> None:
    name, options = sys.argv[1], {k: yaml.safe_load(v) for k, _, v in (a.partition("=") for a in sys.argv[2:])}
    config = configured(options)
    make_exact()
    compute, prepared = pick(config.precision), Prepared(ROOT / "artifacts" / "prepare")
    judge = judge_of(prepared)
    split, val = prepared.split("train"), np.array(prepared.split("val").images)
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(3))
    filled = np.concatenate([val, split.images[np.sort(order[: N - len(val)].numpy())]])
    _, target = look(judge, torch.from_numpy(filled))
    image = ImageSpec(resolution=prepared.resolution, channels=prepared.channels)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as work:
        started = time.process_time()
        run = Run(Path(work), name, machine(compute))
        state = train(
            config, split, image=image, conditioning=Conditioning(labels=prepared.labels), run=run, compute=compute
        )
        cpu_seconds = time.process_time() - started
    G: Any = state.G_ema
    weights = label_histogram(split.labels, len(prepared.labels))
    distances, right = [], []
    for seed in GENERATOR_SEEDS:
        batches = list(
            sample(G, n=N, seed=seed, num_classes=len(prepared.labels), label_weights=weights, compute=compute)
        )
        seen, found = look(judge, torch.cat([images for images, _ in batches]).cpu())
        distances.append(frechet_distance(found, target))
        right.append(
            float((seen == torch.cat([labels for _, labels in batches if labels is not None]).cpu()).float().mean())
        )
    row = {
        "name": name,
        "distance": round(float(np.mean(distances)), 3),
        "label_accuracy": round(float(np.mean(right)), 4),
        "cpu_us_an_image": round(1e6 * cpu_seconds / state.nimg),
        "nimg": state.nimg,
        "options": options,
        "machine": machine(compute),
    }
    print(json.dumps(row))
    with LOG.open("a") as log:
        log.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
