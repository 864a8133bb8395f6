"""What the evaluate stage writes: the panel of metrics, a sheet of samples, a sheet of nearest neighbours."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch

from ganline.data.loader import Prepared
from ganline.devices import Compute
from ganline.errors import GateError
from ganline.evaluation.config import EvaluateConfig
from ganline.evaluation.extractor import Extractor
from ganline.evaluation.frechet import fit_gaussian
from ganline.evaluation.inception import inception_record
from ganline.evaluation.measure import (
    Reference,
    class_records,
    distance_record,
    fake_features,
    nearest,
    neighbour_sheet,
)
from ganline.evaluation.modes import mode_records
from ganline.images import enlarge, grid
from ganline.models.sampling import sample
from ganline.models.spec import Generator

log = logging.getLogger(__name__)

SHEET_SEED = 0
SHEET_ROWS = 8


def measure(
    G: Generator,
    *,
    num_classes: int,
    prepared: Prepared,
    extract: Extractor,
    real: Reference,
    config: EvaluateConfig,
    compute: Compute,
) -> dict[str, Any]:
    """All metrics of one generator, each with its protocol. Raises GateError where modes cannot be counted."""
    if config.modes_n is not None and not extract.classifies:
        raise GateError(
            f"evaluate.modes_n is {config.modes_n}, but {extract.name} tells no classes apart",
            expected="extractor.task: classifier or channels",
            remedy="set it, or evaluate.modes_n: null",
        )
    n = max(real.n, config.modes_n or 0)
    made = {}
    for seed in config.seeds:
        made[seed] = fake_features(G, extract, n=n, seed=seed, num_classes=num_classes, compute=compute)
        log.info("evaluate: seed %d, %d images", seed, n)
    fakes = {seed: each.first(real.n) for seed, each in made.items()}
    if real.n <= real.features.shape[1]:
        log.warning(
            "evaluate: N = %d is not above the extractor's %d features: distances this small in N are rough",
            real.n,
            real.features.shape[1],
        )
    target = fit_gaussian(real.features)
    metrics: dict[str, Any] = {
        "dataset": prepared.name,
        "extractor": {key: extract.meta[key] for key in ("name", "task", "validation_accuracy", "preprocessing")},
        "fd": distance_record(real, target, fakes, extract.name),
    }
    if extract.classifies:
        metrics |= class_records(fakes, prepared.labels, extract.name)
    if config.modes_n is not None:
        metrics |= mode_records(
            {seed: each.seen[: config.modes_n] for seed, each in made.items()},
            train_labels=prepared.split("train").labels,
            extract=extract,
            real=prepared.split(real.split),
            num_modes=len(prepared.labels),
        )
    if config.inception is not None:
        metrics["inception"] = inception_record(
            config.inception,
            G=G,
            split=prepared.split(real.split),
            split_name=real.split,
            n=real.n,
            seeds=config.seeds,
            num_classes=num_classes,
            compute=compute,
        )
    return metrics


def sheet_images(G: Generator, *, columns: int, num_classes: int, compute: Compute) -> np.ndarray:
    """SHEET_ROWS images for each of `columns` columns, uint8 [N, C, H, W]; one class a column where there are any."""
    if not num_classes:
        batches = sample(G, n=columns * SHEET_ROWS, seed=SHEET_SEED, num_classes=0, compute=compute)
        return torch.cat([images for images, _ in batches]).cpu().numpy()
    per_column = []
    for k in range(columns):
        seed = SHEET_SEED + k
        batches = sample(G, n=SHEET_ROWS, seed=seed, num_classes=num_classes, compute=compute, label=k % num_classes)
        per_column.append(torch.cat([images for images, _ in batches]).cpu().numpy())
    return np.stack(per_column, axis=1).reshape(-1, *per_column[0].shape[1:])


def samples_picture(G: Generator, *, num_classes: int, compute: Compute) -> np.ndarray:
    """The sheet of samples, not chosen by hand: fixed seeds, uint8 [C, H, W]."""
    columns = min(max(num_classes, 8), 16)
    images = sheet_images(G, columns=columns, num_classes=num_classes, compute=compute)
    return enlarge(grid(images, columns=columns), scale(images.shape[-1]))


def neighbours_picture(
    G: Generator,
    *,
    num_classes: int,
    prepared: Prepared,
    extract: Extractor,
    real: Reference,
    count: int,
    compute: Compute,
) -> np.ndarray:
    """Generated images above, the nearest training image (in feature space) below each: copies would show."""
    batches = sample(G, n=count, seed=SHEET_SEED, num_classes=num_classes, compute=compute)
    fakes = torch.cat([images for images, _ in batches])
    features, _ = extract(fakes)
    rows = nearest(features, real.train_features)
    sheet = neighbour_sheet(fakes.cpu().numpy(), rows, prepared.split("train"))
    return enlarge(grid(sheet, columns=count), scale(fakes.shape[-1]))


def scale(resolution: int) -> int:
    """Enlargement that makes one image about 64 pixels wide on a page."""
    return max(1, round(64 / resolution))
