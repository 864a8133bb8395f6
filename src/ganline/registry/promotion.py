"""Who may become champion: a paired comparison, absolute floors, guards. Pure: no registry, no clock.

The challenger wins only if its Fréchet distance is lower beyond the interval of the paired difference, and nothing else
is worse than the rules allow. A rule whose figure is missing or not a finite number fails: nothing is promoted for lack
of evidence. Where a figure cannot exist (a data set without classes has no class coverage) a rule that was left at its
default does not apply; one that params.yaml sets fails.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Comparison = Literal["<=", ">="]
SLACK = 1e-9
"""Drops are differences of floats: 0.95 - 0.9 is a little above 0.05."""


class FloorsConfig(BaseModel):
    """Absolute bounds that a version must keep, whoever is champion. null leaves a rule out."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    fd_max: float | None = Field(default=None, gt=0.0)
    """Largest Fréchet distance, mean over seeds."""
    fd_ratio_max: float | None = Field(default=None, gt=0.0)
    """Largest distance in units of what real images score."""
    fd_holdout_max: float | None = Field(default=None, gt=0.0)
    """Largest Fréchet distance by the holdout extractor, which nothing was chosen by."""
    fd_holdout_ratio_max: float | None = Field(default=None, gt=0.0)
    """The same in units of what real images score by that extractor."""
    class_coverage_min: float | None = Field(default=0.9, gt=0.0, le=1.0)
    """Least share of classes that appear."""
    coverage_min: float | None = Field(default=None, gt=0.0, le=1.0)
    """Least coverage: share of real images that have a generated one among their nearest neighbours."""
    recall_min: float | None = Field(default=None, gt=0.0, le=1.0)
    """Least recall: share of real images that lie where generated ones do."""
    label_accuracy_min: float | None = Field(default=None, gt=0.0, le=1.0)
    """Least share of images that show the class that was asked for."""
    modes_min: float | None = Field(default=None, gt=0.0)
    """Least number of modes, where evaluate.modes_n counts them."""
    copied_share_max: float | None = Field(default=0.05, ge=0.0, lt=1.0)
    """Largest share of near copies of training images beyond that of real images that were not trained on."""
    c_t_min: float | None = Field(default=-3.0)
    """Least C_T (memorisation): far below 0, images lie nearer to training images than real ones do. A z-score at
    evaluate.memorisation_n images a seed (2,000 by default): it grows with that number."""
    latency_ms_max: float | None = Field(default=None, gt=0.0)
    """Longest median time of one image at batch 1 on one thread, on the machine that runs the gate."""

    @model_validator(mode="after")
    def something_is_asked(self) -> FloorsConfig:
        if all(value is None for value in self.model_dump(exclude={"latency_ms_max"}).values()):
            raise ValueError("no floor is set: a model must pass at least one (besides latency) to be promoted")
        return self


class GuardsConfig(BaseModel):
    """What a challenger may surely lose, however much better its distance is. null leaves a rule out."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    recall_drop_max: float | None = Field(default=0.05, ge=0.0, le=1.0)
    """Largest fall of recall."""
    coverage_drop_max: float | None = Field(default=0.05, ge=0.0, le=1.0)
    """Largest fall of coverage."""
    class_coverage_drop_max: float | None = Field(default=0.0, ge=0.0, le=1.0)
    """Largest fall of the share of classes that appear."""
    latency_ratio_max: float | None = Field(default=2.0, gt=0.0)
    """Largest latency in units of the champion's."""


