"""Which variants of a study beat which: latency and distance of each, the front, and what real images score."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ganline.acceleration.study import Study, Variant
from ganline.page.glossary import figure, interval, number, records

FORM_WORDS: Mapping[str, str] = {
    "eager": "PyTorch, eager",
    "compiled": "torch.compile",
    "onnx": "ONNX Runtime, float32",
    "int8": "ONNX Runtime, int8",
}
TEACHER = "language model"
COLOURS = 7
"""Of students; an eighth has the first one's again, and its own name."""


@dataclass(frozen=True)
class Point:
    """One variant: `x` its p50 latency at batch 1 in ms, `y` its Fréchet distance with its interval over seeds."""

    name: str
    model: str
    kind: str
    form: str
    x: float
    y: float
    ends: tuple[float, float] | None


def points(study: Study) -> list[Point]:
    """The variants that have both a latency and a distance, in the study's order."""
    return [point(each) for each in study.variants if distance(each) and each.timing.p50_ms > 0]


def point(variant: Variant) -> Point:
    value = distance(variant)
    assert value is not None
    ends = interval(variant.quality["fd"])
    return Point(variant.name, variant.model, variant.kind, variant.form, variant.timing.p50_ms, value, ends)


def distance(variant: Variant) -> float | None:
    """Its Fréchet distance by the first extractor, where it was measured and is above 0."""
    value = number(variant.quality.get("fd") or {})
    return value if value and value > 0 else None


def front(given: Sequence[Point]) -> list[Point]:
    """Points that no other beats in both: from the fastest on, each better than all that are faster."""
    kept: list[Point] = []
    for each in sorted(given, key=lambda each: (each.x, each.y, each.name)):
        if not kept or each.y < kept[-1].y:
            kept.append(each)
    return kept


def ceiling(study: Study) -> float | None:
    """The distance of the tokenizer's reconstructions: what a perfect language model on it would score."""
    return number(tokenizer_records(study).get("fd") or {})


def tokenizer_records(study: Study) -> dict[str, Mapping[str, Any]]:
    """The records of the reconstruction, wherever among the tokenizer's facts they lie."""
    inner = study.tokenizer.get("reconstruction")
    return records({**study.tokenizer, **(inner if isinstance(inner, Mapping) else {})})


def floor(study: Study) -> float | None:
    """What real images score."""
    found = [number(each.quality.get("fd") or {}, "floor") for each in study.variants]
    return next((each for each in found if each), None)


def model_name(model: str) -> str:
    """`teacher` and `s3` as people read them."""
    if model == "teacher":
        return TEACHER
    return model.upper() if re.fullmatch(r"s\d+", model) else model


def form_name(form: str) -> str:
    return FORM_WORDS.get(form, form)


def tip(each: Point) -> str:
    ends = f" ({figure(each.ends[0])} to {figure(each.ends[1])})" if each.ends else ""
    return f"{model_name(each.model)}, {form_name(each.form)}: {figure(each.x)} ms, distance {figure(each.y)}{ends}"


def roles_of(given: Sequence[Point]) -> dict[str, str]:
    """Model -> its role in the style: `teacher`, or `student` with a colour's number, in the study's order."""
    students = list(dict.fromkeys(each.model for each in given if each.kind == "student"))
    colours = {model: f"student k{i % COLOURS}" for i, model in enumerate(students)}
    return {each.model: colours.get(each.model, "teacher") for each in given}
