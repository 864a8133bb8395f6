"""What the figures of one model say, in sentences. Pure: figures in, sentences out.

A figure is judged against its floor, what real images score under the same protocol, never against a number that was
good for other data. Where it has an interval over generator seeds, its better end must miss the limit: a warning is not
chance. A figure without a floor is not judged, and `unjudged` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ganline.page.glossary import (
    FIRST,
    SECOND,
    Record,
    figure,
    interval,
    is_number,
    listed,
    metric,
    number,
    records,
    split_key,
    spoken,
    titled,
)


@dataclass(frozen=True)
class Remark:
    """One sentence about figures; `grave` says that it alone makes the model unfit."""

    key: str
    text: str
    grave: bool = False


@dataclass(frozen=True)
class Threshold:
    """From where on a figure is worth a warning; `grave` from where on it is a grave one."""

    limit: float
    grave: float
    meaning: str
    reason: str


# Figures that should reach a share `limit` of their floor. Where the reason names no arithmetic, the limit is a choice.
SHORTFALLS: Mapping[str, Threshold] = {
    "recall": Threshold(
        0.85, 0.6, "parts of the data are missing", "a tenth of ten classes, and half of another, lost"
    ),
    "coverage": Threshold(0.85, 0.6, "many real images have no like among the generated", "as recall"),
    "precision": Threshold(0.85, 0.6, "many images look like no real one", "as recall: one image in seven"),
    "density": Threshold(0.75, 0.4, "few images lie where real ones are dense", "an average of counts: looser"),
    "intra_class_diversity": Threshold(
        0.8, 0.5, "images of one class are too much alike", "truncating latents to 0.9 of their spread leaves 0.81"
    ),
    "class_entropy": Threshold(
        0.97, 0.8, "some classes are painted far more often", "one class of ten missing leaves ln 9 / ln 10 = 0.954"
    ),
    "label_accuracy": Threshold(
        0.9, 0.7, "images often show another class than was asked for", "the floor holds what the classifier confuses"
    ),
    "modes": Threshold(0.98, 0.8, "modes are missing", "the floor holds the modes that chance leaves out at this N"),
    "cas": Threshold(
        0.9, 0.6, "a classifier learns clearly less from generated images", "twice the errors if real ones give 0.9"
    ),
}

# Pixel statistics: how far the ratio to real may stray, and what lies on either side.
STRAYS: Mapping[str, tuple[float, str, str]] = {
    "sharpness": (0.2, "images are blurrier than real ones", "edges are harsher, or noisier, than in real images"),
    "noise": (0.25, "images are smoother than real ones", "images are noisier than real ones"),
    "contrast": (0.1, "images are flatter than real ones", "images have more contrast than real ones"),
    "brightness": (0.1, "images are darker than real ones", "images are brighter than real ones"),
}

COPIES_OVER_REAL = 3.0
"""Times the share of near copies among held-out real images: data with twins in it is not held against a model."""
COPIES_AT_LEAST = 0.002
"""Below that many more than real, copies are too few to tell from chance: 20 in 10,000."""
C_T_LIMIT = -3.0
"""A z-score: chance gives less once in 700 models (Meehan et al. 2020, arXiv 2004.05675)."""
DISAGREEMENT = 3.0
"""How far two extractors' ratios to their floors may be apart. They weigh faults differently, hence the wide limit."""
CLASS_ACCURACY = 0.6
"""Share of the floor of label accuracy below which a class is named."""
WIDE = 0.1
"""Half an interval, as a share of a distance: models that differ by less cannot be told apart."""


def warnings(metrics: Mapping[str, Any], usefulness: Mapping[str, Any] | None = None) -> list[Remark]:
    """All warnings about one model, grave ones first. `metrics` and `usefulness` hold records (see `records`)."""
    figures = records({**metrics, **(usefulness or {})})
    found = [remark for rule in RULES for remark in rule(figures)] + list(_few_images(figures, metrics))
    return sorted(found, key=lambda remark: not remark.grave)


