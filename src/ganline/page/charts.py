"""Small charts as inline SVG, with a sentence for those who cannot see them. Colours come from the page's style.

Coordinates are rounded to a tenth of a pixel, so equal figures give equal bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from ganline.page.glossary import Record, Style, figure, interval, number, seeds

WIDTH, HEIGHT, AXIS = 240, 48, 32
MARGIN = 14
ROWS = 3
"""Seeds lie on so many lines, in turn, so that equal values stay visible."""


def nice_step(span: float, *, most: int = 3) -> float:
    """The smallest of 1, 2, 5 times a power of ten that fits into the span at most `most` times."""
    raw = span / most
    power = 10.0 ** math.floor(math.log10(raw))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= raw * (1 - 1e-9))


def ticks(low: float, high: float, *, most: int = 3) -> list[float]:
    """Two to six round values within [low, high]."""
    step = nice_step(high - low, most=most)
    if math.floor(high / step + 1e-9) - math.ceil(low / step - 1e-9) < 1:
        return ticks(low, high, most=2 * most)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def tick_text(value: float, style: Style) -> str:
    """A tick's label: up to five significant digits, with a true minus sign; percent where values are written so."""
    scaled = 100 * value if style in ("percent", "points") else value
    return f"{scaled:.5g}{' %' if style == 'percent' else ''}".replace("-", "−")


class Scale:
    """Values in [low, high] -> pixels between the margins."""

    def __init__(self, values: Sequence[float]):
        low, high = min(values), max(values)
        pad = 0.06 * (high - low) or 0.05 * abs(high) or 0.01
        self.low, self.high = low - pad, high + pad

    def x(self, value: float) -> str:
        share = (value - self.low) / (self.high - self.low)
        return f"{MARGIN + share * (WIDTH - 2 * MARGIN):.1f}"

    def axis(self, style: Style, marks: Sequence[float] | None = None) -> str:
        parts = [f'<path class="axis" d="M0 {AXIS}H{WIDTH}"/>']
        for value in ticks(self.low, self.high) if marks is None else marks:
            x = self.x(value)
            parts.append(f'<path class="axis" d="M{x} {AXIS}v4"/>')
            parts.append(f'<text x="{x}" y="{HEIGHT - 1}" text-anchor="middle">{tick_text(value, style)}</text>')
        return "".join(parts)


def svg(parts: str, *, label: str, kind: str) -> str:
    """The chart as an image with a text."""
    return (
        f'<svg class="{kind}" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{escape(label)}">{parts}</svg>'
    )


def seeds_chart(record: Record, style: Style = "number") -> str:
    """Each generator seed as a dot, the interval as a bar, the floor as a dashed line; '' without a finite value."""
    value, floor, ends, dots = number(record), number(record, "floor"), interval(record), seeds(record)
    if value is None:
        return ""
    marks = ([] if floor is None else [floor]) + ([0.0] if style == "points" else [])  # gain or loss: zero is in sight
    scale = Scale([value, *dots, *(ends or ()), *marks])
    parts, told = [scale.axis(style)], [f"value {figure(value, style)}"]
    if style == "points":
        parts.append(f'<path class="zero" d="M{scale.x(0.0)} 2V{AXIS}"/>')
    if floor is not None:
        parts.append(f'<path class="floor" d="M{scale.x(floor)} 2V{AXIS}"/>')
        told.append(f"floor {figure(floor, style)}")
    if ends:
        a, b = map(scale.x, ends)
        parts.append(f'<path class="interval" d="M{a} 16H{b}"/><path class="ends" d="M{a} 9v14M{b} 9v14"/>')
        told.append(f"interval {figure(ends[0], style)} to {figure(ends[1], style)}")
    for i, dot in enumerate(dots):
        parts.append(f'<circle class="seed" cx="{scale.x(dot)}" cy="{10 + 6 * (i % ROWS)}" r="3"/>')
    if dots:
        told.append(f"{len(dots)} seeds from {figure(min(dots), style)} to {figure(max(dots), style)}")
    else:
        parts.append(f'<circle class="seed" cx="{scale.x(value)}" cy="16" r="4"/>')
    return svg("".join(parts), label=", ".join(told), kind="seeds")


def difference_chart(
    *,
    value: float,
    low: float,
    high: float,
    halves: tuple[float, float] | None,
    judgement: str,
    style: Style = "number",
) -> str:
    """A paired difference with its interval on an axis around zero; each half of the reference as a hollow dot."""
    reach = max(abs(low), abs(high), abs(value), *map(abs, halves or ()))
    scale = Scale([-reach, reach] if reach else [-1.0, 1.0])
    mark = nice_step(reach or 1.0, most=1) / 2
    a, b = scale.x(low), scale.x(high)
    parts = [
        scale.axis(style, [-mark, 0.0, mark]),
        f'<path class="zero" d="M{scale.x(0.0)} 0V{AXIS}"/>',
        f'<path class="interval" d="M{a} 16H{b}"/><path class="ends" d="M{a} 9v14M{b} 9v14"/>',
        *(
            f'<circle class="half" cx="{scale.x(half)}" cy="{y}" r="2.5"/>'
            for half, y in zip(halves or (), (7, 25), strict=False)
        ),
        f'<circle class="mean" cx="{scale.x(value)}" cy="16" r="4.5"/>',
    ]
    label = f"difference {figure(value, style)}, interval {figure(low, style)} to {figure(high, style)}: {judgement}"
    return svg("".join(parts), label=label, kind=f"difference {judgement}")


def change_chart(before: float, after: float, *, low: float, high: float, style: Style = "number") -> str:
    """One class's figure in two models: from a hollow dot to a full one, on [low, high]."""
    scale = Scale([low, high])
    a, b = scale.x(before), scale.x(after)
    parts = (
        f'<path class="axis" d="M{scale.x(low)} 10H{scale.x(high)}"/><path class="move" d="M{a} 10H{b}"/>'
        f'<circle class="before" cx="{a}" cy="10" r="4"/><circle class="after" cx="{b}" cy="10" r="4.5"/>'
    )
    return (
        f'<svg class="change" viewBox="0 0 {WIDTH} 20" width="{WIDTH}" height="20" role="img" '
        f'aria-label="from {figure(before, style)} to {figure(after, style)}">{parts}</svg>'
    )
