"""What people look at: a sheet of samples that nobody chose, and samples beside the nearest training images."""

from __future__ import annotations

import numpy as np
import torch

from ganline.data.loader import Split
from ganline.devices import Compute
from ganline.evaluation.features import FeatureExtractor
from ganline.evaluation.reference import Reference, nearest_rows
from ganline.images import enlarge, grid
from ganline.models.sampling import sample
from ganline.models.spec import Generator

SHEET_SEED = 0
SHEET_ROWS = 8


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
    extract: FeatureExtractor,
    real: Reference,
    train: Split,
    count: int,
    compute: Compute,
) -> np.ndarray:
    """Generated images above, the nearest training image (in feature space) below each: copies would show."""
    batches = sample(G, n=count, seed=SHEET_SEED, num_classes=num_classes, compute=compute)
    fakes = torch.cat([images for images, _ in batches])
    rows = nearest_rows(extract(fakes)[0], real)
    return enlarge(grid(neighbour_sheet(fakes.cpu().numpy(), rows, train), columns=count), scale(fakes.shape[-1]))


def neighbour_sheet(fakes: np.ndarray, rows: np.ndarray, split: Split) -> np.ndarray:
    """Two rows of uint8 images [2n, C, H, W]: generated above, nearest training image below."""
    return np.concatenate([fakes, np.stack([split.images[row] for row in rows])])


def scale(resolution: int) -> int:
    """Enlargement that makes one image about 64 pixels wide on a page."""
    return max(1, round(64 / resolution))
