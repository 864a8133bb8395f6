"""Quality against latency as a drawing in pixels: laid out once, written as SVG for the page and as PNG for others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ganline.acceleration.study import FORMS, Study
from ganline.page.charts import tick_text, ticks
from ganline.page.glossary import figure
from ganline.page.pareto import Point, ceiling, floor, form_name, front, model_name, points, roles_of, tip

SHAPES = ("circle", "square", "triangle", "diamond", "plus", "cross", "star")
LEFT, RIGHT, BOTTOM, MARGIN = 46.0, 14.0, 44.0, 14.0
LETTER = 0.56
"""Mean width of a letter in units of its height: system fonts and DejaVu differ; this is on the wide side."""
HALF, RING = 6.0, 3.5
"""Half the size of a mark, and how far a ring lies around it."""
TICKS = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0))


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels, y downward."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def within(self, other: Box) -> bool:
        across = other.left <= self.left and self.right <= other.right
        return across and other.top <= self.top and self.bottom <= other.bottom

    def wider(self, by: float) -> Box:
        return Box(self.left - by, self.top, self.right + by, self.bottom)


@dataclass(frozen=True)
class Line:
    role: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Mark:
    role: str
    shape: str
    x: float
    y: float
    tip: str = ""


@dataclass(frozen=True)
class Text:
    role: str
    x: float
    y: float
    """Of the middle of its letters."""
    text: str
    anchor: str = "start"
    size: float = 12.0
    turned: bool = False

    def box(self) -> Box:
        wide = LETTER * self.size * len(self.text)
        left = self.x - {"start": 0.0, "middle": wide / 2, "end": wide}[self.anchor]
        return Box(left, self.y - 0.6 * self.size, left + wide, self.y + 0.6 * self.size)


Shape = Line | Mark | Text


@dataclass(frozen=True)
class Drawing:
    width: int
    height: int
    label: str
    shapes: tuple[Shape, ...]


def drawing(study: Study, *, width: int = 1000, height: int = 500, size: float = 13.0) -> Drawing:
    """The picture in pixels; `size` is the height of its letters. Without a point it says so."""
    given = points(study)
    if not given:
        text = Text("dim", width / 2, height / 2, "no variant has both a latency and a distance", "middle", size)
        return Drawing(width, height, text.text, (text,))
    forms = [form for form in FORMS if any(each.form == form for each in given)]
    forms += sorted({each.form for each in given} - set(forms))
    shape_of = {form: SHAPES[i % len(SHAPES)] for i, form in enumerate(forms)}
    key, top = legend(given, shape_of, width=width, size=size)
    levels = [("floor", "real images", floor(study)), ("ceiling", "tokenizer’s ceiling", ceiling(study))]
    frame = Frame.around(given, [each for *_, each in levels], box=Box(LEFT, top, width - RIGHT, height - BOTTOM))
    roles = roles_of(given)
    lines = [*level_lines(levels, frame, size=size)]
    best = front(given)
    beaten = [each for each in given if each not in best]
    marks = [Mark(roles[each.model], shape_of[each.form], *frame.at(each), tip=tip(each)) for each in [*beaten, *best]]
    rings = [Mark("ring", "circle", *frame.at(each)) for each in best]
    whiskers = [
        Line(f"whisker {roles[each.model]}", tuple((frame.x(each.x), frame.y(end)) for end in each.ends))
        for each in given
        if each.ends and each.ends[0] > 0
    ]
    taken = [Box(m.x - HALF - 1, m.y - HALF - 1, m.x + HALF + 1, m.y + HALF + 1) for m in marks]
    taken += [each.box() for each in lines if isinstance(each, Text)]
    stairs = Line("front", tuple(steps([frame.at(each) for each in best], frame)))
    shapes = (
        *frame.axes(size=size),
        stairs,
        *lines,
        *whiskers,
        *marks,
        *rings,
        *names(given, frame, taken=taken, size=size),
        *key,
    )
    return Drawing(width, height, told(given, best, levels), shapes)


def told(given: Sequence[Point], best: Sequence[Point], levels: Sequence[tuple[str, str, float | None]]) -> str:
    """The picture in a sentence, for those who cannot see it."""
    parts = [f"{len(given)} variants; on the Pareto front: {'; '.join(map(tip, best))}"]
    parts += [f"{name} {figure(value)}" for _, name, value in levels if value]
    return ". ".join(parts)


@dataclass(frozen=True)
class Frame:
    """Logarithmic axes: values -> pixels inside `box`."""

    box: Box
    low: tuple[float, float]
    """Least x and y."""
    high: tuple[float, float]

    @staticmethod
    def around(given: Sequence[Point], levels: Sequence[float | None], *, box: Box) -> Frame:
        xs = [each.x for each in given]
        ys = [y for each in given for y in (each.y, *(each.ends or ())) if y > 0] + [y for y in levels if y and y > 0]
        pad_x, pad_y = (max((max(each) / min(each)) ** share, 1.08) for each, share in ((xs, 0.1), (ys, 0.08)))
        return Frame(box, (min(xs) / pad_x, min(ys) / pad_y), (max(xs) * pad_x, max(ys) * pad_y))

    def x(self, value: float) -> float:
        share = math.log(value / self.low[0]) / math.log(self.high[0] / self.low[0])
        return self.box.left + share * (self.box.right - self.box.left)

    def y(self, value: float) -> float:
        share = math.log(value / self.low[1]) / math.log(self.high[1] / self.low[1])
        return self.box.bottom - share * (self.box.bottom - self.box.top)

    def at(self, each: Point) -> tuple[float, float]:
        return self.x(each.x), self.y(each.y)

    def axes(self, *, size: float) -> Iterator[Shape]:
        box, small = self.box, size - 1
        for value in log_ticks(self.low[0], self.high[0], most=(box.right - box.left) / 60):
            x = self.x(value)
            yield Line("grid", ((x, box.top), (x, box.bottom)))
            yield Text("dim", x, box.bottom + 0.9 * small, tick_text(value, "number"), "middle", small)
        for value in log_ticks(self.low[1], self.high[1], most=(box.bottom - box.top) / 40):
            y = self.y(value)
            yield Line("grid", ((box.left, y), (box.right, y)))
            yield Text("dim", box.left - 6, y, tick_text(value, "number"), "end", small)
        yield Line("axis", ((box.left, box.top), (box.left, box.bottom), (box.right, box.bottom)))
        middle = (box.left + box.right) / 2
        yield Text("dim", middle, box.bottom + 2.4 * small, "ms an image at batch 1, p50 → slower", "middle", small)
        middle = (box.top + box.bottom) / 2
        yield Text("dim", small * 0.7, middle, "Fréchet distance → worse", "middle", small, turned=True)


def log_ticks(low: float, high: float, *, most: float) -> list[float]:
    """At most `most` round values within [low, high]: the finest mantissas, or a linear scale's where they are few."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    best: list[float] = []
    for mantissas in TICKS:
        found = [round(m * 10.0**e, 12) for e in exponents for m in mantissas if low <= m * 10.0**e <= high]
        if len(found) <= max(most, 2):
            best = found
    if len(best) >= 3:
        return best
    found = ticks(low, high, most=int(max(most, 3)))
    return found[:: math.ceil(len(found) / max(most, 3))]


