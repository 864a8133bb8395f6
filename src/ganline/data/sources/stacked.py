"""Stacked-MNIST: three random MNIST digits in the three colour channels, so that there are 1,000 modes to be counted.

Metz et al. 2016, arXiv 1611.02163; sizes as in Srivastava et al. 2017, arXiv 1705.07761, and Lin et al. 2018 (PacGAN),
arXiv 1712.04086. The last one's code draws from all 70,000 MNIST images; here test stacks hold test images alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from ganline.data.providers import Layout, Provider
from ganline.data.sources.base import Block, RawImage, items_of
from ganline.data.sources.idx import IdxSource, Mnist, read_idx

BLOCK_IMAGES = 4096
WORDS = 4  # of 64 bits each, that Philox makes of one count
LABEL_NAMES = tuple(f"{number:03d}" for number in range(1000))


class StackedMnist(IdxSource):
    """MNIST digits in threes, 28x28, RGB; the label is the three digits, red first, such as 407.

    The raw files are MNIST's own. `item` of an image is its number in its split, not a place in a file.
    """

    name: Literal["stacked-mnist"] = "stacked-mnist"
    num_train: int = Field(default=128_000, ge=1)
    """Stacks of training digits."""
    num_test: int = Field(default=26_000, ge=1)
    """Stacks of test digits."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Another seed stacks other digits."""

    title: ClassVar[str] = "Stacked-MNIST"
    layout: ClassVar[Layout] = Mnist.layout
    label_names: ClassVar[tuple[str, ...]] = LABEL_NAMES
    pairs = Mnist.pairs
    note: ClassVar[str] = (
        "Every stack is three MNIST images of its own split. Stacks for tuning share single digits with those for "
        "training; only the test split shows digits that training never saw."
    )

    def providers(self) -> list[Provider]:
        return Mnist().providers()

    def read(self, folder: Path, *, only: Collection[int] | None = None) -> Iterator[Block]:
        offset = 0
        for number, ((split, images_file, labels_file), count) in enumerate(
            zip(self.pairs, (self.num_train, self.num_test), strict=True)
        ):
            images, digits = np.array(read_idx(folder / images_file.name)), read_idx(folder / labels_file.name)
            parts = draw_parts(self.seed, number, count=count, size=len(digits))
            codes = digits[parts].astype(np.int64) @ (100, 10, 1)
            rows = items_of(only, offset=offset, count=count)
            for start in range(0, len(rows), BLOCK_IMAGES):
                chosen = rows[start : start + BLOCK_IMAGES]
                pixels = np.ascontiguousarray(images[parts[chosen]].transpose(0, 2, 3, 1))
                yield [
                    RawImage(offset + item, images_file.name, item, split, LABEL_NAMES[code], "RGB", image)
                    for item, code, image in zip(chosen, codes[chosen], pixels, strict=True)
                ]
            offset += count


def draw_parts(seed: int, split: int, *, count: int, size: int) -> np.ndarray:
    """Which three of `size` images make up each of `count` stacks: int64 [count, 3].

    Row i is what the counter-based generator Philox says of count i under the key (seed, split), whatever `count` is.
    NumPy promises to keep the words of its bit generators, not what its distributions make of them (NEP 19): hence the
    modulo, whose bias is below `size` / 2^64.
    """
    words = np.random.Philox(key=[seed, split]).random_raw(WORDS * count).reshape(count, WORDS)
    return (words[:, :3] % np.uint64(size)).astype(np.int64)
