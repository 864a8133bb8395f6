"""The tables of a study's page: variants, forms side by side, ways, likelihoods, distances to the teacher."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ganline.acceleration.study import FORMS, Study, Variant
from ganline.evaluation.names import key_of
from ganline.page import plain
from ganline.page.charts import AXIS, ROWS, Scale, svg
from ganline.page.glossary import (
    Record,
    figure,
    interval,
    is_number,
    metric,
    number,
    records,
    seeds,
    span,
    split_key,
    titled,
)
from ganline.page.pareto import distance, floor, form_name, model_name, points, roles_of
from ganline.page.render import seed_ranges

COLUMNS = ("fd", "fd_second", "recall", "coverage", "label_accuracy")
"""Figures of the table of variants."""
WAYS: Mapping[str, str] = {
    "s1": "GAN on real data",
    "s2": "GAN on a bank of the teacher’s images alone",
    "s3": "the bank and real data in the discriminator",
    "s4": "paired with the teacher’s noise at first, then adversarial",
}
ENOUGH_SEEDS = 3


def amount(value: float, unit: str) -> str:
    """1,240,000 and 'B' -> '1.24 MB'."""
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{figure(value / size)} {prefix}{unit}".rstrip()
    return f"{value:,.0f} {unit}".rstrip()


def threads(study: Study) -> int | None:
    value = study.protocol.get("threads")
    return value if isinstance(value, int) and value > 0 else None


def threads_told(study: Study) -> str:
    """What both sides ran on: single images always have one thread."""
    count = threads(study)
    if count is None:
        return "an unrecorded number of threads"
    return "1 thread" if count == 1 else f"1 thread at batch 1, {count} threads in batches"


def hardware(study: Study) -> str:
    """What it was measured on; ONNX Runtime runs on the processor, wherever torch does."""
    device, processor = (study.machine.get(key) for key in ("device", "processor"))
    if device and processor and device != processor:
        return f"{device} (PyTorch), {processor} (ONNX Runtime)"
    return str(device or processor or "")


def variant_table(study: Study) -> dict[str, Any]:
    """All variants in the study's order; figures whose name or floor all share are named in the head."""
    columns = [
        key for key in COLUMNS if any(number(each.quality.get(key) or {}) is not None for each in study.variants)
    ]
    shared = {key: common(study.variants, key) for key in columns}
    roles = roles_of(points(study))
    return {
        "batches": ", ".join(str(each) for each in sorted({each.timing.batch for each in study.variants})),
        "columns": [
            {"title": titled(key), "name": shared[key][0], "floor": shared[key][1], "better": metric(key).better}
            for key in columns
        ],
        "rows": [
            variant_row(each, columns, shared, num_threads=threads(study), role=roles.get(each.model, ""))
            for each in study.variants
        ],
    }


def common(variants: Sequence[Variant], key: str) -> tuple[str, str]:
    """The one name and the one floor of a figure, each '' where variants differ."""
    found = [each.quality[key] for each in variants if number(each.quality.get(key) or {}) is not None]
    names = {str(each.get("name", "")) for each in found}
    floors = {figure(number(each, "floor"), metric(key).style) for each in found}
    return (names.pop() if len(names) == 1 else ""), (floors.pop() if len(floors) == 1 else "")


def variant_row(
    each: Variant, columns: Sequence[str], shared: Mapping[str, tuple[str, str]], *, num_threads: int | None, role: str
) -> dict[str, Any]:
    timing = each.timing
    return {
        "model": model_name(each.model),
        "role": role,
        "form": form_name(each.form),
        "p50": f"{figure(timing.p50_ms)} ms",
        "p95": f"{figure(timing.p95_ms)} ms",
        "first": f"{figure(timing.first_ms)} ms",
        "throughput": f"{figure(timing.throughput)}/s",
        "per_core": f"{figure(timing.throughput / num_threads)}/s" if num_threads else "not known",
        "cold": f"{figure(timing.cold_ms / 1000)} s" if timing.cold_ms >= 1000 else f"{figure(timing.cold_ms)} ms",
        "size": amount(each.num_bytes, "B"),
        "macs": amount(each.macs, ""),
        "cells": [cell(key, each.quality.get(key) or {}, *shared[key]) for key in columns],
    }


