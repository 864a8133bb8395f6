"""What is kept of a set of images after one pass over them: every metric is a function of this.

A pass costs one run of each extractor; images themselves are not kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from ganline.data.loader import Split
from ganline.devices import Compute
from ganline.evaluation.pixels import pixel_statistics
from ganline.seeds import generator

CHUNK = 64
"""Images a pass: few enough that activations stay in a core's cache, twice as fast as 256."""

FIRST, SECOND = "first", "second"
Batch = tuple[torch.Tensor, torch.Tensor | None]


class FeatureExtractor(Protocol):
    """uint8 [n, C, H, W] -> features float32 [n, F] and logits float32 [n, K] or None, on the device of `compute`."""

    @property
    def name(self) -> str: ...
    @property
    def classifies(self) -> bool: ...
    @property
    def compute(self) -> Compute: ...
    def __call__(self, images: torch.Tensor, /) -> tuple[torch.Tensor, torch.Tensor | None]: ...


@dataclass(frozen=True)
class Features:
    """N images as extractors and pixel statistics see them, in their order; tensors on the device."""

    by: Mapping[str, torch.Tensor]
    """Role of an extractor (`first`, `second`, …) -> features, float32 [N, F]."""
    classes: torch.Tensor | None = None
    """The class that the first extractor sees, int64 [N]; None if it does not classify."""
    labels: torch.Tensor | None = None
    """The class that was asked for, or a real image's own, int64 [N]; None if there is none."""
    pixels: Mapping[str, torch.Tensor] | None = None
    """Statistic -> float32 [N]; None where pixels were not looked at."""

    def __len__(self) -> int:
        return len(next(iter(self.by.values())))

    def rows(self, rows: slice | torch.Tensor) -> Features:
        """Some of the images."""
        return Features(
            {role: features[rows] for role, features in self.by.items()},
            None if self.classes is None else self.classes[rows],
            None if self.labels is None else self.labels[rows],
            None if self.pixels is None else {name: values[rows] for name, values in self.pixels.items()},
        )

    def halves(self) -> tuple[Features, Features]:
        """The first and the second half, equally long."""
        half = len(self) // 2
        return self.rows(slice(half)), self.rows(slice(half, 2 * half))


def look(batches: Iterable[Batch], extractors: Mapping[str, FeatureExtractor], *, pixels: bool = True) -> Features:
    """One pass over (images uint8 [n, C, H, W], labels int64 [n] or None). The first extractor tells classes."""
    by: dict[str, list[torch.Tensor]] = {role: [] for role in extractors}
    classes: list[torch.Tensor] = []
    labels: list[torch.Tensor] = []
    statistics: dict[str, list[torch.Tensor]] = {}
    for images, own in batches:
        for role, extract in extractors.items():
            features, logits = extract(images)
            by[role].append(features)
            if role == FIRST and extract.classifies and logits is not None:
                classes.append(logits.argmax(1))
        if own is not None:
            labels.append(own)
        for name, values in pixel_statistics(images).items() if pixels else ():
            statistics.setdefault(name, []).append(values)
    return Features(
        {role: torch.cat(parts) for role, parts in by.items()},
        torch.cat(classes) if classes else None,
        torch.cat(labels) if labels else None,
        {name: torch.cat(parts) for name, parts in statistics.items()} if pixels else None,
    )


def split_batches(
    split: Split, rows: Sequence[int] | np.ndarray | None = None, *, device: torch.device
) -> Iterator[Batch]:
    """Images and labels of some rows of a split (all of them if None), in that order, on the device."""
    for start in range(0, len(split) if rows is None else len(rows), CHUNK):
        part = slice(start, start + CHUNK) if rows is None else rows[start : start + CHUNK]
        images = torch.from_numpy(np.array(split.images[part])).to(device)
        yield images, torch.from_numpy(np.array(split.labels[part])).to(device)


def random_rows(size: int, n: int, stream: str) -> np.ndarray:
    """n different rows of `size`, in a fixed random order: int64 [n]. Stored images are often sorted by class."""
    return torch.randperm(size, generator=generator(0, stream))[:n].numpy()
