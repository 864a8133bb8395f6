"""What the study's times and distances say together. Pure: variants in, plain data and words out.

The teacher is taken at its best in every respect: its distance is that of its best form, its latency that of its
fastest form at batch 1, its throughput that of its fastest form in batches; these may be three forms. The student is
one form, which must hold all its figures at once.

Equal quality: the student's distance is no higher beyond its interval, paired by seed, against all real images and
against each half of them alone; and no other extractor's is surely higher. An interval that takes the two halves as
drawn at random beside the seeds has a single degree of freedom for them: it is told, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ganline.acceleration.study import Variant
from ganline.errors import GateError
from ganline.evaluation.uncertainty import Difference, paired_difference, paired_intervals

FD = "fd"
DISTANCES = ("fd", "fd_second")
DIVERSITY = ("recall", "coverage")
TIED = 1.05
"""Latencies up to so many times the least count as equal: then the nearest to real images is taken."""
NONE_EQUAL = "No student form is surely as near to real images as the teacher: there is no ratio at equal quality."


def distance(variant: Variant, key: str = FD) -> float:
    """The variant's distance to real images."""
    return float(variant.quality[key]["value"])


def pareto(variants: Sequence[Variant], key: str = FD) -> list[Variant]:
    """Variants that no other beats: none is as fast at p50 and as near to real images, and better in one of them.
    Fastest first."""

    def place(variant: Variant) -> tuple[float, float]:
        return variant.timing.p50_ms, distance(variant, key)

    def beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
        return a != b and a[0] <= b[0] and a[1] <= b[1]

    measured = [variant for variant in variants if key in variant.quality]
    front = [own for own in measured if not any(beats(place(other), place(own)) for other in measured)]
    return sorted(front, key=place)


def verdict(variants: Sequence[Variant], key: str = FD) -> dict[str, Any]:
    """What the page and MLflow say: the front, the ratios at equal quality, those at best quality.

    `equal` is None where no student form is surely as good as the teacher. Raises GateError without a teacher or a
    student.
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
    best = min(teachers, key=lambda variant: distance(variant, key))
    equal = [student for student in students if is_no_worse(student, best, key)]
    least = min((student.timing.p50_ms for student in equal), default=0.0)
    tied = [student for student in equal if student.timing.p50_ms <= TIED * least]
    fastest = min(tied, key=lambda variant: distance(variant, key), default=None)
    nearest = min(students, key=lambda variant: distance(variant, key))
    at_equal = None if fastest is None else against(fastest, best, teachers, key)
    return {
        "front": [variant.name for variant in pareto(variants, key)],
        "teacher_best": best.name,
        "equal": at_equal,
        "best": against(nearest, best, teachers, key),
        "words": words(at_equal) if at_equal else NONE_EQUAL,
    }


def is_no_worse(student: Variant, teacher: Variant, key: str = FD) -> bool:
    """Whether the student is surely no farther from real images by `key`, and not surely farther by the other
    extractor. Strict on purpose: a noisy figure is no equal quality."""
    by_key = paired_intervals(key, teacher.quality[key], student.quality[key])
    others = [each for each in DISTANCES if each != key and each in teacher.quality]
    by_others = [paired_intervals(each, teacher.quality[each], student.quality[each])[0] for each in others]
    return all(high <= 0.0 for _, high in by_key) and all(low <= 0.0 for low, _ in by_others)


def against(student: Variant, best: Variant, teachers: Sequence[Variant], key: str) -> dict[str, Any]:
    """Ratios of one student form against the teacher's fastest forms, and its distance against the best one."""
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
    beside = {
        each: [best.quality[each]["value"], student.quality[each]["value"]]
        for each in (*DISTANCES[1:], *DIVERSITY)
        if each in best.quality and each in student.quality
    }
    return {
        "beside": beside,
        "student": student.name,
        "teacher_best": best.name,
        "teacher_latency": quickest.name,
        "teacher_throughput": widest.name,
        "latency_ratio": quickest.timing.p50_ms / student.timing.p50_ms,
        "throughput_ratio": student.timing.throughput / widest.timing.throughput,
        "student_ms": student.timing.p50_ms,
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


def words(found: dict[str, Any]) -> str:
    """One paragraph that says what was compared with what."""
    low, high = found["interval"]
    halves = " and ".join(f"{low:+.3f} to {high:+.3f}" for low, high in found["halves"])
    halves = f" (against each half of the real images {halves})" if halves else ""
    return (
        f"{found['student']} makes an image in {found['student_ms']:.2f} ms, "
        f"{found['latency_ratio']:.1f} times as fast as {found['teacher_latency']} "
        f"({found['teacher_ms']:.2f} ms), the teacher's fastest form at batch 1; "
        f"at batch {found['batch']} {found['student_throughput']:,.0f} images a second, "
        f"{found['throughput_ratio']:.1f} times those of {found['teacher_throughput']} "
        f"({found['teacher_throughput_value']:,.0f}), its fastest form there. "
        f"Its {found['name']} is {found['student_distance']:.3f}, against {found['teacher_distance']:.3f} of "
        f"{found['teacher_best']}, the teacher's best form: {found['difference']:+.3f}, "
        f"95 % interval {low:+.3f} to {high:+.3f}{halves}." + beside(found["beside"])
    )


BESIDE = {"fd_second": "distance by the second extractor", "recall": "recall", "coverage": "coverage"}


def beside(found: dict[str, list[float]]) -> str:
    """What else differs, with either sign: a sentence, or nothing."""
    told = [f"{BESIDE[key]} {teacher:.3f} and {student:.3f}" for key, (teacher, student) in found.items()]
    return f" Teacher's best form and student beside it: {', '.join(told)}." if told else ""
