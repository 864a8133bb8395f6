"""Measure a generator against real images: distance with floor and spread, classes that appear, neighbours.

Every figure carries its protocol: extractor, N, split, seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ganline.data.loader import Split
from ganline.devices import Compute
from ganline.evaluation.extractor import Extractor
from ganline.evaluation.frechet import Gaussian, fit_gaussian, frechet_distance
from ganline.models.sampling import sample
from ganline.models.spec import Generator
from ganline.seeds import generator

MANY_CLASSES = 100
SHOWN_CLASSES = 20


@dataclass(frozen=True)
class Reference:
    """Real features: of the reference split [N, F], and of the whole training split [M, F] for floor and neighbours.

    `floor_rows` [N] are the training images that stand for a perfect generator, drawn at random: stored images are
    often sorted by class.
    """

    split: str
    features: np.ndarray
    train_features: np.ndarray
    floor_rows: np.ndarray

    @property
    def n(self) -> int:
        return len(self.features)

    def floor(self) -> float:
        """Distance of real training images to the reference at the same N: what a perfect generator scores."""
        return frechet_distance(fit_gaussian(self.train_features[self.floor_rows]), fit_gaussian(self.features))


@dataclass(frozen=True)
class Fakes:
    """One seed's generated images: features [N, F], the class seen in each and the one asked for, int64 [N]."""

    features: np.ndarray
    seen: np.ndarray
    asked: np.ndarray | None

    def first(self, n: int) -> Fakes:
        """The first n of them: what the same seed gives when n are generated."""
        return Fakes(self.features[:n], self.seen[:n], None if self.asked is None else self.asked[:n])


def fake_features(
    G: Generator, extractor: Extractor, *, n: int, seed: int, num_classes: int, compute: Compute
) -> Fakes:
    """Generate n images with one seed and extract their features."""
    features, seen, asked = [], [], []
    for images, labels in sample(G, n=n, seed=seed, num_classes=num_classes, compute=compute):
        f, logits = extractor(images)
        features.append(f)
        seen.append(logits.argmax(1))
        if labels is not None:
            asked.append(labels.cpu().numpy())
    return Fakes(np.concatenate(features), np.concatenate(seen), np.concatenate(asked) if asked else None)


def random_rows(size: int, n: int, stream: str) -> np.ndarray:
    """n different rows of `size`, in a fixed random order: int64 [n]."""
    return torch.randperm(size, generator=generator(0, stream))[:n].numpy()


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean and sample standard deviation over generator seeds."""
    return {"value": float(np.mean(values)), "std": float(np.std(values, ddof=1))}


def distance_record(reference: Reference, target: Gaussian, fakes: dict[int, Fakes], name: str) -> dict[str, Any]:
    """The Fréchet distance of each seed, their mean, the real-against-real floor and the ratio to it."""
    per_seed = {seed: frechet_distance(fit_gaussian(fake.features), target) for seed, fake in fakes.items()}
    floor = reference.floor()
    record = spread(list(per_seed.values()))
    return record | {
        "name": f"fd_{name}_n{count_name(reference.n)}",
        "per_seed": {str(seed): value for seed, value in per_seed.items()},
        "floor": floor,
        "ratio": record["value"] / floor if floor else None,
        "n": reference.n,
        "split": reference.split,
    }


def class_records(fakes: dict[int, Fakes], labels: Sequence[str], name: str) -> dict[str, Any]:
    """Classes that appear, by the extractor's own classifier; and agreement with the labels that were asked for.

    A class counts as covered if it makes up at least a tenth of its fair share of the images. Of more than MANY_CLASSES
    only the first few missing ones are named, and nothing is said of each class.
    """
    few = len(labels) <= MANY_CLASSES
    seen = np.concatenate([fake.seen for fake in fakes.values()])
    n = len(seen)
    histogram = np.bincount(seen, minlength=len(labels)) / n
    fair = 1.0 / len(labels)
    missing = [label for label, share in zip(labels, histogram, strict=True) if share < fair / 10]
    common = {"n": n, "seeds": sorted(fakes), "extractor": name}
    coverage: dict[str, Any] = {
        "name": f"class_coverage_{name}",
        "value": float((histogram >= fair / 10).mean()),
        "missing": missing if few else missing[:SHOWN_CLASSES],
        "num_missing": len(missing),
    }
    if few:
        coverage["histogram"] = dict(zip(labels, histogram.tolist(), strict=True))
    records: dict[str, Any] = {"class_coverage": common | coverage}
    if all(fake.asked is not None for fake in fakes.values()):
        asked = np.concatenate([fake.asked for fake in fakes.values() if fake.asked is not None])
        accuracy: dict[str, Any] = {"name": f"label_accuracy_{name}", "value": float((seen == asked).mean())}
        if few:
            accuracy["per_class"] = {
                label: float((seen[asked == k] == k).mean()) if (asked == k).any() else None
                for k, label in enumerate(labels)
            }
        records["label_accuracy"] = common | accuracy
    return records


def count_name(n: int) -> str:
    """10000 -> '10k', 512 -> '512'."""
    return f"{n // 1000}k" if n >= 1000 and n % 1000 == 0 else str(n)


def nearest(queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Row of `candidates` [M, F] nearest to each of `queries` [N, F] in Euclidean distance: int64 [N]."""
    a, b = torch.from_numpy(queries).double(), torch.from_numpy(candidates).double()
    return torch.cdist(a, b).argmin(dim=1).numpy()


def neighbour_sheet(fakes: np.ndarray, rows: np.ndarray, split: Split) -> np.ndarray:
    """Two rows of uint8 images [2n, C, H, W]: generated above, nearest training image below."""
    return np.concatenate([fakes, np.stack([split.images[row] for row in rows])])
