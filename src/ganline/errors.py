"""Errors that a user can cause. Each says what was found, what was expected and what to do."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

NAMED = 10


def printable(text: str) -> str:
    """The text with line ends and other control characters as escapes: a file's name must not forge a line."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def listed(names: Collection[str], *, whole_list: str = "") -> str:
    """The first names of what a message counts, and how many more there are; `whole_list` says where all stand."""
    first = ", ".join(map(printable, sorted(names)[:NAMED]))
    where = f" (all are in {whole_list})" if whole_list else ""
    return f"{first} and {len(names) - NAMED} more{where}" if len(names) > NAMED else first


def get_again(folder: Path) -> str:
    """The remedy for damaged files of a model."""
    return f"run `dvc checkout` if a stage made {folder}; remove it if it came from the registry: it is fetched again"


class GanlineError(Exception):
    """Base of every error that the CLI prints as one message, without a traceback.

    `found` is what was met, `expected` the rule, `remedy` the next step for the user. `root` is the workspace that it
    is about where that is not the one around the present folder.
    """

    root: Path | None = None

    def __init__(self, found: str, *, expected: str | None = None, remedy: str | None = None):
        self.found, self.expected, self.remedy = found, expected, remedy
        super().__init__(found)

    def __str__(self) -> str:
        parts = [self.found]
        if self.expected:
            parts.append(f"expected: {self.expected}")
        if self.remedy:
            parts.append(f"to do: {self.remedy}")
        return "\n  ".join(parts)


class ConfigError(GanlineError):
    """params.yaml, a preset or an option is wrong."""


class DataError(GanlineError):
    """Raw data is missing, damaged or not what the configuration says."""


class FetchError(DataError):
    """No provider could serve the data set."""


class GateError(GanlineError):
    """A gate (expectations, accuracy, floors) refused to go on."""


class TrainingError(GanlineError):
    """Training diverged, or saved state cannot be resumed."""


class BundleError(GanlineError):
    """A model bundle is incomplete, damaged or of another format."""


class RegistryError(GanlineError):
    """The model registry has no such model, version or alias."""


class WorkspaceError(GanlineError):
    """The checkout or an isolated workspace is not usable (no git, locked, interrupted install)."""
