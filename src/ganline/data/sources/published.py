"""Sources whose bytes are published and fixed: every file is pinned by its sha256, whoever serves it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import ClassVar

from ganline.data.archives import PublishedFile
from ganline.data.chain import obtain
from ganline.data.providers import Layout, Provider, mirror
from ganline.data.sources.base import Plan, Source


class PublishedSource(Source):
    """A source with pinned files and a chain of providers; mirrors come before all others."""

    title: ClassVar[str]
    layout: ClassVar[Layout] = Layout()

    @property
    @abstractmethod
    def files(self) -> tuple[PublishedFile, ...]:
        """The files of the data set, in reading order."""

    @abstractmethod
    def providers(self) -> list[Provider]:
        """Where the files are published, best first."""

    @property
    def pinned(self) -> dict[str, str]:
        return {file.name: file.sha256 for file in self.files}

    def plan(self) -> Plan:
        return Plan(self.pinned)

    def fill(self, names: Collection[str], plan: Plan, staging: Path, *, mirrors: Sequence[str]) -> dict[str, str]:
        wanted = [file for file in self.files if file.name in names]
        providers = [mirror(location, self.layout) for location in mirrors] + self.providers()
        return obtain(self.title, wanted, providers, staging)