class PromotionConfig(BaseModel):
    """The gate: how champion and challenger are scored again, and what the challenger must do to take its place.

    Seeds and n are fixed here before anything is measured, and a pair is measured once: no optional stopping.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    seeds: tuple[int, ...] = Field(default=tuple(range(2001, 2011)), min_length=10)
    """Seeds of the latents of both models: at least ten, none of evaluate.seeds."""
    n: int | None = Field(default=None, ge=16)
    """Images of each seed; null: as many as the reference."""
    min_improvement: float = Field(default=0.0, ge=0.0, lt=1.0)
    """By which share of the champion's distance the challenger's must surely be lower."""
    floors: FloorsConfig = FloorsConfig()
    guards: GuardsConfig = GuardsConfig()

    @field_validator("seeds")
    @classmethod
    def seeds_differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed stands there twice: equal seeds give equal images, which are no further evidence")
        return seeds

    def rules(self) -> dict[str, Any]:
        """What decides a verdict, given the scores: the ledger keeps a hash of it."""
        explicit = sorted([*self.floors.model_fields_set, *self.guards.model_fields_set])
        return self.model_dump(mode="json", exclude={"seeds", "n"}) | {"explicit": explicit}


class Scored(Protocol):
    """One model's scores: records as in metrics.json, and milliseconds of one image."""

    @property
    def figures(self) -> Mapping[str, Any]: ...
    @property
    def latency_ms(self) -> float: ...


@dataclass(frozen=True)
class Row:
    """One rule, judged. Figures are None where there is none; `passed` is None where the rule does not apply.

    `change` is challenger - champion with its interval `low` to `high`; `why` says in words what failed.
    """

    rule: str
    metric: str
    champion: float | None
    challenger: float | None
    bound: str
    passed: bool | None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    why: str = ""

    def cells(self) -> tuple[str, str, str, str, str, str]:
        """As a line of a table: rule, champion, challenger, difference, what was asked, whether it passed."""
        change = "" if self.change is None else f"{self.change:+.3g}"
        if self.low is not None and self.high is not None:
            change += f" [{self.low:+.3g}, {self.high:+.3g}]"
        passed = {True: "passed", False: "FAILED", None: "not applicable"}[self.passed]
        return self.rule, shown(self.champion), shown(self.challenger), change, self.bound, passed


HEAD = ("rule", "champion", "challenger", "difference [95 %]", "asked", "")


