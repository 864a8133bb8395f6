"""What each figure is called and means in plain words, and how its values are written."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

Better = Literal["lower", "higher", "real"]
Style = Literal["number", "share", "percent", "points", "count"]
Record = Mapping[str, Any]

NOTHING = "–"
LISTED = 6
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
FIRST, SECOND = "first", "second"


@dataclass(frozen=True)
class Metric:
    """A kind of figure. `better` is where its good end lies; `style` how values are written."""

    group: str
    title: str
    plain: str
    better: Better
    style: Style = "number"
    inside: str = ""
    """The title inside a sentence, where its first letter in lower case is not enough."""


GROUPS: Mapping[str, tuple[str, str]] = {
    "distance": ("Distance", "How far the generated images as a whole lie from the real ones."),
    "variety": ("Fidelity and variety", "Whether single images are plausible, and whether all of the data is there."),
    "classes": ("Classes", "As the data set's own classifier sees them; real images show what it confuses itself."),
    "memorisation": ("Memorisation", "Whether training images were learned by heart."),
    "pixels": ("Pixels", "Plain statistics, without any network, as a ratio to those of real images."),
    "usefulness": ("Usefulness", "What the generated images are worth as training data for a classifier."),
    "others": ("Other figures", "Figures that this page has no words for."),
}

METRICS: Mapping[str, Metric] = {
    "fd": Metric(
        "distance",
        "Fréchet distance",
        "Distance between two bell curves fitted to the features of generated and of real images.",
        "lower",
        "number",
        "the Fréchet distance",
    ),
    "kid": Metric(
        "distance",
        "Kernel distance",
        "The same question without assuming bell curves (KID). Unbiased: may fall slightly below 0.",
        "lower",
        "number",
        "the kernel distance",
    ),
    "precision": Metric(
        "variety", "Precision", "Share of generated images that lie where real images lie.", "higher", "share"
    ),
    "recall": Metric(
        "variety", "Recall", "Share of real images that lie where the generator can reach.", "higher", "share"
    ),
    "density": Metric(
        "variety", "Density", "Precision that outliers do not fool; about 1 for real images, may exceed 1.", "real"
    ),
    "coverage": Metric(
        "variety",
        "Coverage",
        "Share of real images with a generated one among their near neighbours.",
        "higher",
        "share",
    ),
    "class_coverage": Metric(
        "classes",
        "Classes that appear",
        "A class appears from a tenth of its fair share on.",
        "higher",
        "share",
        "the share of classes that appear",
    ),
    "class_entropy": Metric(
        "classes",
        "Class entropy",
        "How evenly classes appear, in nats; an equal mix has the most.",
        "real",
        "number",
        "the class entropy",
    ),
    "class_kl": Metric(
        "classes",
        "Class divergence",
        "KL divergence of the mix of classes from that of the training data.",
        "lower",
        "number",
        "the class divergence",
    ),
    "label_accuracy": Metric(
        "classes", "Label accuracy", "Share of images that show the class that was asked for.", "higher", "share"
    ),
    "intra_class_diversity": Metric(
        "classes",
        "Variety within a class",
        "Spread inside each class as a share of that of real images.",
        "real",
        "number",
        "the variety within a class",
    ),
    "modes": Metric(
        "classes", "Modes", "How many different classes occur at all.", "higher", "count", "the number of modes"
    ),
    "modes_kl": Metric(
        "classes",
        "Divergence of modes",
        "KL divergence of the histogram of modes, in nats.",
        "lower",
        "number",
        "the divergence of modes",
    ),
    "copied_share": Metric(
        "memorisation",
        "Near copies",
        "Share of images far nearer to one training image than to any other.",
        "lower",
        "percent",
        "the share of near copies",
    ),
    "c_t": Metric(
        "memorisation",
        "C_T",
        "Do images lie nearer to training images than unseen real ones do? A z-score: far below 0 means copies.",
        "real",
        "number",
        "C_T",
    ),
    "sharpness": Metric("pixels", "Sharpness", "Variance of the Laplacian; below 1 is blurrier than real.", "real"),
    "noise": Metric("pixels", "Noise", "Estimated grain; above 1 is noisier than real.", "real"),
    "contrast": Metric("pixels", "Contrast", "Standard deviation of grey levels.", "real"),
    "brightness": Metric("pixels", "Brightness", "Mean of grey levels.", "real"),
    "cas": Metric(
        "usefulness",
        "Trained on generated",
        "Accuracy on real test images of a classifier that saw generated images only.",
        "higher",
        "share",
        "accuracy after training on generated images",
    ),
    "cas_real": Metric(
        "usefulness",
        "Trained on real",
        "The same classifier trained on all real images: the ceiling.",
        "higher",
        "share",
    ),
    "augmentation_1pct": Metric(
        "usefulness",
        "Added to 1 % of the data",
        "Accuracy gained by adding generated images to that part of the real ones.",
        "higher",
        "points",
        "the gain from adding generated images to 1 % of the real ones",
    ),
    "augmentation_10pct": Metric(
        "usefulness",
        "Added to 10 % of the data",
        "The same with ten percent of the real images.",
        "higher",
        "points",
        "the gain from adding generated images to 10 % of the real ones",
    ),
    "augmentation_100pct": Metric(
        "usefulness",
        "Added to all data",
        "The same with all of the real images.",
        "higher",
        "points",
        "the gain from adding generated images to all real ones",
    ),
}

DIRECTIONS: Mapping[str, str] = {"lower": "lower is better", "higher": "higher is better", "real": "best at real"}


def split_key(key: str) -> tuple[str, str]:
    """'fd_second' -> ('fd', 'second'); 'recall' -> ('recall', 'first'). The base is '' for a figure without words."""
    bases = [base for base in METRICS if key == base or key.startswith(base + "_")]
    base = max(bases, key=len, default="")
    return base, key[len(base) + 1 :] or FIRST if base else FIRST


def metric(key: str) -> Metric:
    """Words of a figure; for a figure without words its own key stands in."""
    return METRICS.get(split_key(key)[0]) or Metric("others", key, "", "higher")


def titled(key: str) -> str:
    """'recall_second' -> 'Recall, holdout extractor'; 'fd_inception2015' -> 'Fréchet distance, inception2015'."""
    role = split_key(key)[1]
    return metric(key).title + ("" if role == FIRST else ", holdout extractor" if role == SECOND else f", {role}")


def spoken(key: str) -> str:
    """The title inside a sentence: 'recall by the holdout extractor'."""
    role, kind = split_key(key)[1], metric(key)
    title = kind.inside or kind.title[0].lower() + kind.title[1:]
    return title + ("" if role == FIRST else " by the holdout extractor" if role == SECOND else f" by {role}")


def records(metrics: Mapping[str, Any] | None) -> dict[str, Record]:
    """The figures among the values of metrics.json, in the glossary's order: what has both a name and a value."""
    order = list(METRICS)
    found = {
        key: each
        for key, each in (metrics or {}).items()
        if isinstance(each, Mapping) and {"name", "value"} <= set(each)
    }

    def rank(key: str) -> tuple[int, int, str]:
        base, role = split_key(key)
        return (
            order.index(base) if base else len(order),
            [FIRST, SECOND].index(role) if role in (FIRST, SECOND) else 2,
            key,
        )

    return {key: found[key] for key in sorted(found, key=rank)}


