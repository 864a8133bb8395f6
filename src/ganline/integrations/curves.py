"""Learning curves as a picture: a function of history.jsonl, with equal pixels for equal lines on one matplotlib.

Colours after Okabe & Ito 2008, "Color Universal Design": told apart by every common colour vision. The paler ones are
darkened, so that letters in them can be read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

CLOCKS = ("step", "nimg")
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#008A65", "#A8558A", "#B87A00", "#2E8FC5"
# One colour a side: D and the reals that it believes in, G and its fakes. R1 is taken on reals, R2 on fakes.
SIDES = {"D": BLUE, "real": BLUE, "r1": BLUE, "G": VERMILION, "fake": VERMILION, "r2": VERMILION}
OTHERS = (GREEN, PURPLE, ORANGE, SKY, BLUE, VERMILION)
INK, MUTED, RULE = "#222222", "#6B6B6B", "#E4E4E4"
TITLES = {"loss": "Losses", "logits": "Logits, mean", "penalty": "Squared gradient norms"}
PENALTIES = ("r1", "r2", "gp")

# Inches; at a phone's 390 px the smallest letters are 10 px high.
WIDTH, PANEL, GAP, LEFT, RIGHT, TOP, BOTTOM, DPI = 4.5, 1.3, 0.42, 0.52, 0.95, 0.3, 0.5, 200
FONT, LABEL_STEP = 8.5, 0.15
LOG_RATIO = 30.0
"""Positive values that span more get a logarithmic axis."""
SMOOTHING = 1 / 60
"""The smooth line's standard deviation, as a share of the training."""
ENOUGH = 40
"""Points from which a lone peak is cut off, so that it does not flatten the rest."""


@dataclass(frozen=True)
class Line:
    """One measure: `x` [n] in kimg, ascending, and `y` [n], finite."""

    name: str
    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Panel:
    """Lines that share an axis. `labels` name them beside their ends; a lone line needs none."""

    title: str
    lines: tuple[Line, ...]
    labels: tuple[str, ...]


def panels(history: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """Losses, logits, penalties; then the other measures by prefix. Two share an axis if they are a thing's two sides.

    `grad_norm_D` and `grad_norm_G` do; `watch_fd` and `watch_entropy`, which have other units, follow one another.
    """
    names = dict.fromkeys(name for line in history for name in line if name not in CLOCKS)
    groups: dict[str, list[Line]] = {title: [] for title in TITLES.values()}
    for name in sorted(names, key=lambda name: name.partition("_")[0]):
        told = [(line["nimg"] / 1000, line[name]) for line in history if finite(line.get(name))]
        if told:
            x, y = np.array(told, dtype=np.float64).T
            groups.setdefault(title_of(name), []).append(Line(name, x, y))
    return [Panel(title, *ordered(title, lines)) for title, lines in groups.items() if lines]


def finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def title_of(name: str) -> str:
    """The panel of a measure: `loss_G` -> "Losses", `grad_norm_G` -> "Grad norm", `watch_fd` -> "Watch fd"."""
    prefix, _, side = name.rpartition("_")
    known = TITLES.get("penalty" if name in PENALTIES else name.partition("_")[0])
    words = (prefix if side in SIDES and prefix else name).replace("_", " ")
    return known or words[:1].upper() + words[1:]


def ordered(title: str, lines: list[Line]) -> tuple[tuple[Line, ...], tuple[str, ...]]:
    """D's side before G's, each with the word that tells it from the others; a lone line's title says it all."""
    lines.sort(key=lambda line: (SIDES.get(side_of(line.name)) == VERMILION, line.name))
    alone = len(lines) == 1 and title not in TITLES.values() and side_of(lines[0].name) not in SIDES
    return tuple(lines), tuple("" if alone else side_of(line.name) for line in lines)


def side_of(name: str) -> str:
    return name.rpartition("_")[2]


def smooth(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[n] -> [n]: a centred Gaussian mean of SMOOTHING times n points, without lag; the ends average what there is.

    A point weighs as much as the images that it tells of, so the last, short tick of a training counts for little.
    """
    sd = len(y) * SMOOTHING
    if sd < 1:
        return y
    spans = np.diff(x, prepend=0.0)
    weights = np.minimum(spans, np.median(spans))
    reach = min(round(3 * sd), (len(y) - 1) // 2)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sd) ** 2)
    return np.convolve(y * weights, kernel, "same") / np.convolve(weights, kernel, "same")


def broken(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same points with NaN between those that lie far apart: a gap in the history stays a gap in the line."""
    steps = np.diff(x)
    holes = np.flatnonzero(steps > 4 * np.median(steps)) + 1 if len(steps) else np.array([], dtype=int)
    return np.insert(x, holes, np.nan), np.insert(y, holes, np.nan)


def curves(history: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Learning curves as uint8 [3, H, W]: a panel a kind of measure, one below the other over the same kimg.

    `history` is the lines of history.jsonl; a measure that a line lacks is a gap. Faint: as told; strong: smoothed.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = panels(history)
    rows = max(len(drawn), 1)
    height = TOP + rows * PANEL + (rows - 1) * GAP + BOTTOM
    with mpl.rc_context():
        mpl.rcdefaults()  # whatever style the user's matplotlibrc asks for
        mpl.rcParams.update({"font.size": FONT, "text.color": INK, "xtick.color": MUTED, "ytick.color": MUTED})
        figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
        canvas = FigureCanvasAgg(figure)
        if not drawn:
            figure.text(0.5, 0.5, "no line of history yet", ha="center", va="center", color=MUTED)
        end = max((float(line.x[-1]) for each in drawn for line in each.lines), default=0.0)
        for row, each in enumerate(drawn):
            bottom = height - TOP - (row + 1) * PANEL - row * GAP
            box = (LEFT / WIDTH, bottom / height, (WIDTH - LEFT - RIGHT) / WIDTH, PANEL / height)
            draw_panel(figure.add_axes(box), each, end=end, last=row == len(drawn) - 1)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())
    return np.ascontiguousarray(pixels[..., :3].transpose(2, 0, 1))


def draw_panel(axes: Any, panel: Panel, *, end: float, last: bool) -> None:
    """One panel: rules, lines, their names and last values at the right."""
    from matplotlib.ticker import MaxNLocator, NullLocator

    axes.set_title(panel.title, loc="left", fontsize=FONT + 1, fontweight="bold", pad=5, color=INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#B5B5B5")
    axes.grid(axis="y", color=RULE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, pad=3)
    axes.tick_params(axis="x", labelbottom=last)
    axes.set_xlim(0, end or 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    set_range(axes, panel)
    if axes.get_yscale() == "log":
        log_ticks(axes)
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10], min_n_ticks=2))
    low, high = axes.get_ylim()
    if low < 0 < high:
        axes.axhline(0, color="#B5B5B5", linewidth=0.9, zorder=1)
    if last:
        axes.set_xlabel("thousand images seen (kimg)", color=MUTED, labelpad=4)
    ends = []
    for index, (line, label) in enumerate(zip(panel.lines, panel.labels, strict=True)):
        colour = SIDES.get(side_of(line.name), OTHERS[index % len(OTHERS)])
        strong = smooth(line.x, line.y)
        axes.plot(*broken(line.x, line.y), color=colour, alpha=0.32, linewidth=0.8, solid_joinstyle="round")
        axes.plot(*broken(line.x, strong), color=colour, linewidth=1.7, solid_capstyle="round")
        if len(line.x) < ENOUGH / 2:
            axes.plot(line.x, line.y, "o", color=colour, markersize=3.2, clip_on=False)
        ends.append((strong[-1], f"{label} {figures(strong[-1])}".strip(), colour))
    tell_ends(axes, ends)


def set_range(axes: Any, panel: Panel) -> None:
    """The y axis: logarithmic where positive values span much; else a lone peak is cut off, and told in figures."""
    values = np.concatenate([line.y for line in panel.lines])
    low, high = float(values.min()), float(values.max())
    if low > 0 and high / low > LOG_RATIO:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.15, high * 1.15)
        return
    if len(values) >= ENOUGH:
        lower, upper = (float(q) for q in np.quantile(values, [0.03, 0.97]))
        low, high = max(low, 2 * lower - upper), min(high, 2 * upper - lower)
    margin = 0.07 * (high - low) or 0.1 * abs(high) or 1.0
    axes.set_ylim(low - margin, high + margin)
    highest = max((float(line.y.max()), float(line.x[line.y.argmax()])) for line in panel.lines)
    lowest = min((float(line.y.min()), float(line.x[line.y.argmin()])) for line in panel.lines)
    style = {"fontsize": FONT - 1.5, "color": MUTED, "transform": axes.transAxes}
    for (value, x), mark, height in ((highest, "▲", 0.9), (lowest, "▼", 0.04)):
        if not low <= value <= high:
            axes.text(min(x / axes.get_xlim()[1] + 0.03, 0.84), height, f"{mark} {figures(value)}", **style)


