"""Reading the images of a data set: the one order that manifest, prepare and reports share."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from ganline.data.config import DataConfig
from ganline.data.sources.base import Block


def read(config: DataConfig, folder: Path) -> Iterator[Block]:
    """All images, block by block."""
    return config.source.read(folder)


def read_rows(config: DataConfig, folder: Path, indices: Collection[int]) -> dict[int, np.ndarray]:
    """The pixels uint8 [H, W, C] of the images with these indices; those that cannot be decoded are left out."""
    blocks = config.source.read(folder, only=frozenset(indices))
    return {image.index: image.pixels for block in blocks for image in block if image.pixels is not None}
