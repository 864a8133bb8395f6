"""Quality against latency as a PNG file, for READMEs and MLflow: the one drawing through matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ganline.acceleration.study import Study
from ganline.images import png_bytes
from ganline.page.pareto_drawing import HALF, RING, Drawing, Line, Mark, Text, drawing
from ganline.page.pareto_svg import outline

DPI, SCALE = 100, 2
# Okabe & Ito 2008, darkened as in integrations/curves.py: told apart by every common colour vision. The last three are
# not theirs: names stand beside the marks.
INK, DIM, GRID, FAINT = "#222222", "#6B6B6B", "#E9E9E9", "#B5B5B5"
COLOURS: Mapping[str, str] = {
    "teacher": "#A8558A",
    "student k0": "#0072B2",
    "student k1": "#00795A",
    "student k2": "#C74E00",
    "student k3": "#8F7200",
    "student k4": "#1F8496",
    "student k5": "#5B3FA8",
    "student k6": "#A31621",
    "dim": DIM,
    "level": INK,
}
# role of a line -> colour, width in pixels, dashes in pixels
LINES: Mapping[str, tuple[str, float, tuple[float, float] | None]] = {
    "grid": (GRID, 1.0, None),
    "axis": (FAINT, 1.5, None),
    "front": (INK, 1.2, None),
    "leader": (FAINT, 1.0, None),
    "floor": (INK, 1.5, (6, 4)),
    "ceiling": (INK, 1.5, (1.5, 3)),
}


def quality_against_latency_png(study: Study) -> bytes:
    """The picture as the bytes of a PNG, 2000 x 1000; equal studies give equal bytes on one matplotlib."""
    return png_bytes(pixels(drawing(study)))


def pixels(made: Drawing) -> np.ndarray:
    """A drawing -> uint8 [3, H, W]."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context():
        mpl.rcdefaults()  # whatever style the user's matplotlibrc asks for
        figure = Figure(figsize=(made.width / DPI, made.height / DPI), dpi=DPI * SCALE, facecolor="white")
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_xlim(0, made.width)
        axes.set_ylim(made.height, 0)
        axes.axis("off")
        for order, shape in enumerate(made.shapes):
            put(axes, shape, order=order)
        canvas.draw()
        drawn = np.asarray(canvas.buffer_rgba())
    return np.ascontiguousarray(drawn[..., :3].transpose(2, 0, 1))


def put(axes: Any, shape: Line | Mark | Text, *, order: int) -> None:
    """One shape onto axes in pixels, y downward; matplotlib's points are 1/72 inch."""
    from matplotlib.patheffects import withStroke

    point = 72 / DPI
    if isinstance(shape, Line):
        colour, width, dashes = LINES.get(shape.role) or (COLOURS[shape.role.removeprefix("whisker ")], 1.5, None)
        x, y = zip(*shape.points, strict=True)
        style = (0, tuple(each / width for each in dashes)) if dashes else "-"
        axes.plot(x, y, color=colour, linewidth=width * point, linestyle=style, zorder=order)
    elif isinstance(shape, Text):
        strong = shape.role.endswith(" name")
        axes.text(
            shape.x,
            shape.y,
            shape.text,
            fontsize=shape.size * point,
            fontweight="bold" if strong else "normal",
            color=COLOURS[shape.role.removesuffix(" name")],
            ha={"start": "left", "middle": "center", "end": "right"}[shape.anchor],
            va="center",
            rotation=90 if shape.turned else 0,
            rotation_mode="anchor",
            zorder=order,
            path_effects=[withStroke(linewidth=3 * point, foreground="white")],
        )
    else:
        put_mark(axes, shape, order=order)


def put_mark(axes: Any, mark: Mark, *, order: int) -> None:
    from matplotlib.patches import Circle, Polygon

    point = 72 / DPI
    if mark.role == "ring":
        style: dict[str, Any] = {"facecolor": "none", "edgecolor": INK, "linewidth": 1.2 * point}
    else:
        colour = COLOURS.get(mark.role, DIM)
        style = {"facecolor": colour, "edgecolor": "white", "linewidth": 1.0 * point}
    if mark.shape == "circle":
        axes.add_patch(Circle((mark.x, mark.y), HALF + RING if mark.role == "ring" else HALF, zorder=order, **style))
    else:
        axes.add_patch(Polygon(outline(mark.shape, mark.x, mark.y), zorder=order, **style))
