"""Metrics as the evaluate stage writes them, for pages: values near those of a real model of Fashion-MNIST."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from ganline.evaluation.uncertainty import t_interval
from ganline.images import png_bytes

FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
OFFSETS = np.array([-1.4, 0.3, 1.1, -0.6, 0.9, -0.2, 0.5, -1.0, 1.3, -0.9])
EXTRACTORS = {"": "classifier_fashion-mnist@be761274", "_second": "classifier_fashion-mnist@77ac01d2"}

# key -> value, spread over seeds, floor, where the good end lies
FIGURES: Mapping[str, tuple[float, float, float | None, str]] = {
    "fd": (1.0758, 0.0358, 0.3029, "lower"),
    "kid": (0.00231, 0.00011, 0.000004, "lower"),
    "precision": (0.861, 0.003, 0.878, "higher"),
    "recall": (0.792, 0.004, 0.861, "higher"),
    "density": (0.934, 0.006, 1.002, "real"),
    "coverage": (0.902, 0.003, 0.958, "higher"),
    "fd_second": (1.49, 0.051, 0.352, "lower"),
    "kid_second": (0.00312, 0.00015, 0.000006, "lower"),
    "precision_second": (0.848, 0.003, 0.869, "higher"),
    "recall_second": (0.771, 0.004, 0.857, "higher"),
    "density_second": (0.917, 0.006, 0.998, "real"),
    "coverage_second": (0.889, 0.003, 0.955, "higher"),
    "class_coverage": (1.0, 0.0, 1.0, "higher"),
    "class_entropy": (2.3002, 0.0006, 2.3019, "real"),
    "class_kl": (0.0024, 0.0003, 0.0005, "lower"),
    "label_accuracy": (0.9127, 0.0021, 0.921, "higher"),
    "intra_class_diversity": (0.905, 0.004, 0.998, "real"),
    "copied_share": (0.0011, 0.0003, 0.0010, "lower"),
    "c_t": (1.9, 0.4, 0.0, "real"),
    "sharpness": (1.08, 0.01, 1.0, "real"),
    "noise": (1.12, 0.01, 1.0, "real"),
    "contrast": (0.98, 0.004, 1.0, "real"),
}
ACCURACY = (0.889, 0.990, 0.877, 0.935, 0.868, 0.962, 0.685, 0.957, 0.986, 0.985)
SHARES = (0.1033, 0.1006, 0.1039, 0.0997, 0.1052, 0.0996, 0.0875, 0.1015, 0.0975, 0.1012)
DIVERSITY = (0.92, 0.90, 0.91, 0.88, 0.93, 0.87, 0.96, 0.85, 0.91, 0.92)
OF_CLASSES = {"class_coverage": SHARES, "label_accuracy": ACCURACY, "intra_class_diversity": DIVERSITY}


def record(
    key: str, value: float, *, std: float = 0.01, floor: float | None = None, better: str = "higher", **more: Any
) -> dict[str, Any]:
    """One record with ten seeds around a value."""
    extractor = EXTRACTORS["_second" if key.endswith("_second") else ""]
    seeds = value + std * (OFFSETS - OFFSETS.mean()) / OFFSETS.std(ddof=1)
    return {
        "name": f"{key.removesuffix('_second')}_{extractor}_n10k",
        "extractor": extractor,
        "n": 10_000,
        "split": "test",
        "seeds": list(range(1, 11)),
        "value": value,
        "std": std,
        "interval": list(t_interval(seeds.tolist())),
        "per_seed": {str(seed): float(each) for seed, each in enumerate(seeds, start=1)},
        "floor": floor,
        "better": better,
    } | more


def fashion(**changed: Any) -> dict[str, Any]:
    """metrics.json of a good model. `changed` sets values of figures by key, or whole records."""
    metrics: dict[str, Any] = {
        "dataset": "fashion-mnist",
        "extractors": {
            "first": {
                "name": EXTRACTORS[""],
                "task": "classifier",
                "validation_accuracy": 0.9235166568105657,
                "feature_dim": 128,
                "layer": "penultimate, after ReLU",
                "preprocessing": "uint8 / 127.5 - 1, no resize",
            },
            "second": {
                "name": EXTRACTORS["_second"],
                "task": "classifier",
                "validation_accuracy": 0.9187,
                "feature_dim": 96,
                "preprocessing": "uint8 / 127.5 - 1, no resize",
            },
        },
    }
    for key, (value, std, floor, better) in FIGURES.items():
        more: dict[str, Any] = {}
        if key in OF_CLASSES:
            more["per_class"] = dict(zip(FASHION, OF_CLASSES[key], strict=True))
        if key == "class_coverage":
            more |= {"missing": [], "num_missing": 0}
        if key.startswith("fd"):
            more["ratio"] = value / floor if floor else None
        metrics[key] = record(key, value, std=std, floor=floor, better=better, **more)
    for key, new in changed.items():
        old = metrics[key]
        metrics[key] = (
            new
            if isinstance(new, dict)
            else record(
                key,
                new,
                std=old["std"],
                **{part: old[part] for part in ("floor", "better", "per_class") if part in old},
            )
        )
    return metrics


def useful() -> dict[str, Any]:
    """usefulness.json of the same model."""
    name = "cas_featurenet8_test_n10000"
    gains = {"1pct": (0.021, 0.004), "10pct": (0.004, 0.002), "100pct": (-0.002, 0.002)}
    return {
        "cas": record("cas", 0.842, std=0.004, floor=0.893) | {"name": name, "seeds": [1, 2, 3]},
        "cas_real": record("cas_real", 0.893, std=0.002) | {"name": f"{name}_real", "seeds": [1, 2, 3]},
    } | {
        f"augmentation_{part}": record(f"augmentation_{part}", gain, std=std, floor=0.0) | {"seeds": [1, 2, 3]}
        for part, (gain, std) in gains.items()
    }


def unlabelled() -> dict[str, Any]:
    """An RGB folder without labels: no classes, no floors yet, few images, the one extractor of older files."""
    keys = (
        "fd",
        "kid",
        "precision",
        "recall",
        "density",
        "coverage",
        "copied_share",
        "c_t",
        "sharpness",
        "noise",
        "contrast",
    )
    metrics = {key: FIGURES[key] for key in keys}
    return {
        "dataset": "my-photos",
        "extractor": {"name": "rotation_my-photos@00ff00ff", "task": "rotation", "validation_accuracy": 0.71},
    } | {
        key: record(key, value, std=std, floor=None, better=better) | {"n": 500}
        for key, (value, std, _, better) in metrics.items()
    }


def thousand() -> dict[str, Any]:
    """Stacked-MNIST: a thousand classes, some of them lost."""
    names = [f"{k:03d}" for k in range(1000)]
    shares = np.abs(1 + 0.4 * np.sin(np.arange(1000.0))) / 1000
    shares[[17, 404, 666]] = 0.0
    lost = [f"{k:03d}" for k in range(0, 80, 4)]
    whole = fashion()
    del whole["intra_class_diversity"]
    return whole | {
        "dataset": "stacked-mnist",
        "modes": record("modes", 957.4, std=2.0, floor=1000, n=26_000, num_modes=1000),
        "modes_kl": record("modes_kl", 0.31, std=0.01, floor=0.019, better="lower", n=26_000),
        "class_coverage": record("class_coverage", 0.957, std=0.002, floor=1.0, missing=lost, num_missing=43)
        | {"per_class": dict(zip(names, shares.tolist(), strict=True))},
        "label_accuracy": record("label_accuracy", 0.88, floor=0.98)
        | {"per_class": {name: 0.9 - 0.1 * math.sin(k) for k, name in enumerate(names)}},
    }


@cache
def sheet(rows: int, columns: int, *, channels: int = 1) -> bytes:
    """A PNG of some size with a pattern, not a photo."""
    y, x = np.mgrid[0 : rows * 60, 0 : columns * 60]
    layers: Sequence[np.ndarray] = [((x * (k + 2) + y * 3) % 256).astype(np.uint8) for k in range(channels)]
    return png_bytes(np.stack(layers))


def pictures(*, channels: int = 1) -> dict[str, bytes]:
    """All pictures of a page."""
    return {
        "samples": sheet(8, 10, channels=channels),
        "neighbours": sheet(2, 12, channels=channels),
        "curves": sheet(10, 3, channels=3),
        "evolution": sheet(8, 10, channels=channels),
    }


MODEL = {
    "data set": "fashion-mnist",
    "architecture": "pixelshuffle, class-conditional",
    "image": "28 × 28, grey",
    "parameters": "387,112",
    "trained for": "250 kimg",
    "loss": "relativistic, R1 + R2",
    "bundle": "sha256 9f2c11d07ab3",
}
