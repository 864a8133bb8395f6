"""Ratios of made-up variants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from ganline.acceleration.ratios import is_no_farther, verdict
from ganline.acceleration.study import Timing, Variant
from ganline.errors import GateError
from tests.unit.scores import record


def variant(
    model: str,
    form: str,
    p50_ms: float,
    fd: float | None,
    *,
    throughput: float = 100.0,
    batch: int = 64,
    noise: float = 0.01,
    offsets: Sequence[float] | None = None,
) -> Variant:
    """A variant whose fd varies over ten seeds by `noise` times a fixed pattern, or by `offsets`."""
    pattern = np.linspace(-1.0, 1.0, 10) * noise if offsets is None else np.asarray(offsets)
    return Variant(
        model=model,
        kind="teacher" if model == "teacher" else "student",
        form=form,
        timing=Timing(
            p50_ms, 2 * p50_ms, 3 * p50_ms, p50_ms, throughput, batch, cold_ms=1.0, rounds=50, batch_rounds=9
        ),
        quality={} if fd is None else {key: record(key, fd + pattern) for key in ("fd", "fd_second")},
        num_bytes=1,
        macs=1,
    )


TEACHERS = [
    variant("teacher", "eager", 30.0, 2.0, throughput=300.0),
    variant("teacher", "onnx", 10.0, 2.0, throughput=200.0),
    variant("teacher", "int8", 12.0, 2.2, throughput=400.0),
]


def test_the_student_is_one_form_and_the_teacher_at_its_best_in_every_respect() -> None:
    students = [
        variant("s1", "int8", 0.2, 2.1, throughput=9000.0),  # worse than 2.0 beyond its interval
        variant("s1", "onnx", 0.4, 1.95, throughput=4000.0),
        variant("s2", "eager", 0.5, 1.5, throughput=8000.0),
    ]
    found = verdict([*TEACHERS, *students])
    equal = found["equal"]
    assert (equal["student"], equal["teacher_best"]) == ("s1 onnx", "teacher onnx")
    assert (equal["teacher_latency"], equal["teacher_throughput"]) == ("teacher onnx", "teacher int8")
    assert equal["latency_ratio"] == pytest.approx(10.0 / 0.4)
    assert equal["first_ratio"] == pytest.approx(equal["teacher_first_ms"] / equal["student_first_ms"])
    assert (equal["teacher_first_ms"], equal["student_first_ms"]) == (pytest.approx(30.0), pytest.approx(1.2))
    assert equal["throughput_ratio"] == pytest.approx(4000.0 / 400.0)
    assert equal["difference"] == pytest.approx(-0.05) and equal["surely_better"]
    best = found["best"]
    assert best["student"] == "s2 eager" and best["latency_ratio"] == pytest.approx(20.0)
    assert best["throughput_ratio"] == pytest.approx(20.0)
    ours, theirs = "s1 in onnx form", "the language model in {} form"
    for part in (ours, theirs.format("onnx"), theirs.format("int8"), "25.0 times", "10.0 times", "-0.050", "batch 64"):
        assert part in found["words"], part


def test_only_a_difference_that_the_seeds_can_tell_makes_a_student_no_farther() -> None:
    teacher = variant("teacher", "eager", 30.0, 2.0, noise=0.0)
    wide = [0.3, -0.2, 0.25, -0.25, 0.1, -0.1, 0.2, -0.2, 0.3, -0.3]

    def passes(fd: float, **how) -> bool:
        return is_no_farther(variant("s1", "onnx", 1.0, fd, **how), [teacher], "fd", halves=True)

    assert passes(1.95, offsets=[0.01, -0.01] * 5)
    assert not passes(1.95, offsets=wide)  # noise is no equal quality
    assert not passes(2.05, offsets=[0.01, -0.01] * 5)
    assert passes(2.0, noise=0.0)
    assert not verdict([teacher, variant("s1", "onnx", 1.0, 2.0, noise=0.0)])["equal"]["surely_better"]


def test_without_an_equal_student_there_is_no_ratio_at_equal_quality_but_one_at_best() -> None:
    found = verdict([*TEACHERS, variant("s1", "int8", 0.2, 2.5), variant("s1", "onnx", 0.5, 2.4)])
    assert found["equal"] is None and "no ratio at equal quality" in found["words"]
    assert (
        "What the nearest GAN has: s1 in onnx form" in found["words"] and "is 2.400, against 2.000 of" in found["words"]
    )
    assert found["best"]["student"] == "s1 onnx" and found["best"]["interval"][0] > 0


def test_of_forms_of_one_networks_numbers_the_fastest_is_the_nearest() -> None:
    students = [variant("s1", "eager", 0.4, 2.4), variant("s1", "onnx", 0.2, 2.4), variant("s1", "int8", 0.1, 2.5)]
    assert verdict([*TEACHERS, *students])["best"]["student"] == "s1 onnx"


def test_a_study_without_a_teacher_or_of_two_protocols_is_refused() -> None:
    student = variant("s1", "onnx", 0.5, 1.9)
    with pytest.raises(GateError, match="no teacher"):
        verdict([student])
    with pytest.raises(GateError, match="no student"):
        verdict([*TEACHERS, variant("s1", "onnx", 0.5, None)])
    with pytest.raises(GateError, match="batch 64 and 32"):
        verdict([*TEACHERS, variant("s1", "onnx", 0.5, 1.9, batch=32)])
    other = variant("s1", "int8", 0.5, 1.9)
    other.quality["fd"]["n"] = 100
    with pytest.raises(GateError, match="two protocols"):
        verdict([*TEACHERS, other])


def with_second(each: Variant, fd_second: float) -> Variant:
    pattern = np.linspace(-1.0, 1.0, 10) * 0.01
    return replace(each, quality=dict(each.quality) | {"fd_second": record("fd_second", fd_second + pattern)})


def test_of_forms_that_are_as_fast_the_nearest_to_real_images_is_told() -> None:
    students = [variant("s4", "int8", 0.130, 1.9), variant("s1", "int8", 0.133, 1.2), variant("s1", "onnx", 0.2, 1.1)]
    assert verdict([*TEACHERS, *students])["equal"]["student"] == "s1 int8"


def test_equal_quality_is_asked_of_both_extractors() -> None:
    teachers = [with_second(each, 0.5) for each in TEACHERS]
    liked_once = with_second(variant("s1", "int8", 0.1, 1.0), 0.7)
    liked_twice = with_second(variant("s2", "int8", 0.3, 1.5), 0.4)
    found = verdict([*teachers, liked_once, liked_twice])
    assert found["equal"]["student"] == "s2 int8" and found["nearer"]["student"] == "s1 int8"
    assert "distance by the second extractor 0.500 and 0.400" in found["words"]
    alone = verdict([*teachers, liked_once])
    assert alone["equal"] is None and alone["nearer"]["student"] == "s1 int8"
    assert alone["words"].startswith(
        "By the first extractor alone, so that this is no ratio at equal quality: s1 in int8"
    )


def test_by_further_extractors_the_whole_interval_must_lie_below_the_margin() -> None:
    teachers = [with_second(each, 0.5) for each in TEACHERS]
    student = variant("s1", "int8", 0.1, 1.0)
    assert verdict([*teachers, with_second(student, 0.54)])["equal"]
    assert verdict([*teachers, with_second(student, 0.56)])["equal"] is None
    noisy = 0.5 + np.array([0.2, -0.2] * 5)  # on average no farther, but nobody can tell
    unsure = replace(student, quality=dict(student.quality) | {"fd_second": record("fd_second", noisy)})
    assert verdict([*teachers, unsure])["equal"] is None


def test_a_form_that_lacks_a_distance_is_of_no_equal_quality() -> None:
    student = variant("s1", "int8", 0.1, 1.0)
    without = [replace(each, quality={"fd": each.quality["fd"]}) for each in (TEACHERS[0], student)]
    assert verdict([TEACHERS[0], student])["equal"]
    for pair in ([without[0], student], [TEACHERS[0], without[1]]):
        assert verdict(pair)["equal"] is None and verdict(pair)["nearer"]["student"] == "s1 int8"


def test_each_extractor_asks_it_of_the_teachers_form_that_is_best_by_it() -> None:
    best_by_first, best_by_second = with_second(TEACHERS[1], 0.6), with_second(TEACHERS[2], 0.5)
    student = with_second(variant("s1", "int8", 0.1, 1.0), 0.58)
    assert verdict([best_by_first, student])["equal"]
    found = verdict([best_by_first, best_by_second, student])
    assert found["equal"] is None and found["nearer"]["beside"]["fd_second"] == pytest.approx([0.5, 0.58])


def test_what_fresh_real_images_say_of_the_pair_stands_beside_and_decides_nothing() -> None:
    student = variant("s1", "int8", 0.1, 1.0)
    fresh = {
        "teacher onnx": {"fd": record("fd", 2.0 + np.zeros(10))},
        "s1 int8": {"fd": record("fd", 2.5 + np.zeros(10))},
    }
    found = verdict([TEACHERS[1], student], confirmation=fresh)
    assert found["equal"]["confirmed"]["fd"]["difference"] == pytest.approx(0.5)
    assert (
        "Once more, on real images that no form was chosen by and from other noise: +0.500 (+0.500 to +0.500)"
        in found["words"]
    )
    assert verdict([TEACHERS[1], student])["equal"]["confirmed"] == {}


def test_fresh_images_compare_with_the_teachers_form_that_was_best_by_each_distance() -> None:
    teachers = [with_second(TEACHERS[1], 0.6), with_second(TEACHERS[2], 0.5)]
    student = with_second(variant("s1", "int8", 0.1, 1.0), 0.4)
    fresh = {
        name: {"fd": record("fd", first + np.zeros(10)), "fd_second": record("fd_second", second + np.zeros(10))}
        for name, first, second in (
            (teachers[0].name, 2.0, 0.9),
            (teachers[1].name, 3.0, 0.5),
            (student.name, 1.5, 0.7),
        )
    }
    found = verdict([*teachers, student], confirmation=fresh)["equal"]["confirmed"]
    assert found["fd"]["teacher"] == teachers[0].name and found["fd"]["difference"] == pytest.approx(-0.5)
    assert found["fd_second"]["teacher"] == teachers[1].name and found["fd_second"]["difference"] == pytest.approx(0.2)


def in_halves(each: Variant, fd: float, *, tilt: float) -> Variant:
    """Its distances, against the halves `tilt` above and below them."""
    values = fd + np.linspace(-1.0, 1.0, 10) * 0.01
    halves = np.stack([values + tilt, values - tilt], axis=1)
    return replace(each, quality=dict(each.quality) | {"fd": record("fd", values, halves=halves)})


def test_equal_quality_is_asked_of_each_half_of_the_real_images() -> None:
    teacher = in_halves(TEACHERS[1], 2.0, tilt=0.0)
    student = variant("s1", "int8", 0.1, 1.5)
    assert is_no_farther(in_halves(student, 1.5, tilt=0.4), [teacher], "fd", halves=True)
    assert not is_no_farther(in_halves(student, 1.5, tilt=0.6), [teacher], "fd", halves=True)  # worse against one half
    assert is_no_farther(in_halves(student, 1.5, tilt=0.6), [teacher], "fd")
    found = verdict([teacher, in_halves(student, 1.5, tilt=0.4)])["equal"]
    assert found["interval"] == pytest.approx([-0.5, -0.5])
    assert [low for low, _ in found["halves"]] == pytest.approx([-0.1, -0.9])
    low, high = found["interval_of_halves_at_random"]  # one degree of freedom: told, and decides nothing
    assert low < -5 and high > 4
    assert (
        "against each half of the real images -0.100 to -0.100 and -0.900 to -0.900"
        in verdict([teacher, in_halves(student, 1.5, tilt=0.4)])["words"]
    )
