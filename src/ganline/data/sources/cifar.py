"""CIFAR-10 in its official binary form: records of one label byte and 3072 bytes of R, G and B planes, row by row.

Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html. The sha256 of the five training batches were computed from
the official files (their md5 agree with the published ones). Those of the test batch and of the archive are the ones
that torchvision-ruby's and TensorFlow Datasets' checksum lists publish.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from ganline.data.archives import PublishedFile
from ganline.data.providers import Layout, Provider, archive_site
from ganline.data.sources.base import Block, RawImage, items_of
from ganline.data.sources.published import PublishedSource
from ganline.errors import DataError

BLOCK_IMAGES = 2000
BATCH_BYTES = 10_000 * 3073
LABEL_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

TRAIN = (
    PublishedFile("data_batch_1.bin", "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5", BATCH_BYTES),
    PublishedFile("data_batch_2.bin", "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed", BATCH_BYTES),
    PublishedFile("data_batch_3.bin", "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67", BATCH_BYTES),
    PublishedFile("data_batch_4.bin", "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48", BATCH_BYTES),
    PublishedFile("data_batch_5.bin", "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add", BATCH_BYTES),
)
TEST = PublishedFile("test_batch.bin", "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b", BATCH_BYTES)


class Cifar10(PublishedSource):
    """CIFAR-10: 50,000 photographs of ten kinds of things, 32x32, RGB; 10,000 more with `test_batch`."""

    name: Literal["cifar10"] = "cifar10"
    test_batch: bool = False
    """Whether the official test batch belongs to the data set; without it a fixed part of the 50,000 is held out."""

    title: ClassVar[str] = "CIFAR-10"
    layout: ClassVar[Layout] = Layout(
        folders=("", "cifar-10-batches-bin"),
        archive="cifar-10-binary.tar.gz",
        inside="cifar-10-batches-bin",
        max_archive_bytes=200_000_000,
    )
    label_names: ClassVar[tuple[str, ...]] = LABEL_NAMES
    note: ClassVar[str] = (
        "The test split is a fixed hold-out of the 50,000 official training images, chosen by content hash: "
        "the official test batch is not part of this data set (data.source.test_batch: true adds it), "
        "so figures do not compare with those on the official test set."
    )

    @property
    def remarks(self) -> str:
        return "" if self.test_batch else self.note

    @property
    def files(self) -> tuple[PublishedFile, ...]:
        return (*TRAIN, TEST) if self.test_batch else TRAIN

    def providers(self) -> list[Provider]:
        return [
            archive_site("https://www.cs.toronto.edu/~kriz", self.layout),
            archive_site("https://cave.cs.toronto.edu/kriz", self.layout),
        ]

    def read(self, folder: Path, *, only: Collection[int] | None = None) -> Iterator[Block]:
        offset = 0
        for file in self.files:
            records = read_batch(folder / file.name)
            split = None if not self.test_batch else "test" if file is TEST else "train"
            rows = items_of(only, offset=offset, count=len(records))
            for start in range(0, len(rows), BLOCK_IMAGES):
                chosen = rows[start : start + BLOCK_IMAGES]
                block = np.array(records[chosen])
                pixels = np.ascontiguousarray(block[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
                yield [
                    RawImage(offset + item, file.name, item, split, LABEL_NAMES[record[0]], "RGB", image)
                    for item, record, image in zip(chosen, block, pixels, strict=True)
                ]
            offset += len(records)


def read_batch(path: Path) -> np.ndarray:
    """The records of a batch, uint8 [N, 3073], memory-mapped."""
    size = path.stat().st_size
    if size == 0 or size % 3073:
        raise DataError(f"{path.name} has {size} bytes", expected="a multiple of 3073, one record an image")
    return np.memmap(path, dtype=np.uint8, mode="r", shape=(size // 3073, 3073))
