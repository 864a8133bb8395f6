"""A speed-up study -> one HTML page. Equal inputs give equal bytes: no time, no host, no path is in it.

Keys that the page reads of a study's plain mappings; whatever else they hold is shown under its own key:
`tokenizer`: name, num_tokens, vocab, records (`fd`, …) or `reconstruction` with them. `language`: nats_per_token,
nats_per_dim, `baselines` {name: {nats_per_token, nats_per_dim}}, kimg or images_seen, train_seconds and
train_cpu_seconds. `likelihood`: {real, teacher, way: {nats_per_token, class_entropy}}. `prompts`: encoder {…_ms}, paths
{variant: {p50_ms, …}}, adherence {"MODEL: KIND OF TEXT": {n, class right, ratio, …}}. `verdict`: as
acceleration/ratios.py makes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ganline.acceleration.ratios import MARGIN
from ganline.acceleration.study import SETTLED, Study, Variant
from ganline.page import plain
from ganline.page.fairness import unfairnesses
from ganline.page.glossary import figure, interval, is_number, metric, number, span, titled
from ganline.page.pareto import (
    ceiling,
    distance,
    floor,
    form_name,
    front,
    model_name,
    points,
    tip,
    tokenizer_records,
)
from ganline.page.pareto_svg import quality_against_latency_svg
from ganline.page.pictures import Picture, picture
from ganline.page.render import render, seed_ranges
from ganline.page.study_tables import (
    ablation_table,
    between_table,
    hardware,
    language_facts,
    language_table,
    likelihood_table,
    side_by_side,
    threads_told,
    times,
    variant_table,
)

NOT_MEASURED: Mapping[str, str] = {
    "ablation": "the ways to train a student (S1 to S4)",
    "tokenizer": "the tokenizer’s reconstructions",
    "language": "the language model’s loss",
    "likelihood": "the language model’s likelihood of the students’ images",
    "bank": "what the bank of the teacher’s images costs",
    "prompts": "prompts",
    "between": "the distance of students to their teacher",
    "verdict": "ratios at equal quality",
}
RATIOS = (
    ("latency_ratio", "Latency at batch 1", "shorter than the language model’s fastest, one image after another"),
    ("first_ratio", "After other work", "shorter for an image with cold caches on both sides"),
    ("throughput_ratio", "Throughput at batch {batch}", "as much as the language model’s highest"),
)


def render_study(study: Study, *, pictures: Mapping[str, bytes]) -> str:
    """The page. `pictures` maps models (`teacher`, `s1`, …) or other names to sheets of samples as PNG files.

    Raises DataError where a picture is no PNG.
    """
    best = front(points(study))
    return render(
        "study.html.j2",
        study=study,
        title=f"{study.dataset}: a language model, and GANs in its place",
        facts=study_facts(study),
        ratios=ratios(study),
        sentences=sentences(study),
        compared=compared(study),
        side_by_side=side_by_side(study),
        settled=settled(study),
        svgs=[quality_against_latency_svg(study, narrow=narrow) for narrow in (False, True)] if points(study) else [],
        pareto=[tip(each) for each in best],
        models=models(study),
        pictures=[sheet(name, pictures[name]) for name in by_model(study, pictures)],
        variants=variant_table(study),
        ablation=ablation_table(study),
        ceiling=ceiling_facts(study),
        gap=gap(study),
        language=language_table(study),
        language_facts=language_facts(study),
        likelihood=likelihood_table(study),
        between=between_table(study),
        bank=plain.facts(study.bank),
        prompts=prompts(study),
        unfairnesses=unfairnesses(study),
        failed=[(*split(name), why) for name, why in study.failed.items()],
        not_measured=not_measured(study),
        protocol=settings(study),
        machine=plain.facts(study.machine),
    )


def by_model(study: Study, names: Iterable[str]) -> list[str]:
    """Names in the study's order of models, the language model first; others behind."""
    order = [*dict.fromkeys(each.model for each in study.variants)]
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))


