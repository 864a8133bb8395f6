"""Suites of expectations kept as data: what is expected, why, how grave a failure is, and how a row is named.

A suite is a JSON file: {"title", "about", "expectations": [...]}. An expectation has an `id`, `type` and `kwargs` of a
Great Expectations class, and in `meta` a `title`, a `severity` (critical refuses, warning only tells), and optionally
`row` (a sentence about a failing row, with {column} of the manifest in it), `scope` ("whole": judged before anything is
set aside) and `table` ("manifest", "labels" or "drift").
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ganline.errors import GateError
from ganline.files import read_json

COMMON = "common"


class Meta(BaseModel):
    """What people read about an expectation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    severity: Literal["critical", "warning"] = "critical"
    row: str = "{column} is {value}"
    scope: Literal["rows", "whole"] = "rows"
    table: Literal["manifest", "labels", "drift"] = "manifest"
    why: str = ""


class Expectation(BaseModel):
    """One expectation, ready to be built by Great Expectations."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    type: str = Field(pattern=r"^expect_[a-z_]+$")
    kwargs: dict[str, Any]
    meta: Meta


class Suite(BaseModel):
    """A named list of expectations."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    about: str = ""
    expectations: tuple[Expectation, ...] = Field(min_length=1)


def load_suites(folder: Path, name: str) -> tuple[list[Suite], list[Expectation]]:
    """The common suite and the named one. Whatever is missing, empty or malformed is refused: the gate fails closed."""
    suites = [_load(folder / f"{each}.json") for each in dict.fromkeys((COMMON, name))]
    expectations = [expectation for suite in suites for expectation in suite.expectations]
    ids = [expectation.id for expectation in expectations]
    if twice := sorted({each for each in ids if ids.count(each) > 1}):
        raise GateError(f"suites common and {name} both define {', '.join(twice)}", expected="every id once")
    # Great Expectations keeps one of two equal expectations, whatever their ids.
    contents = [(expectation.type, expectation.kwargs) for expectation in expectations]
    if again := [each.id for number, each in enumerate(expectations) if contents[number] in contents[:number]]:
        raise GateError(f"{', '.join(again)} repeats another expectation of common or {name}", expected="each once")
    return suites, expectations


def _load(path: Path) -> Suite:
    if not path.is_file():
        files = sorted(path.parent.glob("*.json"))
        names = ", ".join(file.stem for file in files if "expectations" in read_json(file)) or "none"
        raise GateError(f"there is no suite {path}", expected=f"one of: {names}", remedy="correct validate.suite")
    try:
        return Suite.model_validate(read_json(path))
    except (ValidationError, ValueError) as error:
        raise GateError(
            f"the suite {path} cannot be used: {error}", expected="at least one well-formed expectation"
        ) from error
