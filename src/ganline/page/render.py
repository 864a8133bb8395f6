"""Figures and pictures -> one HTML page. Equal inputs give equal bytes: no time, no host, no path is in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from ganline.evaluation.uncertainty import Difference
from ganline.page import charts, classes
from ganline.page.changes import Judgement, changes, in_order, judge
from ganline.page.glossary import (
    DIRECTIONS,
    FIRST,
    GROUPS,
    SECOND,
    Record,
    Style,
    better,
    figure,
    groups,
    interval,
    metric,
    number,
    pair,
    records,
    span,
    split_key,
    telling_digits,
    titled,
)
from ganline.page.pictures import PICTURES, placed
from ganline.page.words import extractors, ratio, times, unjudged, warnings

HEADLINES = (
    "fd",
    "fd_second",
    "precision",
    "recall",
    "coverage",
    "class_coverage",
    "label_accuracy",
    "copied_share",
    "c_t",
    "cas",
    "augmentation_10pct",
)

WORDS: Mapping[Judgement, str] = {
    "better": "✓ better",
    "worse": "✕ worse",
    "changed": "▲ moved",
    "unsure": "? not sure",
}

# role of an extractor -> what it is
OTHERS: Mapping[str, str] = {SECOND: "the holdout extractor, which nothing was chosen by"}
SHORT: Mapping[str, str] = {FIRST: "primary extractor", SECOND: "holdout extractor"}

# what is told of an extractor -> its heading
EXTRACTOR_FACTS: Mapping[str, str] = {
    "task": "trained to",
    "validation_accuracy": "validation accuracy",
    "feature_dim": "features",
    "layer": "layer",
    "preprocessing": "preprocessing",
    "sha256": "sha256 of weights",
}


def render_report(
    *,
    title: str,
    model: Mapping[str, str],
    metrics: Mapping[str, Any],
    usefulness: Mapping[str, Any] | None,
    pictures: Mapping[str, bytes],
) -> str:
    """The page of one model.

    `model` maps a fact's name to its text, in the order shown; `metrics` is metrics.json; `usefulness` is
    usefulness.json, with records or with the reason under `not_measured`, or None; `pictures` maps names (those of
    PICTURES come to their places, others to the end) to PNG files. Raises DataError where a picture is no PNG.
    """
    figures = records({**metrics, **(usefulness or {})})
    return render(
        "report.html.j2",
        title=title,
        model=model,
        warnings=warnings(metrics, usefulness),
        unjudged=unjudged({**metrics, **(usefulness or {})}),
        headlines=headlines(figures) + accuracies(metrics),
        pictures=placed(pictures),
        known=tuple(PICTURES),
        groups=[
            {"title": GROUPS[group][0], "intro": GROUPS[group][1], "rows": [row(key, figures[key]) for key in keys]}
            for group, keys in groups(list(figures))
        ],
        no_usefulness=None
        if records(usefulness)
        else str((usefulness or {}).get("not_measured") or "no figures of usefulness were given"),
        classes=classes.class_table(figures),
        protocol=protocol(metrics, figures),
    )


def render_comparison(
    *,
    names: tuple[str, str],
    models: tuple[Mapping[str, str], Mapping[str, str]],
    metrics: tuple[Mapping[str, Any], Mapping[str, Any]],
    differences: Mapping[str, Difference],
    verdict_rows: Sequence[Mapping[str, str]] | None,
    pictures: tuple[Mapping[str, bytes], Mapping[str, bytes]],
) -> str:
    """The page of two models, champion first, challenger second.

    `differences` come from `uncertainty.paired_differences`. A verdict row maps headings to texts; its heading
    `verdict` holds `passed`, `failed` or another word; None, or no row, where nobody judged. Raises DataError as
    `render_report`.
    """
    before, after = (records(each) for each in metrics)
    keys = in_order([key for key in differences if key in before and key in after])
    placed_pictures = [placed(each) for each in pictures]
    return render(
        "comparison.html.j2",
        title=f"{names[0]} and {names[1]}",
        names=names,
        facts=[(key, *(model.get(key, "") for model in models)) for key in dict.fromkeys([*models[0], *models[1]])],
        verdict_rows=[dict(each) for each in verdict_rows or ()],
        num_failed=sum(each["verdict"] == "failed" for each in verdict_rows or ()),
        changes=changes(metrics, differences),
        groups=[
            {
                "title": GROUPS[group][0],
                "rows": [difference_row(differences[key], before[key], after[key]) for key in members],
            }
            for group, members in groups(keys)
        ],
        pictures=[
            (name, [each.get(name) for each in placed_pictures])
            for name in dict.fromkeys([*placed_pictures[0], *placed_pictures[1]])
        ],
        classes=classes.class_changes(before, after),
        protocol=protocol(metrics[0], before),
    )


def row(key: str, record: Record) -> dict[str, Any]:
    """One figure as its line of a table."""
    kind, ends = metric(key), interval(record)
    base, role = split_key(key)
    of_floor = ratio(record) if base == "fd" else None
    digits = telling_digits(*ends, style=kind.style) if ends else 3
    return {
        "title": titled(key),
        "plain": kind.plain if role == FIRST else f"The same by {OTHERS.get(role, role)}.",
        "name": record["name"],
        "value": figure(record["value"], kind.style, digits=digits),
        "interval": ends and span(*ends, kind.style, digits=digits),
        "floor": figure(record.get("floor"), kind.style, digits=digits),
        "ratio": of_floor and times(of_floor),
        "better": DIRECTIONS[better(key, record)],
        "chart": charts.seeds_chart(record, kind.style),
    }


def headlines(figures: Mapping[str, Record]) -> list[dict[str, str]]:
    """The figures to look at first, with what real images score."""
    told = []
    for key in (key for key in HEADLINES if key in figures):
        record, style = figures[key], metric(key).style
        floor, of_floor = number(record, "floor"), ratio(record) if split_key(key)[0] == "fd" else None
        beside = "" if floor is None else f"real: {figure(floor, style)}"
        note = f"{times(of_floor)} its floor" if of_floor else "" if style == "points" else beside
        told.append({"title": titled(key), "value": figure(record["value"], style), "note": note})
    return told


def accuracies(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    """How often each extractor is right on real images: distances and labels are worth no more than their network."""
    return [
        {
            "title": f"Accuracy, {SHORT.get(role, role)}",
            "value": figure(each["validation_accuracy"], "share"),
            "note": f"{each['task']}, real validation images",
        }
        for role, each in extractors(metrics).items()
        if each.get("validation_accuracy")
    ]


def difference_row(difference: Difference, champion: Record, challenger: Record) -> dict[str, Any]:
    """One paired difference as its line of a table."""
    kind = metric(difference.key)
    judgement = judge(difference, champion, challenger)
    low, high = difference.low, difference.high
    before, after = pair(difference.champion, difference.challenger, kind.style)
    return {
        "title": titled(difference.key),
        "name": difference.name,
        "before": before,
        "after": after,
        "told": told_difference(difference, kind.style),
        "floor": figure(champion.get("floor"), kind.style),
        "better": DIRECTIONS[better(difference.key, champion)],
        "judgement": judgement,
        "word": "= equal" if low == high == 0 else WORDS[judgement],
        "chart": charts.difference_chart(
            value=difference.value,
            low=low,
            high=high,
            halves=difference.halves,
            judgement=judgement,
            style="points" if kind.style == "percent" else kind.style,
        ),
    }


def told_difference(difference: Difference, style: Style) -> str:
    """'−0.208 (−0.559 to +0.144)'; in points where values are percentages."""
    if style in ("percent", "points"):
        return f"{figure(difference.value, 'points')} ({span(difference.low, difference.high, 'points')})"
    told = (difference.value, difference.low, difference.high)
    value, low, high = (("+" if each > 0 else "") + figure(each) for each in told)
    return f"{value} ({low} to {high})"


def protocol(metrics: Mapping[str, Any], figures: Mapping[str, Record]) -> dict[str, Any]:
    """Under what the figures hold: extractors with their facts; split, N and seeds with the figures that share them."""
    looked = [
        {
            "role": role,
            "name": str(each.get("name", role)),
            "facts": [(title, _fact(key, each[key])) for key, title in EXTRACTOR_FACTS.items() if each.get(key)],
        }
        for role, each in extractors(metrics).items()
    ]
    shared: dict[tuple[str, ...], dict[str, None]] = {}  # each title once, in order
    for key, record in figures.items():
        n, seeds = record.get("n"), record.get("seeds")
        told = (
            str(record.get("split") or ""),
            f"{n:,}" if isinstance(n, int) else "",
            seed_ranges(seeds) if seeds else "",
        )
        shared.setdefault(told, {})[metric(key).title] = None
    return {
        "dataset": metrics.get("dataset"),
        "extractors": looked,
        "settings": [(told, list(titles)) for told, titles in shared.items()],
    }


def seed_ranges(seeds: Sequence[int]) -> str:
    """[1, 2, 3, 7] -> '1 to 3, 7'."""
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    parts = [[str(run[0])] if len(run) == 1 else [f"{run[0]} to {run[-1]}"] for run in runs]
    return ", ".join(part for each in parts for part in each)


def _fact(key: str, value: Any) -> str:
    if key == "validation_accuracy":
        return figure(value, "share")
    return f"{value:,}" if isinstance(value, int) else str(value)


@cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("ganline.page", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, **context: Any) -> str:
    """A template of this room, filled."""
    return _environment().get_template(template).render(**context)
