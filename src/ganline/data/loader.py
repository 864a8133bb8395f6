"""Batches of prepared images: exactly resumable, in memory where they fit, memory-mapped where not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ganline import ranks
from ganline.files import read_json
from ganline.images import to_network
from ganline.seeds import generator

RESIDENT_LIMIT_BYTES = 4 << 30


class Split:
    """One split of a prepared data set: `images` uint8 [N, C, H, W] (memory-mapped), `labels` int64 [N]."""

    def __init__(self, folder: Path, name: str):
        self.images: np.ndarray = np.load(folder / f"{name}_images.npy", mmap_mode="r")
        self.labels: np.ndarray = np.load(folder / f"{name}_labels.npy")

    def __len__(self) -> int:
        return len(self.labels)


class Prepared:
    """The `prepare` stage's folder: splits, label names, image size."""

    def __init__(self, folder: Path):
        self.folder = folder
        meta = read_json(folder / "dataset.json")
        self.name: str = meta["name"]
        self.labels: tuple[str, ...] = tuple(meta["labels"])
        self.resolution: int = meta["resolution"]
        self.channels: int = meta["channels"]
        self.meta = meta

    def split(self, name: str) -> Split:
        return Split(self.folder, name)


class Batches:
    """An endless stream of shuffled batches. Batch k is a pure function of (seed, k): there is no cursor to lose.

    `batch` counts the images of all ranks; `get` gives this rank's share of them. `words` makes float32 [n, E] of rows
    int64 [n], by a generator: what stands in the labels' place.
    """

    def __init__(
        self,
        split: Split,
        *,
        batch: int,
        seed: int,
        mirror: bool,
        device: torch.device,
        words: Callable[[torch.Tensor, torch.Generator], torch.Tensor] | None = None,
    ):
        self.words = words
        self.split, self.batch, self.seed, self.mirror, self.device = split, batch, seed, mirror, device
        self._orders: dict[int, torch.Tensor] = {}
        self._labels = torch.from_numpy(split.labels).to(device)
        resident = split.images.nbytes <= RESIDENT_LIMIT_BYTES
        self._images = torch.from_numpy(np.array(split.images)).to(device) if resident else None

    def _order(self, epoch: int) -> torch.Tensor:
        if epoch not in self._orders:
            self._orders = {e: o for e, o in self._orders.items() if e == epoch - 1}
            self._orders[epoch] = torch.randperm(len(self.split), generator=generator(self.seed, "order", epoch))
        return self._orders[epoch]

    def indices(self, k: int) -> torch.Tensor:
        """Rows of the split that batch k holds, int64 [batch]: every row once an epoch, epochs back to back."""
        size = len(self.split)
        parts, position, left = [], k * self.batch, self.batch
        while left:
            epoch, offset = divmod(position, size)
            part = self._order(epoch)[offset : offset + left]
            parts.append(part)
            position, left = position + len(part), left - len(part)
        return torch.cat(parts)

    def label_of(self, rows: torch.Tensor) -> torch.Tensor:
        """Labels int64 [n] of rows of the split."""
        return self._labels[rows.to(self._labels.device)]

    def get(self, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """This rank's rows of batch k: images float [n, C, H, W] in [-1, 1] and labels int64 [n], on the device."""
        share = ranks.rows(self.batch)
        rows = self.indices(k)[share]
        if self._images is not None:
            rows = rows.to(self.device, non_blocking=True)
            pixels = self._images[rows]
        else:
            pixels = torch.from_numpy(self.split.images[rows.numpy()]).to(self.device, non_blocking=True)
        images = to_network(pixels).contiguous(memory_format=torch.channels_last)
        if self.mirror:
            flip = torch.rand(self.batch, generator=generator(self.seed, "mirror", k))[share] < 0.5
            images = torch.where(flip.to(self.device, non_blocking=True)[:, None, None, None], images.flip(3), images)
        if self.words is not None:  # drawn for the whole batch: the same words on any number of ranks
            told = self.words(self.indices(k), generator(self.seed, "words", k))
            return images, told[share].to(self.device, non_blocking=True)
        return images, self.label_of(rows)


class Pairs:
    """Batches of a teacher's images with the noise that they were made of: `z` float32 [N, z_dim], a row an image."""

    def __init__(self, batches: Batches, z: np.ndarray):
        self.batches, self.z = batches, torch.from_numpy(np.array(z))

    def get(self, k: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """This rank's rows of batch k: z [n, z_dim], images float [n, C, H, W] in [-1, 1], labels int64 [n]."""
        images, labels = self.batches.get(k)
        rows = self.batches.indices(k)[ranks.rows(self.batches.batch)]
        return self.z[rows].to(images.device, non_blocking=True), images, labels


def joined(*splits: Split) -> Split:
    """Several splits as one, in memory."""
    whole = copy.copy(splits[0])
    whole.images = np.concatenate([split.images for split in splits])
    whole.labels = np.concatenate([split.labels for split in splits])
    return whole


def rows_as_tensor(split: Split, start: int, stop: int) -> torch.Tensor:
    """Rows [start, stop) of a split as uint8 [n, C, H, W]."""
    return torch.from_numpy(np.array(split.images[start:stop]))
