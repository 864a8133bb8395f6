"""What the study's times and distances say together. Pure: variants in, plain data and words out.

The teacher is taken at its best in every respect: its distance is that of its best form, its latency that of its
fastest form at batch 1, its throughput that of its fastest form in batches; these may be three forms. The student is
one form, which must hold all its figures at once.

Equal quality: by the first extractor the student's distance is no higher than that of the teacher's best form, beyond
its interval over seeds of noise, against all real images and against each half alone; by every other extractor the
whole interval lies below MARGIN of the teacher's distance, so that a noisy figure is no equal quality there either.
`nearer` asks the first extractor only. An interval that takes the two halves as drawn at random beside the seeds has a
single degree of freedom for them: it is told, and decides nothing. Intervals say nothing of other trainings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ganline.acceleration.study import Variant
from ganline.errors import GateError
from ganline.evaluation.uncertainty import Difference, paired_difference, paired_intervals

FD = "fd"
DISTANCES = ("fd", "fd_second")
DIVERSITY = ("recall", "coverage")
MARGIN = 0.1
"""Of non-inferiority, by further extractors: the share of the teacher's distance that the whole interval of the
difference must stay below."""
TIED = 1.05
"""Latencies up to so many times the least count as equal: then the nearest to real images is taken."""
NONE_EQUAL = (
    "No GAN is as near to real images as the language model, surely and against each half of the real images: there is "
    "no ratio at equal quality. What the nearest GAN has: "
)
NONE_BY_ALL = "By the first extractor alone, so that this is no ratio at equal quality: "
Confirmation = Mapping[str, Mapping[str, Any]]
"""Name of a variant -> its distances to real images that no other distance has read, from noise of its own: records."""


def distance(variant: Variant, key: str = FD) -> float:
    """The variant's distance to real images, or another figure of it."""
    return float(variant.quality[key]["value"])


def verdict(variants: Sequence[Variant], key: str = FD, *, confirmation: Confirmation | None = None) -> dict[str, Any]:
    """What the page and MLflow say: the ratios at equal quality, at that of the first extractor (`nearer`),
    and at best quality.

    The first two are None where no student form is surely as good. Raises GateError without a teacher or a student.
    """
    teachers, students = (
        [variant for variant in variants if variant.kind == kind and key in variant.quality]
        for kind in ("teacher", "student")
    )
    if not teachers or not students:
        raise GateError(
            f"there is no {'student' if teachers else 'teacher'} with a figure {key}",
            expected="at least one form of a teacher and one of a student, both measured",
            remedy="see what failed in the study, and run ganline speedup again",
        )
    best = nearest(teachers, key)
    by_first = [each for each in students if is_no_farther(each, teachers, key, halves=True)]
    others = [each for each in DISTANCES if each != key]
    by_all = [each for each in by_first if all(is_no_farther(each, teachers, other, margin=MARGIN) for other in others)]

    def told(student: Variant) -> dict[str, Any]:
        return against(student, teachers, key) | {"confirmed": confirmed(student, teachers, confirmation or {})}

    equal, nearer = (told(each) if each else None for each in (fastest(by_all, key), fastest(by_first, key)))
    closest = told(nearest(students, key))
    return {
        "teacher_best": best.name,
        "equal": equal,
        "nearer": nearer,
        "best": closest,
        "words": words(equal) if equal else NONE_BY_ALL + words(nearer) if nearer else NONE_EQUAL + words(closest),
    }


def nearest(variants: Sequence[Variant], key: str) -> Variant:
    """The form of least distance; of those that share it (forms of one network's numbers) the fastest."""
    return min(variants, key=lambda variant: (distance(variant, key), variant.timing.p50_ms))


def is_no_farther(
    student: Variant, teachers: Sequence[Variant], key: str, *, halves: bool = False, margin: float = 0.0
) -> bool:
    """Whether the student is surely no farther from real images than the teacher's best form by this distance, or by no
    more than `margin` of it: against all of them, and with `halves` against each half. Strict on purpose: a noisy
    figure is no equal quality, and neither is one that a form lacks."""
    if any(key not in variant.quality for variant in (student, *teachers)):
        return False
    best = nearest(teachers, key)
    whole, *parts = paired_intervals(key, best.quality[key], student.quality[key])
    bound = margin * distance(best, key)
    return all(high <= bound for _, high in [whole, *(parts if halves else ())])


def fastest(students: Sequence[Variant], key: str) -> Variant | None:
    """The fastest form; of those about as fast the nearest to real images."""
    least = min((student.timing.p50_ms for student in students), default=0.0)
    tied = [student for student in students if student.timing.p50_ms <= TIED * least]
    return nearest(tied, key) if tied else None