def log_ticks(axes: Any) -> None:
    """Powers of ten where the axis holds at least two, else 1 and 3 times them; at most four."""
    from matplotlib.ticker import FixedLocator, FuncFormatter

    low, high = axes.get_ylim()
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    tens, threes = ([m * 10.0**e for e in exponents for m in ms if low <= m * 10.0**e <= high] for ms in ((1,), (1, 3)))
    ticks = tens if len(tens) >= 2 else threes
    axes.yaxis.set_major_locator(FixedLocator(ticks[:: -(-len(ticks) // 4)]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def tell_ends(axes: Any, ends: Sequence[tuple[float, str, str]]) -> None:
    """Each line's name and last value at the height of its end, moved apart where they would touch."""
    low, high = axes.transData.inverted().transform(axes.transAxes.transform([(0, 0), (0, 1)]))[:, 1]
    place = np.log if axes.get_yscale() == "log" else float
    heights = [(place(value) - place(low)) / (place(high) - place(low)) for value, _, _ in ends]
    for height, (_, text, colour) in zip(apart(heights, LABEL_STEP / PANEL), ends, strict=True):
        style = {"fontsize": FONT, "fontweight": "bold", "color": colour, "va": "center_baseline"}
        axes.text(1.025, height, text, transform=axes.transAxes, **style)


def apart(heights: Sequence[float], step: float) -> list[float]:
    """Heights within [0, 1], at least `step` from one another, in the same order, moved as little as is simple."""
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    moved = [min(max(heights[index], 0.0), 1.0) for index in order]
    for lower, upper in pairwise(range(len(moved))):
        overlap = step - (moved[upper] - moved[lower])
        if overlap > 0:
            moved[lower], moved[upper] = moved[lower] - overlap / 2, moved[upper] + overlap / 2
    for lower, upper in pairwise(range(len(moved))):
        moved[upper] = max(moved[upper], moved[lower] + step)
    result = [0.0] * len(heights)
    for index, height in zip(order, moved, strict=True):
        result[index] = height
    return result


def figures(value: float) -> str:
    """Three significant figures, two below 0.1: 1,234, 12.3, 0.584, 0.0068, 4.1e-5."""
    size = abs(value)
    if size and not 1e-4 <= size < 1e6:
        return f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e").replace("-", "−")
    decimals = (2 if size >= 0.1 else 1) - math.floor(math.log10(size or 1))
    return f"{value:,.{max(decimals, 0)}f}".replace("-", "−")
