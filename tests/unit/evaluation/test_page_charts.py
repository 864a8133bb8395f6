"""The charts of a page show what the figures say; its colours can be read."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from ganline.page import charts
from tests.unit.evaluation.page_figures import record

STYLE = Path(charts.__file__).with_name("style.css.j2")


def test_every_seed_is_a_dot_and_lies_inside_the_chart() -> None:
    svg = charts.seeds_chart(record("fd", 1.0, floor=0.3))
    places = [float(x) for x in re.findall(r'cx="([\d.]+)"', svg)]
    assert len(places) == 10
    assert all(0 <= x <= charts.WIDTH for x in places)
    assert len(re.findall('class="floor"', svg)) == 1
    assert len(re.findall('class="interval"', svg)) == 1


def test_dots_keep_the_order_of_values_and_the_floor_its_side() -> None:
    each = record("fd", 1.0, floor=0.3)
    svg = charts.seeds_chart(each)
    places = [float(x) for x in re.findall(r'cx="([\d.]+)"', svg)]
    assert np.argsort(places).tolist() == np.argsort(list(each["per_seed"].values())).tolist()
    (floor,) = re.findall(r'class="floor" d="M([\d.]+)', svg)
    assert float(floor) < min(places)


@pytest.mark.parametrize("missing", ["per_seed", "interval", "floor"])
def test_a_chart_does_without_what_is_missing(missing: str) -> None:
    svg = charts.seeds_chart(record("fd", 1.0, floor=0.3) | {missing: None})
    assert svg.count("<circle") == (1 if missing == "per_seed" else 10)
    assert (f'class="{missing}"' in svg) is False


def test_a_gain_is_drawn_beside_zero() -> None:
    svg = charts.seeds_chart(record("augmentation_10pct", 0.3, floor=None), "points")
    (zero,) = re.findall(r'class="zero" d="M([\d.]+)', svg)
    assert 0 <= float(zero) < min(float(x) for x in re.findall(r'cx="([\d.]+)"', svg))


def test_a_figure_without_a_value_has_no_chart() -> None:
    assert charts.seeds_chart({"name": "x", "value": None}) == ""


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.3029, 1.1), (-5.0, 0.1), (1e-7, 3e-6), (999.0, 1000.5)])
def test_ticks_are_round_inside_and_few(low: float, high: float) -> None:
    marks = charts.ticks(low, high)
    assert 2 <= len(marks) <= 7
    assert all(low - 1e-9 <= mark <= high + 1e-9 for mark in marks)
    step = marks[1] - marks[0]
    assert float(f"{step:.0e}") == pytest.approx(step)


def test_the_words_of_a_chart_are_escaped() -> None:
    assert 'aria-label="&quot;&lt;b"' in charts.svg("", label='"<b', kind="seeds")


def test_a_difference_lies_on_its_side_of_zero() -> None:
    svg = charts.difference_chart(value=-0.2, low=-0.3, high=-0.1, halves=(-0.25, -0.15), judgement="worse")
    (zero,) = re.findall(r'class="zero" d="M([\d.]+)', svg)
    assert all(float(x) < float(zero) for x in re.findall(r'cx="([\d.]+)"', svg))
    assert "difference −0.200, interval −0.300 to −0.100: worse" in svg


# --- colours


def schemes() -> list[dict[str, str]]:
    """The light and the dark colours of the style."""
    blocks = re.findall(r":root \{(.*?)\}", STYLE.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in blocks]


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


TEXTS = [("ink", "page"), ("ink", "card"), ("dim", "page"), ("dim", "card"), ("link", "page"), ("ink", "line")]
TEXTS += [("good", "good-soft"), ("bad", "bad-soft"), ("warn", "warn-soft")]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), TEXTS)
def test_text_stands_out_from_its_ground(scheme: int, text: str, ground: str) -> None:
    colours = schemes()[scheme]
    bright, dark = sorted((luminance(colours[text]), luminance(colours[ground])), reverse=True)
    assert (bright + 0.05) / (dark + 0.05) >= 4.5


def test_both_schemes_name_the_same_colours() -> None:
    light, dark = schemes()
    assert light.keys() == dark.keys()