def against(student: Variant, teachers: Sequence[Variant], key: str) -> dict[str, Any]:
    """Ratios of one student form against the teacher's fastest forms, and its distance against the best one."""
    best = nearest(teachers, key)
    quickest = min(teachers, key=lambda variant: variant.timing.p50_ms)
    widest = max(teachers, key=lambda variant: variant.timing.throughput)
    if widest.timing.batch != student.timing.batch:
        raise GateError(
            f"throughput was measured at batch {widest.timing.batch} and {student.timing.batch}",
            expected="one batch for all forms",
            remedy="measure all forms in one run (ganline speedup)",
        )
    difference: Difference = paired_difference(key, best.quality[key], student.quality[key])
    (low, high), *halves = paired_intervals(key, best.quality[key], student.quality[key])
    return {
        "beside": also(student, teachers, key),
        "student": student.name,
        "teacher_best": best.name,
        "teacher_latency": quickest.name,
        "teacher_throughput": widest.name,
        "latency_ratio": quickest.timing.p50_ms / student.timing.p50_ms,
        "throughput_ratio": student.timing.throughput / widest.timing.throughput,
        **{f"{clock}_ratio": ratio_by(clock, student, teachers) for clock in ("first", "early")},
        "student_ms": student.timing.p50_ms,
        "student_first_ms": student.timing.first_ms,
        "teacher_first_ms": min(each.timing.first_ms for each in teachers),
        "teacher_ms": quickest.timing.p50_ms,
        "student_throughput": student.timing.throughput,
        "teacher_throughput_value": widest.timing.throughput,
        "batch": student.timing.batch,
        "name": difference.name,
        "student_distance": difference.challenger,
        "teacher_distance": difference.champion,
        "difference": difference.challenger - difference.champion,
        "interval": [low, high],
        "halves": [list(each) for each in halves],
        "interval_of_halves_at_random": [difference.low, difference.high] if halves else None,
        "surely_better": high < 0.0,
    }


def ratio_by(clock: str, student: Variant, teachers: Sequence[Variant]) -> float:
    """How many times faster by another clock, such as that of first passes: the teacher's fastest form by it."""
    key = f"{clock}_ms"
    return float(min(getattr(each.timing, key) for each in teachers) / getattr(student.timing, key))


def also(student: Variant, teachers: Sequence[Variant], key: str) -> dict[str, list[float]]:
    """What else is told of a pair: [teacher's, student's]. The teacher's form is its best by each distance."""
    told = {}
    for each in (*DISTANCES, *DIVERSITY):
        if each != key and all(each in variant.quality for variant in (student, *teachers)):
            best = nearest(teachers, each if each in DISTANCES else key)
            told[each] = [distance(best, each), distance(student, each)]
    return told


def confirmed(student: Variant, teachers: Sequence[Variant], fresh: Confirmation) -> dict[str, dict[str, Any]]:
    """Distance -> the difference student - teacher on real images that no other distance has read, and its interval;
    the teacher's form is the best one by that distance where the choice was made."""
    told, own = {}, fresh.get(student.name, {})
    for key in (each for each in DISTANCES if each in own and all(each in teacher.quality for teacher in teachers)):
        best = nearest(teachers, key).name
        difference = paired_difference(key, fresh[best][key], own[key])
        told[key] = {
            "name": difference.name,
            "teacher": best,
            "difference": difference.value,
            "interval": [difference.low, difference.high],
        }
    return told


def called(name: str) -> str:
    """`s1 int8` and `teacher eager` as parts of a sentence."""
    model, form = name.split()
    return f"{'the language model' if model == 'teacher' else model} in {form} form"


def words(found: dict[str, Any]) -> str:
    """One paragraph that says what was compared with what."""
    low, high = found["interval"]
    halves = " and ".join(f"{low:+.3f} to {high:+.3f}" for low, high in found["halves"])
    halves = f" (against each half of the real images {halves})" if halves else ""
    return (
        f"{called(found['student'])} makes an image in {found['student_ms']:.2f} ms, "
        f"{found['latency_ratio']:.1f} times as fast as {called(found['teacher_latency'])} "
        f"({found['teacher_ms']:.2f} ms), its fastest form at batch 1, one image after another; after other "
        f"work, with cold caches, in {found['student_first_ms']:.2f} ms, {found['first_ratio']:.1f} times as fast "
        f"({found['teacher_first_ms']:.2f} ms); "
        f"at batch {found['batch']} {found['student_throughput']:,.0f} images a second, "
        f"{found['throughput_ratio']:.1f} times those of {called(found['teacher_throughput'])} "
        f"({found['teacher_throughput_value']:,.0f}), its fastest form there. "
        f"Its {found['name']} is {found['student_distance']:.3f}, against {found['teacher_distance']:.3f} of "
        f"{called(found['teacher_best'])}, its best form: {found['difference']:+.3f}, "
        f"95 % interval {low:+.3f} to {high:+.3f}{halves}." + beside(found["beside"]) + again(found["confirmed"])
    )


BESIDE = {"fd_second": "distance by the second extractor", "recall": "recall", "coverage": "coverage"}


def beside(found: dict[str, list[float]]) -> str:
    """What else differs, with either sign: a sentence, or nothing."""
    told = [f"{BESIDE[key]} {teacher:.3f} and {student:.3f}" for key, (teacher, student) in found.items()]
    return f" Beside it, the language model's best form and the GAN: {', '.join(told)}." if told else ""


def again(found: Mapping[str, Mapping[str, Any]]) -> str:
    """What fresh real images and fresh noise say of the same pair: a sentence, or nothing."""
    told = [
        f"{each['difference']:+.3f} ({each['interval'][0]:+.3f} to {each['interval'][1]:+.3f}) by {each['name']}"
        for each in found.values()
    ]
    return (
        f" Once more, on real images that no form was chosen by and from other noise: {', '.join(told)}."
        if told
        else ""
    )
