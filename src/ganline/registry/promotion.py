"""Who may become champion: absolute floors that metrics must pass. Pure: no registry, no clock.

A rule whose metric is missing or not a finite number fails: nothing is promoted for lack of evidence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Comparison = Literal["<=", ">="]


class FloorsConfig(BaseModel):
    """Bounds that a version must keep to get an alias. null leaves a rule out; at least one rule is needed."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    fd_max: float | None = Field(default=None, gt=0.0, description="largest Fréchet distance (mean over seeds)")
    fd_ratio_max: float | None = Field(default=None, gt=0.0, description="largest distance in units of its floor")
    coverage_min: float | None = Field(default=0.9, gt=0.0, le=1.0, description="least share of classes that appear")
    label_accuracy_min: float | None = Field(
        default=None, gt=0.0, le=1.0, description="least share of images that show the class that was asked for"
    )

    @model_validator(mode="after")
    def something_is_asked(self) -> FloorsConfig:
        if all(value is None for value in self.model_dump().values()):
            raise ValueError("no floor is set: a model must pass at least one before it is promoted")
        return self


@dataclass(frozen=True)
class Rule:
    """One floor, judged. `metric` is the metric's name with its protocol; `value` is None where it is missing."""

    floor: str
    metric: str
    comparison: Comparison
    bound: float
    value: float | None

    @property
    def passed(self) -> bool:
        if self.value is None:
            return False
        return self.value <= self.bound if self.comparison == "<=" else self.value >= self.bound

    def __str__(self) -> str:
        found = "was not measured" if self.value is None else f"is {self.value:.4g}"
        return f"{self.metric} {found} (floor: {self.comparison} {self.bound:g})"


@dataclass(frozen=True)
class Verdict:
    """All rules that were asked."""

    rules: tuple[Rule, ...]

    @property
    def passed(self) -> bool:
        return bool(self.rules) and all(rule.passed for rule in self.rules)

    def __str__(self) -> str:
        """'passed: …' with every rule, or 'refused: …' with the rules that failed."""
        told = [str(rule) for rule in self.rules if self.passed or not rule.passed]
        return f"{'passed' if self.passed else 'refused'}: " + ("; ".join(told) or "no rule was asked")


# floor -> (record in metrics.json, its field, what the field is called, comparison)
RULES: Mapping[str, tuple[str, str, str, Comparison]] = {
    "fd_max": ("fd", "value", "{name}", "<="),
    "fd_ratio_max": ("fd", "ratio", "ratio of {name} to its real-against-real floor", "<="),
    "coverage_min": ("class_coverage", "value", "{name}", ">="),
    "label_accuracy_min": ("label_accuracy", "value", "{name}", ">="),
}


def judge_floors(metrics: Mapping[str, Any], floors: FloorsConfig) -> Verdict:
    """Judge metrics (as evaluate writes them) by every floor that is set."""
    rules = []
    for floor, bound in floors.model_dump().items():
        if bound is None:
            continue
        key, field, wording, comparison = RULES[floor]
        record = metrics.get(key)
        record = record if isinstance(record, Mapping) else {}
        metric = wording.format(name=record.get("name", key))
        rules.append(Rule(floor, metric, comparison, bound, number(record.get(field))))
    return Verdict(tuple(rules))


def number(value: Any) -> float | None:
    """A finite number as float; anything else is None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