def cell(key: str, record: Record, shared_name: str, shared_floor: str) -> dict[str, str]:
    """A figure with its interval; name and floor where the head does not tell them."""
    style, ends = metric(key).style, interval(record)
    value, floor = number(record), number(record, "floor")
    told = value is not None
    return {
        "title": titled(key),
        "value": figure(value, style) if told else "not measured",
        "interval": span(*ends, style) if told and ends else "",
        "name": "" if shared_name or not told else str(record.get("name", "")),
        "floor": f"real: {figure(floor, style)}" if told and not shared_floor and floor is not None else "",
    }


def chosen(study: Study) -> str | None:
    """The model of the student that the headline is about: the verdict's, else the one with the least distance."""
    students = [each for each in study.variants if each.kind == "student"]
    name = str(study.headline.get("student", ""))
    for each in students:
        if name in (each.name, each.model):
            return each.model
    scored = [(value, each.model) for each in students if (value := distance(each))]
    return min(scored)[1] if scored else students[0].model if students else None


def side_by_side(study: Study) -> dict[str, Any] | None:
    """Teacher and the headline's student in each form that both were measured in; None where there is none."""
    student = chosen(study)
    forms = [*FORMS, *sorted({each.form for each in study.variants} - set(FORMS))]
    pairs = [(form, one(study, "teacher", form), one(study, student, form)) for form in forms]
    rows = [
        {
            "form": form_name(form),
            "teacher_ms": f"{figure(a.timing.p50_ms)} ms",
            "student_ms": f"{figure(b.timing.p50_ms)} ms",
            "latency": times(a.timing.p50_ms / b.timing.p50_ms),
            "teacher_rate": f"{figure(a.timing.throughput)}/s",
            "student_rate": f"{figure(b.timing.throughput)}/s",
            "throughput": times(b.timing.throughput / a.timing.throughput),
            "teacher_fd": figure(distance(a)),
            "student_fd": figure(distance(b)),
        }
        for form, a, b in pairs
        if a and b
    ]
    return {"student": model_name(student), "rows": rows} if rows and student else None


def one(study: Study, model: str | None, form: str) -> Variant | None:
    return next((each for each in study.variants if each.model == model and each.form == form), None)


def times(ratio: float) -> str:
    """104.3 -> '104 times'; below ten one decimal."""
    return f"{figure(ratio, digits=3 if ratio >= 100 else 2)} times"


def ablation_table(study: Study) -> dict[str, Any] | None:
    """The ways, each with its training seeds; all distances on one scale."""
    if not study.ablation:
        return None
    distances = [each.get("fd") or {} for each in study.ablation.values()]
    values = [value for each in distances for value in (number(each), *seeds(each), *(interval(each) or ()))]
    line = floor(study)
    finite = [value for value in [*values, line] if value is not None]
    scale = Scale(finite) if finite else None
    return {
        "rows": [way_row(way, each, scale, line) for way, each in study.ablation.items()],
        "missing": [f"{model_name(way)} ({what})" for way, what in WAYS.items() if way not in study.ablation],
        "floor": figure(line),
    }


def way_row(way: str, given: Mapping[str, Any], scale: Scale | None, line: float | None) -> dict[str, Any]:
    """One way: mean and spread over training seeds, and each of them."""
    record = given.get("fd") or {}
    trained = list(given.get("seeds") or (record.get("per_seed") or {}))
    ends, std = interval(record), number(record, "std")
    others = {key: each for key, each in given.items() if key not in ("what", "seeds", "fd")}
    return {
        "way": model_name(way),
        "what": given.get("what") or WAYS.get(way, ""),
        "num_seeds": len(trained),
        "few": len(trained) < ENOUGH_SEEDS,
        "seeds": seed_ranges([int(each) for each in trained]) if trained else "not known",
        "value": figure(number(record)) if number(record) is not None else "not measured",
        "name": record.get("name", ""),
        "std": figure(std) if std is not None else "",
        "interval": span(*ends) if ends else "",
        "each": ", ".join(figure(value) for value in seeds(record)),
        "chart": way_chart(record, scale, line) if scale else "",
        "others": plain.facts(others),
    }