def study_facts(study: Study) -> list[tuple[str, str]]:
    """What stands under the title."""
    kind = "grey" if study.channels == 1 else "colour"
    told = [
        ("data set", study.dataset),
        ("images", f"{study.resolution} × {study.resolution}, {kind}"),
        ("classes", str(len(study.labels)) if study.labels else "none"),
        ("machine", hardware(study) or "not recorded"),
        ("both sides on", threads_told(study)),
    ]
    for key, words in (("rounds", "rounds of timing"), ("n", "images a figure")):
        told += [(words, plain.told(study.protocol[key]))] if key in study.protocol else []
    return told


def settings(study: Study) -> list[tuple[str, str]]:
    """The protocol; a setting that is None is switched off."""
    given = {key: "none" if each is None else each for key, each in study.protocol.items()}
    return plain.facts(given, skip=("seeds",)) + seeds_fact(study)


def settled(study: Study) -> str:
    """How long forms run before their times count; nothing where it was not recorded."""
    given = study.protocol.get(SETTLED)
    return f"{figure(given)} ms" if is_number(given) else ""


def seeds_fact(study: Study) -> list[tuple[str, str]]:
    seeds = study.protocol.get("seeds")
    if isinstance(seeds, (list, tuple)) and seeds and all(isinstance(each, int) for each in seeds):
        return [("seeds", seed_ranges(seeds))]
    return [("seeds", plain.told(seeds))] if seeds else []


def ratios(study: Study) -> list[dict[str, str]]:
    """The verdict's ratios as large figures."""
    batch = next((each.timing.batch for each in study.variants), 64)
    found = []
    for key, title, word in RATIOS:
        given = at_equal_quality(study).get(key)
        value = number(given) if isinstance(given, Mapping) else given
        if is_number(value):
            ends = interval(given) if isinstance(given, Mapping) else None
            note = f"{word}{f'; {span(*ends)}' if ends else ''}"
            found.append({"title": title.format(batch=batch), "value": times(value), "note": note})
    return found


def at_equal_quality(study: Study) -> Mapping[str, Any]:
    """The verdict's ratios at equal quality; nothing where no student is as good as its teacher."""
    return study.verdict.get("equal") or {}


def sentences(study: Study) -> list[str]:
    """The verdict in words, and what a student reaches that is as near by the first extractor alone."""
    told = [str(study.verdict["words"])] if study.verdict.get("words") else []
    equal, nearer = at_equal_quality(study), study.verdict.get("nearer") or {}
    told += [EQUAL_QUALITY] if told else []
    if equal and nearer and nearer["student"] != equal["student"]:
        told.append(
            f"By the first extractor alone {called(nearer['student'])} is no farther either, with "
            f"{times(nearer['latency_ratio'])} lower latency and {times(nearer['throughput_ratio'])} the throughput; "
            f"its distance is {figure(nearer['student_distance'])}."
        )
    return told


EQUAL_QUALITY = (
    "Equal quality means: by the first extractor the GAN is surely no farther from real images than the language "
    "model’s best form, against all of them and against each half alone; by the second it is surely less than "
    f"{MARGIN:.0%} farther. Sure is over seeds of noise, paired, for one training of each side "
    "(of a mixture, one set of them)."
)


def called(name: str) -> str:
    """`s3 int8` -> 'S3 in ONNX Runtime, int8'."""
    return " in ".join(part for part in split(name) if part)


def compared(study: Study) -> list[str]:
    """What the ratios hold against one another, in sentences; those variants alone that the verdict names."""
    by_name = {each.name: each for each in study.variants}
    found, told = study.headline, []
    fastest = {key: found.get(key) for key in ("teacher_latency", "teacher_throughput")}
    words = ("at batch 1 and in throughput",) if len(set(fastest.values())) == 1 else ("at batch 1", "in throughput")
    for name, where in zip(dict.fromkeys(fastest.values()), words, strict=True):
        if name in by_name:
            told.append(f"The fastest language model {where}: {sentence(by_name[name])}.")
    student = by_name.get(str(found.get("student", "")))
    if student:
        told.append(f"The GAN: {sentence(student)}.")
    record = student.quality.get("fd") if student else None
    n = number(record or {}, "n") or study.protocol.get("n")
    under = [f"{threads_told(study)} on either side"]
    under += [f"on {hardware(study)}"] if hardware(study) else []
    under += (
        [f"distances over {n:,.0f} images ({(record or {}).get('name', 'name not recorded')})"] if is_number(n) else []
    )
    return [*told, f"Measured with {', '.join(under)}."] if told else []