def better(key: str, record: Record) -> str:
    """Where the good end of a figure lies: what its record says, or else the glossary."""
    return record.get("better") or metric(key).better


def is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a finite number: absent ones are null in JSON."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def number(record: Record, field: str = "value") -> float | None:
    """A finite number of a record, or None."""
    value = record.get(field)
    return float(value) if is_number(value) else None


def interval(record: Record) -> tuple[float, float] | None:
    """Both ends of the record's interval, or None."""
    ends = record.get("interval")
    if not ends or not all(map(is_number, ends)):
        return None
    low, high = ends
    return float(low), float(high)


def seeds(record: Record) -> list[float]:
    """The value of each generator seed, as far as it is finite."""
    return [float(value) for value in (record.get("per_seed") or {}).values() if is_number(value)]


def figure(value: Any, style: Style = "number", *, digits: int = 3) -> str:
    """A value as people read it: three significant digits, shares with as many decimals, a true minus sign."""
    if not isinstance(value, (int, float)) or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return _WRITERS[style](float(value), digits).replace("-", "−")


def _significant(value: float, digits: int) -> str:
    if abs(value) >= 10**digits:
        return f"{value:,.0f}"
    if value and abs(value) < 1e-4:
        mantissa, exponent = f"{value:.{max(digits - 2, 0)}e}".split("e")
        return f"{mantissa} × 10{str(int(exponent)).translate(SUPERSCRIPTS)}"
    text = f"{value:#.{digits}g}" if value else "0"
    return text.rstrip(".")


_WRITERS = {
    "number": _significant,
    "share": lambda value, digits: f"{value:.{digits}f}",
    "percent": lambda value, digits: f"{100 * value:.{max(digits - 1, 1)}f} %",
    "points": lambda value, digits: f"{100 * value:+.{max(digits - 1, 1)}f} points",
    "count": lambda value, digits: f"{value:,.1f}".removesuffix(".0"),
}


def telling_digits(a: float, b: float, *, style: Style = "number", least: int = 3) -> int:
    """How many digits tell two different values apart, at most 5."""
    for digits in range(least, 5):
        if a == b or figure(a, style, digits=digits) != figure(b, style, digits=digits):
            return digits
    return 5


def pair(a: float, b: float, style: Style = "number") -> tuple[str, str]:
    """Two values with as few digits as tell them apart: two for shares, else three."""
    digits = telling_digits(a, b, style=style, least=2 if style in ("share", "percent") else 3)
    return figure(a, style, digits=digits), figure(b, style, digits=digits)


def span(low: float, high: float, style: Style = "number", *, digits: int = 3) -> str:
    """'0.859 to 0.863', '+1.81 to +2.39 points': the unit once."""
    a, b = figure(low, style, digits=digits), figure(high, style, digits=digits)
    unit = {"percent": " %", "points": " points"}.get(style, "")
    return f"{a.removesuffix(unit)} to {b}"


def listed(names: Sequence[str], *, total: int | None = None, most: int = LISTED) -> str:
    """'a', 'a and b', 'a, b and c', 'a, b, … and 12 more'; `total` counts names that are not in the list as well."""
    shown = list(names[:most])
    more = max(total or 0, len(names)) - len(shown)
    parts = [*shown, f"{more:,} more"] if more else shown
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def groups(keys: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """The keys of each group that has any, in the page's order."""
    for group in GROUPS:
        members = [key for key in keys if metric(key).group == group]
        if members:
            yield group, members