def way_chart(record: Record, scale: Scale, line: float | None) -> str:
    """Training seeds as dots, their interval as a bar, what real images score as a line."""
    value, ends, dots = number(record), interval(record), seeds(record)
    if value is None:
        return ""
    parts = [scale.axis("number")]
    if line is not None:
        parts.append(f'<path class="floor" d="M{scale.x(line)} 2V{AXIS}"/>')
    if ends:
        a, b = map(scale.x, ends)
        parts.append(f'<path class="interval" d="M{a} 16H{b}"/><path class="ends" d="M{a} 9v14M{b} 9v14"/>')
    for i, dot in enumerate(dots or [value]):
        parts.append(f'<circle class="seed" cx="{scale.x(dot)}" cy="{10 + 6 * (i % ROWS)}" r="3"/>')
    label = f"mean {figure(value)}; training seeds: {', '.join(map(figure, dots)) or 'not known'}"
    return svg("".join(parts), label=label, kind="seeds")


def likelihood_table(study: Study) -> dict[str, Any] | None:
    """The teacher's nats per token of re-tokenised images beside their class entropy; real and own first."""
    given = {
        key: each if isinstance(each, Mapping) and not plain.is_record(each) else {"nats_per_token": each}
        for key, each in study.likelihood.items()
    }
    if not given:
        return None
    order = [*(key for key in ("real", "teacher") if key in given), *(k for k in given if k not in ("real", "teacher"))]
    names = {"real": "real images", "teacher": "the language model’s own"}
    return {
        "most": figure(math.log(len(study.labels))) if len(study.labels) > 1 else "",
        "rows": [
            {
                "title": names.get(key, f"images of {model_name(key)}"),
                "nats": plain.told(given[key].get("nats_per_token")),
                "entropy": plain.told(given[key].get("class_entropy")),
                "others": plain.facts(given[key], skip=("nats_per_token", "class_entropy")),
            }
            for key in order
        ],
    }


def between_table(study: Study) -> dict[str, Any] | None:
    """Students against the teacher's images instead of real ones: a line for each extractor."""
    given = {student: records(each) for student, each in study.between.items() if isinstance(each, Mapping)}
    keys = list(records({key: each for found in given.values() for key, each in found.items()}))
    if not keys:
        return None
    bases, roles = (list(dict.fromkeys(part)) for part in zip(*map(split_key, keys), strict=True))
    return {
        "heads": [titled(base) for base in bases],
        "rows": [
            {
                "title": model_name(student) + (", against itself" if student == "teacher" else ""),
                "extractor": f"{role} extractor",
                "cells": [cell(key, found.get(key, {}), key, "") for key in (key_of(base, role) for base in bases)],
            }
            for student, found in given.items()
            for role in roles
        ],
        "names": list(dict.fromkeys(str(each["name"]) for found in given.values() for each in found.values())),
    }


def language_table(study: Study) -> dict[str, Any] | None:
    """The model's loss beside that of models that learned nothing; None where it was not measured."""
    given = study.language
    rows = [("this language model", given.get("nats_per_token"), given.get("nats_per_dim"))]
    for name, each in (given.get("baselines") or {}).items():
        if isinstance(each, Mapping) and not plain.is_record(each):
            rows.append((str(name).replace("_", " "), each.get("nats_per_token"), each.get("nats_per_dim")))
    return {"rows": [(name, *map(plain.told, told)) for name, *told in rows]} if given else None


def language_facts(study: Study) -> list[tuple[str, str]]:
    """What the table of losses leaves out."""
    bare = {f"baseline {key}": each for key, each in (study.language.get("baselines") or {}).items() if is_number(each)}
    return plain.facts(study.language, skip=("nats_per_token", "nats_per_dim", "baselines")) + plain.facts(bare)