def unjudged(metrics: Mapping[str, Any]) -> list[str]:
    """Titles of figures that a rule looks at, but that have no floor or no value."""
    judged = {*SHORTFALLS, *STRAYS, "copied_share"}
    figures = records(metrics)
    return [
        titled(key)
        for key, record in figures.items()
        if split_key(key)[0] in judged and (number(record) is None or number(record, "floor") is None)
    ]


def best_end(record: Record, side: int) -> float | None:
    """The value, or the end of its interval on that side: 0 low, 1 high."""
    ends = interval(record)
    return ends[side] if ends else number(record)


def shortfalls(figures: Mapping[str, Record]) -> Iterator[Remark]:
    """Figures that stay clearly below what real images score. A second extractor speaks where the first is silent."""
    told = set()
    for key, record in figures.items():
        base, role = split_key(key)
        rule, value, floor, high = SHORTFALLS.get(base), number(record), number(record, "floor"), best_end(record, 1)
        if rule is None or value is None or high is None or not floor or base in told:
            continue
        if high < rule.limit * floor:
            told.add(base)
            style = metric(key).style
            now, real = figure(value, style, digits=2), figure(floor, style, digits=2)
            unlike = "where training on real images gives" if base == "cas" else "where real images score"
            alone = (
                " (the first extractor does not see it)"
                if role == SECOND and number(figures.get(base, {}), "floor")
                else ""
            )
            yield Remark(
                key, f"{spoken(key)} is {now} {unlike} {real}: {rule.meaning}{alone}", high < rule.grave * floor
            )


def missing_classes(figures: Mapping[str, Record]) -> Iterator[Remark]:
    """Classes with less than a tenth of their fair share."""
    record = figures.get("class_coverage", {})
    missing = record.get("missing") or []
    if missing:
        yield Remark("class_coverage", f"{classes_are(missing, record.get('num_missing'), 'missing')}", True)


def weak_classes(figures: Mapping[str, Record]) -> Iterator[Remark]:
    """Classes that the classifier rarely sees although they were asked for."""
    record = figures.get("label_accuracy", {})
    floor = number(record, "floor") or 1.0
    per_class = record.get("per_class") or {}
    weak = [(value, name) for name, value in per_class.items() if is_number(value) and value < CLASS_ACCURACY * floor]
    if weak:
        told = [f"{name} ({figure(value, 'share', digits=2)})" for value, name in sorted(weak)]
        kind = "class" if len(told) == 1 else "classes"
        yield Remark("label_accuracy", f"label accuracy is low for {kind} {listed(told)}")


def copies(figures: Mapping[str, Record]) -> Iterator[Remark]:
    """More near copies of training images than among held-out real images."""
    record = figures.get("copied_share", {})
    value, floor, low = number(record), number(record, "floor"), best_end(record, 0)
    if value is not None and floor is not None and low is not None:
        limit = max(COPIES_OVER_REAL * floor, floor + COPIES_AT_LEAST)
        if low > limit:
            share, real = figure(value, "percent", digits=2), figure(floor, "percent", digits=2)
            text = f"{share} of the images are near copies of training images (held-out real ones: {real})"
            yield Remark("copied_share", text, value > 10 * limit)


def too_near(figures: Mapping[str, Record]) -> Iterator[Remark]:
    """Images nearer to the training images than unseen real ones are."""
    record = figures.get("c_t", {})
    value, high = number(record), best_end(record, 1)
    if value is not None and high is not None and high < C_T_LIMIT:
        meaning = "images lie nearer to training images than unseen real ones do, so some are copies"
        yield Remark("c_t", f"C_T is {figure(value)}, below {figure(C_T_LIMIT)}: {meaning}", True)