def level_lines(levels: Sequence[tuple[str, str, float | None]], frame: Frame, *, size: float) -> Iterator[Shape]:
    """Horizontal lines with their words above the right end, or below it where words would touch."""
    above: list[Box] = []
    for role, words, value in levels:
        if not value or value <= 0:
            continue
        y = frame.y(value)
        yield Line(role, ((frame.box.left, y), (frame.box.right, y)))
        text = Text("level", frame.box.right - 4, y - 0.75 * size, f"{words}: {figure(value)}", "end", size - 1)
        if any(text.box().meets(each) for each in above) or text.box().top < frame.box.top:
            text = replace(text, y=y + 0.75 * size)
        above.append(text.box())
        yield text


def steps(at: Sequence[tuple[float, float]], frame: Frame) -> Iterator[tuple[float, float]]:
    """The front as stairs: what is right of and above it is beaten. It comes from the top and leaves to the right."""
    yield at[0][0], frame.box.top
    for i, (x, y) in enumerate(at):
        if i:
            yield x, at[i - 1][1]
        yield x, y
    yield frame.box.right, at[-1][1]


def names(given: Sequence[Point], frame: Frame, *, taken: Sequence[Box], size: float) -> Iterator[Shape]:
    """Each model's name once, in its colour, beside its slowest form; names that would touch are moved apart.

    Thin lines lead from the points to the names. A group of names stands on the right of its points, or on the left
    where that is freer.
    """
    roles = roles_of(given)
    wanted = []
    for model in roles:
        at = sorted(frame.at(each) for each in given if each.model == model)
        wanted.append((at[-1], at[0], model))
    wanted.sort()
    groups: list[list[tuple[tuple[float, float], tuple[float, float], str]]] = []
    for each in wanted:  # models whose names would stand in one column
        if groups and each[0][0] - groups[-1][-1][0][0] < 8 * size:
            groups[-1].append(each)
        else:
            groups.append([each])
    for group in groups:
        sides = [column(group, frame, roles, right=right, size=size) for right in (True, False)]
        if len(group) == 1:
            sides += over_and_under([each for each in given if each.model == group[0][2]], frame, roles, size=size)
        best = min(sides, key=lambda side: clashes(side, taken, frame))
        taken = [*taken, *(text.box() for _, text in best)]
        for point_at, text in best:
            end = (text.x + (-3 if text.anchor == "start" else 3), text.y)
            far = math.dist(point_at, end)
            if far > 2.2 * HALF:
                edge = tuple(a + (b - a) * (HALF + 1) / far for a, b in zip(point_at, end, strict=True))
                yield Line("leader", ((edge[0], edge[1]), end))
            yield text