@dataclass(frozen=True)
class Verdict:
    """All rules that were asked."""

    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Whether at least one rule could be judged, and none failed."""
        judged = [row.passed for row in self.rows if row.passed is not None]
        return bool(judged) and all(judged)

    @property
    def refused(self) -> tuple[str, ...]:
        """What failed, in words; empty if nothing did."""
        return tuple(row.why for row in self.rows if row.passed is False)

    def __str__(self) -> str:
        """'passed: …' with every figure that was judged, or 'refused: …' with what failed."""
        told = self.refused if not self.passed else [row.why for row in self.rows if row.passed]
        return f"{'passed' if self.passed else 'refused'}: " + ("; ".join(told) or "no rule could be judged")

    def table(self) -> str:
        return table([HEAD, *(row.cells() for row in self.rows)])


@dataclass(frozen=True)
class Bound:
    """A rule on one figure: which record, how it is read, what it is called, and which way it must lie."""

    key: str
    read: Callable[[Mapping[str, Any]], float | None]
    called: str
    comparison: Comparison


def value(record: Mapping[str, Any]) -> float | None:
    return number(record.get("value"))


def excess(record: Mapping[str, Any]) -> float | None:
    """By how much the figure is above that of real images (above 0 where theirs is not known)."""
    found = value(record)
    return None if found is None else round(found - (number(record.get("floor")) or 0.0), 12)


def baseline_ratio(record: Mapping[str, Any]) -> float | None:
    """The distance in units of what real images score."""
    return number(record.get("ratio"))


FLOORS: Mapping[str, Bound] = {
    "fd_max": Bound("fd", value, "{name}", "<="),
    "fd_ratio_max": Bound("fd", baseline_ratio, "ratio of {name} to that of real images", "<="),
    "fd_holdout_max": Bound("fd_second", value, "{name}", "<="),
    "fd_holdout_ratio_max": Bound("fd_second", baseline_ratio, "ratio of {name} to that of real images", "<="),
    "class_coverage_min": Bound("class_coverage", value, "{name}", ">="),
    "coverage_min": Bound("coverage", value, "{name}", ">="),
    "recall_min": Bound("recall", value, "{name}", ">="),
    "label_accuracy_min": Bound("label_accuracy", value, "{name}", ">="),
    "modes_min": Bound("modes", value, "{name}", ">="),
    "copied_share_max": Bound("copied_share", excess, "{name} beyond that of real images", "<="),
    "c_t_min": Bound("c_t", value, "{name} (far below 0: copies)", ">="),
    "latency_ms_max": Bound("latency_ms", value, "milliseconds of one image", "<="),
}
DROPS = {f"{key}_drop_max": key for key in ("recall", "coverage", "class_coverage")}
# A challenger tuned to the first extractor betrays itself under the second, one tuned to means and covariances in KID.
NOT_WORSE = ("kid", "fd_second", "kid_second")
OF_CLASSES = frozenset({"class_coverage", "label_accuracy", "modes"})


def judge_floors(
    figures: Mapping[str, Any],
    floors: FloorsConfig,
    *,
    latency_ms: float | None = None,
    champion: Mapping[str, Any] | None = None,
) -> Verdict:
    """Judge figures by every floor that is set. Latency is judged where it was measured (metrics.json holds none).

    `champion` holds the champion's figures, to be shown beside.
    """
    rows: list[Row] = []
    figures = {**figures, "latency_ms": {"value": latency_ms}}
    for rule, bound in floors.model_dump().items():
        if bound is None or (rule == "latency_ms_max" and latency_ms is None):
            continue
        asked = FLOORS[rule]
        own = record_of(figures, asked.key)
        found = asked.read(own)
        metric = asked.called.format(name=own.get("name", asked.key))
        applies = found is not None or rule in floors.model_fields_set or can_exist(asked.key, figures)
        kept = found is not None and (found <= bound if asked.comparison == "<=" else found >= bound)
        passed = kept if applies else None
        other = None if champion is None else asked.read(record_of(champion, asked.key))
        told = "was not measured" if found is None else f"is {found:.4g}"
        why = f"{metric} {told} (bound: {asked.comparison} {bound:g})"
        copies = any(row.rule == "floors.copied_share_max" and not row.passed for row in rows)
        if rule == "c_t_min" and found is not None and not passed and not copies:
            why += "; little variety lowers C_T too: see intra_class_diversity"
        words = f"at {'most' if asked.comparison == '<=' else 'least'} {bound:g}"
        rows.append(Row(f"floors.{rule}", metric, other, found, words, passed, why=why))
    return Verdict(tuple(rows))


def judge(champion: Scored, challenger: Scored, config: PromotionConfig) -> Verdict:
    """Judge two models that were scored in one go. Raises GateError if their figures are not of one protocol."""
    old, new = champion.figures, challenger.figures
    rows = [improvement(old, new, config.min_improvement), *(not_worse(key, old, new) for key in NOT_WORSE)]
    rows += judge_floors(new, config.floors, latency_ms=challenger.latency_ms, champion=old).rows
    guards = config.guards
    for rule, key in DROPS.items():
        if (bound := getattr(guards, rule)) is not None:
            rows.append(drop(rule, key, old, new, bound, explicit=rule in guards.model_fields_set))
    if guards.latency_ratio_max is not None:
        rows.append(slower(champion.latency_ms, challenger.latency_ms, guards.latency_ratio_max))
    return Verdict(tuple(rows))


def improvement(old: Mapping[str, Any], new: Mapping[str, Any], least: float) -> Row:
    """The Fréchet distance must be lower: the whole interval, and against each half of the reference.

    Shown and compared are means over the halves, at half of N: a difference there is no share of a distance at N.
    """
    rule, metric, halves = "min_improvement", str(record_of(new, "fd").get("name", "fd")), "on both halves"
    pair = paired("fd", old, new)
    asked = f"surely {least:.3g} of the champion's lower" if least else "surely lower"
    if pair is None or pair.halves is None:
        told = f"{metric} was not measured for both models, {halves} of the reference"
        return Row(rule, metric, None, None, asked, False, why=told)
    before, after = over_halves(old["fd"]), over_halves(new["fd"])
    beyond = pair.high < -least * before
    passed = beyond and max(pair.halves) < 0.0
    told = f"{metric} changes by {pair.value:+.3g}, 95 % interval [{pair.low:+.3g}, {pair.high:+.3g}]"
    if not beyond:
        told += f": not {asked}"
    elif not passed:
        told += f": not lower {halves} of the reference ({pair.halves[0]:+.3g} and {pair.halves[1]:+.3g})"
    return Row(rule, metric, before, after, f"{asked}, on halves", passed, pair.value, pair.low, pair.high, told)


def over_halves(record: Mapping[str, Any]) -> float:
    """Mean of a figure over seeds and halves of the reference."""
    values = [value for pair in record["per_half"].values() for value in pair]
    return sum(values) / len(values)


def not_worse(key: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Row:
    """A figure that must not be surely higher than the champion's."""
    # Halves would have one degree of freedom: where they are noisy nothing is ever sure, and the guard passes all.
    # The seeds' own interval is narrower, which is the safe side of a rule that refuses.
    metric, pair = str(record_of(new, key).get("name", key)), paired(key, old, new, halves=False)
    asked = "not surely higher, by seeds"
    if pair is None:
        return Row(key, metric, None, None, asked, False, why=f"{metric} was not measured for both models")
    told = f"{metric} changes by {pair.value:+.3g}, 95 % interval [{pair.low:+.3g}, {pair.high:+.3g}]"
    passed = not pair.low > 0.0
    why = told if passed else f"{told}: surely higher"
    return Row(key, metric, pair.champion, pair.challenger, asked, passed, pair.value, pair.low, pair.high, why)


