"""Figures of each class: worst first in a model's page, the largest changes first between two models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ganline.page.charts import change_chart
from ganline.page.glossary import Record, better, figure, is_number, metric, titled

SHOWN = 30
"""Classes in a table; what is left out is said."""
SHARES = "class_coverage"
"""The figure whose values for each class are shares of all images."""
OF_DATA = ("cas_real",)
"""Figures that tell of the real images alone: they say nothing of a model's classes."""


@dataclass(frozen=True)
class Column:
    """One figure of every class: a good value (best class, or fair share) gives bars and ranks their scale."""

    key: str
    title: str
    note: str
    values: Mapping[str, float | None]
    good: float
    lower: bool

    def shortfall(self, name: str) -> float:
        """0 for a class as good as `good`, 1 for one that has nothing. One that was not measured has no shortfall."""
        value = self.values.get(name)
        if not is_number(value):
            return 0.0
        part = (self.good / value if value else 1.0) if self.lower else (value / self.good if self.good else 1.0)
        return min(max(1.0 - part, 0.0), 1.0)


def columns(figures: Mapping[str, Record]) -> list[Column]:
    """Every figure that is told for each class."""
    found = []
    for key, record in figures.items():
        values = record.get("per_class") or (record.get("histogram") if key == SHARES else None)
        numbers = [value for value in (values or {}).values() if is_number(value)]
        if key in OF_DATA or not values or not numbers:
            continue
        lower = better(key, record) == "lower"
        if key == SHARES:
            good = 1.0 / (record.get("num_classes") or len(values))
            found.append(
                Column(key, "Share of images", f"fair share {figure(good, 'percent', digits=2)}", values, good, False)
            )
        else:
            good = min(numbers) if lower else max(numbers)
            found.append(Column(key, titled(key), "", values, good, lower))
    return found


def class_table(figures: Mapping[str, Record]) -> dict[str, Any] | None:
    """Columns and rows, the class with the largest shortfall in any figure first; None where nothing tells classes."""
    found = columns(figures)
    if not found:
        return None
    missing = set(figures.get(SHARES, {}).get("missing") or ())
    names = sorted(
        dict.fromkeys(name for column in found for name in column.values),
        key=lambda name: (name not in missing, -max(column.shortfall(name) for column in found), name),
    )
    tops = [max(value for value in [*column.values.values(), column.good] if is_number(value)) for column in found]
    rows = [
        {
            "name": name,
            "missing": name in missing,
            "cells": [cell(column, name, top or 1.0) for column, top in zip(found, tops, strict=True)],
        }
        for name in names[:SHOWN]
    ]
    return {"columns": found, "rows": rows, "num_more": len(names) - len(rows)}


def cell(column: Column, name: str, top: float) -> dict[str, Any]:
    """One class's value as text, with the length of its bar and the place of the fair share in percent."""
    value = column.values.get(name)
    shares = column.key == SHARES
    style = "percent" if shares else metric(column.key).style
    return {
        "title": column.title,
        "text": figure(value, style),
        "bar": round(100 * max(value, 0.0) / top, 1) if is_number(value) else None,
        "fair": round(100 * column.good / top, 1) if shares else None,
    }


def class_changes(before: Mapping[str, Record], after: Mapping[str, Record]) -> list[dict[str, Any]]:
    """For each figure that both models tell for each class: its classes, the largest changes first."""
    later = {column.key: column for column in columns(after)}
    tables = []
    for column in columns(before):
        if column.key not in later:
            continue
        now = later[column.key].values
        both = [
            (name, old, new)
            for name, old in column.values.items()
            if is_number(old) and is_number(new := now.get(name))
        ]
        if not both:
            continue
        low = min(0.0, *(min(old, new) for _, old, new in both))
        high = max(max(old, new) for _, old, new in both)
        both.sort(key=lambda each: (-abs(each[2] - each[1]), each[0]))
        style = "percent" if column.key == SHARES else metric(column.key).style
        rows = [
            {
                "name": name,
                "before": figure(old, style),
                "after": figure(new, style),
                "chart": change_chart(old, new, low=low, high=high, style=style),
            }
            for name, old, new in both[:SHOWN]
        ]
        tables.append({"title": column.title, "rows": rows, "num_more": len(both) - len(rows)})
    return tables