def sentence(each: Variant) -> str:
    """A variant with its times and its distance."""
    value, ends = distance(each), interval(each.quality.get("fd") or {})
    quality = f"distance {figure(value)}" + (f" ({span(*ends)})" if ends else "") if value else "distance not measured"
    timing = each.timing
    return (
        f"{model_name(each.model)}, {form_name(each.form)}: {figure(timing.p50_ms)} ms an image (p95 "
        f"{figure(timing.p95_ms)} ms), {figure(timing.throughput)} images a second at batch {timing.batch}, {quality}"
    )


def models(study: Study) -> list[tuple[str, str]]:
    """Each student's name and what it is."""
    names = dict.fromkeys(each.model for each in study.variants if each.kind == "student")
    return [(model_name(name), str((study.ablation.get(name) or {}).get("what") or "")) for name in names]


def sheet(name: str, data: bytes) -> Picture:
    """A picture under its model's name."""
    found = picture(name, data)
    title = model_name(name)
    return replace(found, title=title[0].upper() + title[1:], alt=f"A sheet of images of {title}.", caption="")


def ceiling_facts(study: Study) -> dict[str, Any] | None:
    """The tokenizer's facts, and the figures of its reconstructions."""
    if not study.tokenizer:
        return None
    figures = tokenizer_records(study)
    inner = study.tokenizer.get("reconstruction")
    others = {**study.tokenizer, **(inner if isinstance(inner, Mapping) else {})}
    return {
        "facts": plain.facts(others, skip=(*figures, "reconstruction")),
        "figures": [
            {
                "title": titled(key),
                "name": record["name"],
                "value": figure(record["value"], metric(key).style),
                "interval": span(*ends, metric(key).style) if (ends := interval(record)) else "",
                "floor": figure(number(record, "floor"), metric(key).style),
            }
            for key, record in figures.items()
        ],
    }


def gap(study: Study) -> str:
    """The language model's distance beside its ceiling and its floor, in a sentence."""
    best, real = ceiling(study), floor(study)
    scored = [(value, each) for each in study.variants if each.kind == "teacher" and (value := distance(each))]
    if best is None or not scored:
        return ""
    value, each = min(scored, key=lambda pair: pair[0])
    text = (
        f"A perfect language model on this tokenizer would score about {figure(best)}; "
        f"this one’s best form ({form_name(each.form)}) scores {figure(value)}, {figure(value / best)} times as much"
    )
    return text + (f". Real images score {figure(real)}." if real else ".")


def prompts(study: Study) -> dict[str, Any] | None:
    """Encoder, paths, adherence; whatever else is given as facts."""
    given = study.prompts
    if not given:
        return None
    names = {key: ", ".join(split(key)) for key in given.get("paths") or {}}
    tables = []
    for key, title in (
        ("encoder", "Text encoder"),
        ("paths", "From prompt to pixels"),
        ("adherence", "Adherence to prompts"),
    ):
        value = given.get(key)
        mapping = value if isinstance(value, Mapping) else {} if value is None else {key: value}
        tables.append(
            {
                "title": title,
                "table": plain.table(mapping, names=names),
                "facts": plain.facts(plain.rest(mapping)),
                "note": "Not measured." if not mapping else "",
            }
        )
    return {"tables": tables, "facts": plain.facts(given, skip=("encoder", "paths", "adherence"))}


def split(name: str) -> tuple[str, str]:
    """A variant's name -> what to call its model and its form."""
    model, _, form = name.partition(" ")
    return model_name(model), form_name(form) if form else ""


def not_measured(study: Study) -> list[str]:
    """The parts of the study that are empty, in words."""
    missing = [words for part, words in NOT_MEASURED.items() if not getattr(study, part)]
    return missing if study.variants else ["times and quality of any variant", *missing]