def strayed_pixels(figures: Mapping[str, Record]) -> Iterator[Remark]:
    """Pixel statistics away from those of real images."""
    for key, (limit, below, above) in STRAYS.items():
        record = figures.get(key, {})
        value, floor = number(record), number(record, "floor")
        if value is None or not floor:
            continue
        ends = [end / floor - 1 for end in interval(record) or (value, value)]
        if min(ends) > limit or max(ends) < -limit:
            part = f"{key} is {100 * value / floor:.0f} % of that of real images"
            yield Remark(key, f"{part}: {above if value > floor else below}")


def disagreement(figures: Mapping[str, Record]) -> Iterator[Remark]:
    """Two extractors that see distances of very different size, each in units of its own floor."""
    first, second = (ratio(figures.get(key, {})) for key in ("fd", f"fd_{SECOND}"))
    if first and second and max(first / second, second / first) > DISAGREEMENT:
        told = f"{times(first)} its floor by the first and {times(second)} by the second"
        text = f"the extractors disagree: the Fréchet distance is {told}"
        tuned = "; the model may be tuned to the first" if second > first else ""
        yield Remark(f"fd_{SECOND}", text + tuned)


def wide_intervals(figures: Mapping[str, Record]) -> Iterator[Remark]:
    """Distances that vary so much with the seed that models can hardly be compared. (KID may be near 0: no share.)"""
    for key in ("fd", "fd_second"):
        record = figures.get(key, {})
        value, ends = number(record), interval(record)
        if value and ends and (reach := (ends[1] - ends[0]) / 2 / abs(value)) > WIDE:
            text = f"the interval of {spoken(key)} is wide (± {100 * reach:.0f} %)"
            yield Remark(key, f"{text}: more seeds or more images would tell more")


def harmful(figures: Mapping[str, Record]) -> Iterator[Remark]:
    """Generated images that lower accuracy when they are added to real ones."""
    for key, part in (
        ("1pct", "1 % of the real images"),
        ("10pct", "10 % of the real images"),
        ("100pct", "all real images"),
    ):
        record = figures.get(f"augmentation_{key}", {})
        value, ends = number(record), interval(record)
        if value is not None and ends and ends[1] < 0:
            loss = figure(-value, "points").removeprefix("+")
            yield Remark(f"augmentation_{key}", f"added to {part}, generated images lower accuracy by {loss}")


def _few_images(figures: Mapping[str, Record], metrics: Mapping[str, Any]) -> Iterator[Remark]:
    """Fréchet distances whose covariance has fewer images than features: not of full rank, and biased upward."""
    dims = {role: each.get("feature_dim") for role, each in extractors(metrics).items()}
    for key, record in figures.items():
        base, role = split_key(key)
        n, dim = number(record, "n"), dims.get(role)
        if base == "fd" and n and is_number(dim) and n <= dim:
            text = f"{spoken(key)} compares {n:,.0f} images, not more than its {dim:,} features"
            yield Remark(key, f"{text}: too few, so it comes out too large")


Rule = Callable[[Mapping[str, Record]], Iterator[Remark]]
RULES: Sequence[Rule] = (
    missing_classes,
    shortfalls,
    copies,
    too_near,
    weak_classes,
    disagreement,
    strayed_pixels,
    harmful,
    wide_intervals,
)


def extractors(metrics: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Facts of each extractor by its role: `extractors`, or the one `extractor` of older files."""
    alone = metrics.get("extractor")
    return dict(metrics.get("extractors") or ({FIRST: alone} if isinstance(alone, Mapping) else {}))


def ratio(record: Record) -> float | None:
    """A distance in units of its floor."""
    value, floor = number(record), number(record, "floor")
    return value / floor if value is not None and floor else None


def times(ratio: float) -> str:
    """3.551 -> '3.6 times'."""
    return f"{figure(ratio, digits=2)} times"


def classes_are(names: Sequence[str], total: int | None, what: str) -> str:
    """'class Bag is missing', 'classes Bag and Boot are missing'."""
    one = max(total or 0, len(names)) == 1
    return f"{'class' if one else 'classes'} {listed(names, total=total)} {'is' if one else 'are'} {what}"
