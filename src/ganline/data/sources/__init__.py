"""The data sets that ganline knows. The union is the registry: a new source is one file and one line here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ganline.data.sources.cifar import Cifar10
from ganline.data.sources.digits import Digits
from ganline.data.sources.folder import ImageFolder
from ganline.data.sources.idx import FashionMnist, Mnist
from ganline.data.sources.stacked import StackedMnist

SourceConfig = Annotated[
    FashionMnist | Mnist | StackedMnist | Cifar10 | Digits | ImageFolder, Field(discriminator="name")
]

__all__ = ["Cifar10", "Digits", "FashionMnist", "ImageFolder", "Mnist", "SourceConfig", "StackedMnist"]