Placed = list[tuple[tuple[float, float], Text]]


def column(
    group: Sequence[tuple[tuple[float, float], tuple[float, float], str]],
    frame: Frame,
    roles: Mapping[str, str],
    *,
    right: bool,
    size: float,
) -> Placed:
    """The names of a group in a column right of its slowest points, or left of its fastest, in the points' order."""
    ends = sorted(((each[0] if right else each[1]), each[2]) for each in group)
    ends.sort(key=lambda end: end[0][1])
    xs = [x for (x, _), _ in ends]
    gap = HALF + 5 if len(ends) == 1 else HALF + 14
    x = max(xs) + gap if right else min(xs) - gap
    heights = apart([y for (_, y), _ in ends], 1.25 * size, low=frame.box.top + size, high=frame.box.bottom - size)
    return [
        ((px, py), Text(f"{roles[model]} name", x, y, model_name(model), "start" if right else "end", size))
        for ((px, py), model), y in zip(ends, heights, strict=True)
    ]


def over_and_under(members: Sequence[Point], frame: Frame, roles: Mapping[str, str], *, size: float) -> list[Placed]:
    """The name of one model above its points, and below them."""
    xs, ys = zip(*map(frame.at, members), strict=True)
    middle, model = (min(xs) + max(xs)) / 2, members[0].model
    heights = (min(ys) - HALF - size, max(ys) + HALF + size)
    return [
        [((middle, y), Text(f"{roles[model]} name", middle, y, model_name(model), "middle", size))] for y in heights
    ]


def clashes(placed: Placed, taken: Sequence[Box], frame: Frame) -> int:
    """How many boxes the names cover, and ten for each name that leaves the picture."""
    boxes = [text.box().wider(4) for _, text in placed]
    whole = Box(frame.box.left, frame.box.top, frame.box.right + RIGHT, frame.box.bottom)
    outside = sum(not box.within(whole) for box in boxes)
    return 10 * outside + sum(box.meets(each) for box in boxes for each in taken)


def apart(ascending: Sequence[float], step: float, *, low: float, high: float) -> list[float]:
    """Ascending heights -> the nearest ones in [low, high] at least `step` apart, group by group around its mean."""
    groups: list[list[float]] = []
    for y in ascending:
        groups.append([y])
        while len(groups) > 1 and start(groups[-1], step) < start(groups[-2], step) + step * len(groups[-2]):
            last = groups.pop()
            groups[-1] += last
    heights = [start(group, step) + step * i for group in groups for i in range(len(group))]
    too_low = max(0.0, heights[-1] - high)  # towards the bottom y grows
    heights = [min(y - too_low, high) if too_low else y for y in heights]
    return [y + max(0.0, low - heights[0]) for y in heights]


def start(group: Sequence[float], step: float) -> float:
    """The first height of a group that is spread by `step` around its mean."""
    return sum(group) / len(group) - step * (len(group) - 1) / 2


def legend(
    given: Sequence[Point], shape_of: Mapping[str, str], *, width: int, size: float
) -> tuple[list[Shape], float]:
    """The key in rows at the top, and where the picture begins below it."""
    items: list[tuple[str, str, str]] = []
    for model, role in roles_of(given).items():
        items.append((role, "circle", model_name(model) if role == "teacher" else f"GAN {model_name(model)}"))
    items += [("form", shape, form_name(form)) for form, shape in shape_of.items()]
    items += [("ring", "circle", "on the Pareto front")]
    shapes: list[Shape] = []
    x, y, small = MARGIN, 12.0, size - 1
    for role, shape, words in items:
        wide = 14 + LETTER * small * len(words) + 18
        if x > MARGIN and x + wide - 18 > width:
            x, y = MARGIN, y + 1.6 * small
        shapes += [Mark(role, shape, x, y), Text("dim", x + 14, y, words, "start", small)]
        x += wide
    return shapes, y + 1.6 * small
