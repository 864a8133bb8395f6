"""Figures that come as plain mappings -> words: facts, and tables of what shares its keys. Nothing given is dropped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ganline.page.glossary import NOTHING, figure, interval, span

HIDDEN = frozenset({"host", "hostname", "node", "user", "path", "root", "folder", "time", "date", "made", "run_id"})
"""Keys that a page must not hold: equal results on two machines of one kind give one page."""
UNITS: Mapping[str, str] = {"_ms": " ms", "_seconds": " s", "_s": " s", "_bytes": " bytes"}
WORDS: Mapping[str, str] = {
    "n": "images (N)",
    "num_tokens": "tokens an image",
    "vocab": "codes",
    "kimg": "thousand images seen",
}


def is_record(value: Any) -> bool:
    """Whether it is a figure with its protocol or its spread, not a mapping of figures."""
    return isinstance(value, Mapping) and "value" in value


def told(value: Any, unit: str = "") -> str:
    """One value in words: a number with four digits, a record with its interval."""
    if value is None:
        return "not measured"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if is_record(value):
        ends = interval(value)
        return told(value["value"], unit) + (f" ({span(*ends)})" if ends else "")
    if isinstance(value, int):
        return f"{value:,}{unit}"
    if isinstance(value, float):
        return figure(value, digits=3 if unit else 4) + unit
    if isinstance(value, Mapping):
        return "; ".join(f"{key} {told(each)}" for key, each in value.items() if key not in HIDDEN) or NOTHING
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(told(each) for each in value) or NOTHING
    return str(value)


def named(key: str) -> tuple[str, str]:
    """A key -> its words and unit: `cold_ms` -> ('cold', ' ms'), `nats_per_token` -> ('nats per token', '')."""
    unit = next((end for end in UNITS if key.endswith(end) and key != end), "")
    return WORDS.get(key) or key.removesuffix(unit).replace("_", " "), UNITS.get(unit, "")


def facts(mapping: Mapping[str, Any], *, skip: Sequence[str] = (), before: str = "") -> list[tuple[str, str]]:
    """All leaves as (words, text), nested keys joined by a comma; records are leaves."""
    return list(_facts(mapping, skip, before))


def _facts(mapping: Mapping[str, Any], skip: Sequence[str], before: str) -> Iterator[tuple[str, str]]:
    for key, value in mapping.items():
        words, unit = named(str(key))
        if key in skip or key in HIDDEN:
            continue
        if isinstance(value, Mapping) and not is_record(value):
            yield from _facts(value, (), f"{before}{words}, ")
        else:
            yield before + words, told(value, unit)


def table(mapping: Mapping[str, Any], *, names: Mapping[str, str] | None = None) -> dict[str, Any] | None:
    """A mapping of mappings -> heads and rows; None where it is none. `names` are the rows' words."""
    rows = {key: each for key, each in mapping.items() if isinstance(each, Mapping) and not is_record(each)}
    if not rows:
        return None
    columns = list(dict.fromkeys(key for each in rows.values() for key in each if key not in HIDDEN))
    return {
        "heads": [named(str(key))[0] for key in columns],
        "rows": [
            {
                "title": (names or {}).get(key, str(key).replace("_", " ")),
                "cells": [
                    {
                        "title": named(str(column))[0],
                        "text": told(each[column], named(str(column))[1]) if column in each else NOTHING,
                    }
                    for column in columns
                ],
            }
            for key, each in rows.items()
        ],
    }


def rest(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """What `table` leaves out of a mapping."""
    return {key: each for key, each in mapping.items() if not isinstance(each, Mapping) or is_record(each)}
