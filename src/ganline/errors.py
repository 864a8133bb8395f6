"""Errors that a user can cause. Each says what was found, what was expected and what to do."""

from __future__ import annotations


class GanlineError(Exception):
    """Base of every error that the CLI prints as one message, without a traceback.

    `found` is what was met, `expected` the rule, `remedy` the next step for the user.
    """

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
