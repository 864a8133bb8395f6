"""MNIST and Fashion-MNIST, and the IDX format that they are published in.

IDX (http://yann.lecun.com/exdb/mnist/): two zero bytes, a type (8 = uint8), the number of dimensions, each dimension
as a big-endian int32, then the values, last dimension fastest.
MNIST: LeCun, Cortes, Burges 1998. Fashion-MNIST: Xiao, Rasul, Vollgraf 2017, arXiv 1708.07747.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from ganline.data.archives import PublishedFile
from ganline.data.providers import Layout, Provider, debian_package, installed, site
from ganline.data.sources.base import Block, RawImage, items_of
from ganline.data.sources.published import PublishedSource
from ganline.errors import DataError

BLOCK_IMAGES = 4096
UINT8 = 8


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array in an IDX file, memory-mapped."""
    with path.open("rb") as file:
        magic = file.read(4)
        if len(magic) < 4 or magic[:3] != bytes((0, 0, UINT8)):
            raise DataError(f"{path.name} begins with {magic.hex() or 'nothing'}", expected="an IDX file of uint8")
        shape = np.frombuffer(file.read(4 * magic[3]), dtype=">i4")
    header = 4 + 4 * magic[3]
    found, rule = path.stat().st_size - header, int(np.prod(shape, dtype=np.int64))
    if len(shape) != magic[3] or found != rule:
        raise DataError(f"{path.name} holds {found} values", expected=f"{rule}, as its header says")
    return np.memmap(path, dtype=np.uint8, mode="r", offset=header, shape=tuple(int(n) for n in shape))


def idx_bytes(array: np.ndarray) -> bytes:
    """The IDX file of a uint8 array."""
    header = bytes((0, 0, UINT8, array.ndim)) + np.asarray(array.shape, dtype=">i4").tobytes()
    return header + np.ascontiguousarray(array, dtype=np.uint8).tobytes()


class IdxSource(PublishedSource):
    """Pairs of IDX files: images [N, H, W] and labels [N], each pair a split of the source's own (or None)."""

    pairs: ClassVar[tuple[tuple[str | None, PublishedFile, PublishedFile], ...]]

    @property
    def files(self) -> tuple[PublishedFile, ...]:
        return tuple(file for _, images, labels in self.pairs for file in (images, labels))

    def read(self, folder: Path, *, only: Collection[int] | None = None) -> Iterator[Block]:
        assert self.label_names is not None
        offset = 0
        for split, images_file, labels_file in self.pairs:
            images, labels = read_idx(folder / images_file.name), read_idx(folder / labels_file.name)
            names = [self.label_names[label] for label in labels]
            rows = items_of(only, offset=offset, count=len(images))
            for start in range(0, len(rows), BLOCK_IMAGES):
                chosen = rows[start : start + BLOCK_IMAGES]
                pixels = np.array(images[chosen])[..., None]
                yield [
                    RawImage(offset + item, images_file.name, item, split, names[item], "L", image)
                    for item, image in zip(chosen, pixels, strict=True)
                ]
            offset += len(images)


class Mnist(IdxSource):
    """MNIST: 60,000 + 10,000 handwritten digits, 28x28, grey."""

    name: Literal["mnist"] = "mnist"

    title: ClassVar[str] = "MNIST"
    layout: ClassVar[Layout] = Layout(folders=("", "MNIST/raw", "mnist"))
    label_names: ClassVar[tuple[str, ...]] = tuple("0123456789")
    pairs = (
        (
            "train",
            PublishedFile(
                "train-images-idx3-ubyte", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db", 47040016
            ),
            PublishedFile(
                "train-labels-idx1-ubyte", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5", 60008
            ),
        ),
        (
            "test",
            PublishedFile(
                "t10k-images-idx3-ubyte", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7", 7840016
            ),
            PublishedFile(
                "t10k-labels-idx1-ubyte", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2", 10008
            ),
        ),
    )

    def providers(self) -> list[Provider]:
        return [
            site("https://ossci-datasets.s3.amazonaws.com/mnist"),
            site("https://storage.googleapis.com/cvdf-datasets/mnist"),
        ]


class FashionMnist(IdxSource):
    """Fashion-MNIST: 60,000 + 10,000 articles of clothing, 28x28, grey. The same file names as MNIST."""

    name: Literal["fashion-mnist"] = "fashion-mnist"

    title: ClassVar[str] = "Fashion-MNIST"
    layout: ClassVar[Layout] = Layout(folders=("", "FashionMNIST/raw", "fashion-mnist", "data/fashion"))
    label_names: ClassVar[tuple[str, ...]] = (
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
    pairs = (
        (
            "train",
            PublishedFile(
                "train-images-idx3-ubyte", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888", 47040016
            ),
            PublishedFile(
                "train-labels-idx1-ubyte", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9", 60008
            ),
        ),
        (
            "test",
            PublishedFile(
                "t10k-images-idx3-ubyte", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b", 7840016
            ),
            PublishedFile(
                "t10k-labels-idx1-ubyte", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34", 10008
            ),
        ),
    )

    def providers(self) -> list[Provider]:
        return [
            installed(Path("/usr/share/datasets/fashion-mnist")),
            site("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"),
            site("https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion"),
            debian_package("dataset-fashion-mnist", inside="usr/share/datasets/fashion-mnist"),
        ]