def drop(rule: str, key: str, old: Mapping[str, Any], new: Mapping[str, Any], bound: float, *, explicit: bool) -> Row:
    """A figure that may fall by `bound` at most, unless the fall may be sampling noise."""
    before, after = value(record_of(old, key)), value(record_of(new, key))
    metric, asked = str(record_of(new, key).get("name", key)), f"falls by at most {bound:g}, or not surely"
    if before is None or after is None:
        applies = explicit or can_exist(key, old) or can_exist(key, new)
        told = f"{metric} was not measured for both models"
        return Row(f"guards.{rule}", metric, before, after, asked, False if applies else None, why=told)
    pair = paired(key, old, new)
    told = f"{metric} goes from {before:.4g} to {after:.4g} (guard: {asked})"
    low, high = (None, None) if pair is None else (pair.low, pair.high)
    passed = before - after <= bound + SLACK or (pair is not None and pair.high >= 0.0)
    return Row(f"guards.{rule}", metric, before, after, asked, passed, after - before, low, high, told)


def slower(before: float, after: float, bound: float) -> Row:
    """Latency, relative to the champion's on the same machine in the same minute."""
    asked = f"at most {bound:g} times as long"
    told = f"one image takes {after:.3g} ms, the champion's {before:.3g} ms (guard: {asked})"
    known = number(before) is not None and number(after) is not None
    passed = known and after <= bound * before
    figures = (number(before), number(after), asked, passed, after - before if known else None)
    return Row("guards.latency_ratio_max", "latency_ms", *figures, why=told)


def paired(key: str, old: Mapping[str, Any], new: Mapping[str, Any], *, halves: bool = True) -> Any:
    """The Difference of a figure, that of the seeds alone without `halves`; None where it is missing or not finite."""
    from ganline.evaluation.uncertainty import is_paired, paired_difference

    if not is_paired(old.get(key)) or not is_paired(new.get(key)):
        return None
    left_out = () if halves else ("per_half",)
    records = [{part: record[part] for part in record if part not in left_out} for record in (old[key], new[key])]
    pair = paired_difference(key, *records)
    told = (pair.champion, pair.challenger, pair.value, pair.low, pair.high, *(pair.halves or ()))
    return pair if all(number(each) is not None for each in told) else None


def record_of(figures: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    record = figures.get(key)
    return record if isinstance(record, Mapping) else {}


def can_exist(key: str, figures: Mapping[str, Any]) -> bool:
    """Whether these figures could hold `key`: no classes, no class figures; too few images a cell, no C_T."""
    if key == "c_t":
        return key in figures
    if key not in OF_CLASSES:
        return True
    first = record_of(record_of(figures, "extractors"), "first")
    return first.get("task") in ("classifier", "channels") or any(name in figures for name in OF_CLASSES)


def number(found: Any) -> float | None:
    """A finite number as float; anything else is None."""
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        return None
    return float(found)


def shown(found: float | None) -> str:
    return "" if found is None else f"{found:.4g}"


def table(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells in aligned columns."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
