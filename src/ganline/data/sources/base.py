"""What every source of images is: a fixed set of files, and a reader of the images in them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True, slots=True)
class RawImage:
    """One image as the source holds it. `pixels` is uint8 [H, W, C], C in {1, 3}, or None where `error` says why."""

    index: int  # position in the source's fixed order: the same in the manifest, in prepare and in reports
    file: str
    item: int  # position in the file
    split: str | None  # the source's own split, where it has one
    label: str | None
    mode: str | None  # the file's own pixel format (Pillow's names: L, RGB, RGBA, P ...)
    pixels: np.ndarray | None
    error: str | None = None


Block = list[RawImage]
"""Consecutive images of a source, few enough to be in memory at once."""


@dataclass(frozen=True)
class Plan:
    """The version of a data set that fetch is asked for: every file's sha256, and what was left out and why."""

    files: dict[str, str]
    skipped: dict[str, str] = field(default_factory=dict)


def items_of(only: Collection[int] | None, *, offset: int, count: int) -> Sequence[int]:
    """Positions in a file whose first image has index `offset`: all, or those of the indices in `only`."""
    return range(count) if only is None else sorted(i - offset for i in only if 0 <= i - offset < count)


class Source(BaseModel, ABC):
    """A kind of data set. Its fields are settings; its methods plan, fill and read the folder of raw files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str

    note: ClassVar[str] = ""
    """What a reader of numbers on this data set has to know."""

    label_names: ClassVar[tuple[str, ...] | None] = None
    """Names in the order of the class indices; None where the files themselves say."""

    @property
    def pinned(self) -> dict[str, str] | None:
        """sha256 of every file where the bytes are published and fixed; None where the user's files decide."""
        return None

    @property
    def remarks(self) -> str:
        """`note`, where the settings call for it."""
        return self.note

    def class_names(self) -> tuple[str, ...]:
        """Names in the order of the class indices, as prepare will find them; empty without labels."""
        return self.label_names or ()

    @abstractmethod
    def plan(self) -> Plan:
        """What `data/` should hold, with checksums."""

    @abstractmethod
    def fill(self, names: Collection[str], plan: Plan, staging: Path, *, mirrors: Sequence[str]) -> dict[str, str]:
        """Bring the named files of the plan into `staging`; return who served each."""

    @abstractmethod
    def read(self, folder: Path, *, only: Collection[int] | None = None) -> Iterator[Block]:
        """Decoded images in the source's fixed order; of those, the ones whose index is in `only`."""
