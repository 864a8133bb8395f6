"""Quality against latency as inline SVG. Colours come from the page's style, coordinates to a tenth of a pixel."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from ganline.acceleration.study import Study
from ganline.page.pareto_drawing import HALF, RING, Line, Shape, Text, drawing


def outline(shape: str, x: float, y: float, *, half: float = HALF) -> list[tuple[float, float]]:
    """The corners of a mark; none for a circle. Areas are about equal."""
    corners: Mapping[str, Sequence[tuple[float, float]]] = {
        "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
        "triangle": [(0, -1.1), (1.05, 0.8), (-1.05, 0.8)],
        "diamond": [(0, -1.2), (1.2, 0), (0, 1.2), (-1.2, 0)],
        "plus": plus(),
        "cross": [turned(px, py) for px, py in plus()],
        "star": [
            (r * math.sin(k * math.pi / 5), -r * math.cos(k * math.pi / 5))
            for k in range(10)
            for r in [1.3 - 0.7 * (k % 2)]
        ],
    }
    return [(x + half * px, y + half * py) for px, py in corners.get(shape, [])]


def plus() -> list[tuple[float, float]]:
    a, b = 0.4, 1.15
    return [(-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a), (a, b), (-a, b), (-a, a), (-b, a), (-b, -a), (-a, -a)]


def turned(x: float, y: float) -> tuple[float, float]:
    """By 45 degrees."""
    return (x - y) * math.sqrt(0.5), (x + y) * math.sqrt(0.5)


def quality_against_latency_svg(study: Study, *, narrow: bool = False) -> str:
    """The picture for the page, wide or for a phone. Colours come from the page's style."""
    made = drawing(study, width=340, height=430, size=12.0) if narrow else drawing(study)
    parts = "".join(written(each) for each in made.shapes)
    return (
        f'<svg class="pareto {"narrow" if narrow else "broad"}" viewBox="0 0 {made.width} {made.height}" '
        f'width="{made.width}" height="{made.height}" role="img" aria-label="{escape(made.label)}">{parts}</svg>'
    )


def written(shape: Shape) -> str:
    """One shape as SVG."""
    if isinstance(shape, Line):
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in shape.points)
        return f'<path class="{shape.role}" d="M{path}"/>'
    if isinstance(shape, Text):
        turn = f' transform="rotate(-90 {shape.x:.1f} {shape.y:.1f})"' if shape.turned else ""
        return (
            f'<text class="{shape.role}" x="{shape.x:.1f}" y="{shape.y:.1f}" dy=".35em" text-anchor="{shape.anchor}" '
            f'style="font-size:{shape.size:g}px"{turn}>{escape(shape.text)}</text>'
        )
    if shape.shape == "circle":
        radius = HALF + RING if shape.role == "ring" else HALF
        inner = f'cx="{shape.x:.1f}" cy="{shape.y:.1f}" r="{radius:g}"'
        mark = f'<circle class="mark {shape.role}" {inner}/>'
    else:
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in outline(shape.shape, shape.x, shape.y))
        mark = f'<path class="mark {shape.role}" d="M{path}Z"/>'
    return f"<g><title>{escape(shape.tip)}</title>{mark}</g>" if shape.tip else mark
