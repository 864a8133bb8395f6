"""The study's page and picture: whole whatever is missing, and honest about it; equal for equal figures."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganline.acceleration.ratios import verdict
from ganline.page import plain
from ganline.page.fairness import unfairnesses
from ganline.page.pareto import Point, front, points
from ganline.page.pareto_drawing import Box, Line, Mark, Text, apart, drawing, log_ticks
from ganline.page.pareto_png import quality_against_latency_png
from ganline.page.study import render_study
from tests.unit.evaluation.page_figures import record, sheet
from tests.unit.evaluation.test_page import Outline, section
from tests.unit.page.study_figures import empty, study, variant, whole

EVIL = '<script>alert("x")</script>'
PARTS = ("ablation", "tokenizer", "language", "likelihood", "bank", "prompts", "between", "verdict")


def page(**changed: Any) -> str:
    return render_study(study(**changed), pictures={"teacher": sheet(8, 10), "s3": sheet(8, 10)})


def text(html: str) -> str:
    return Outline(html).text


PAGES: dict[str, Any] = {
    "whole": page,
    "empty": lambda: render_study(empty(), pictures={}),
    "no quality": lambda: page(variants=tuple(replace(each, quality={}) for each in whole().variants)),
    "broken values": lambda: page(
        variants=tuple(replace(each, quality={"fd": {"name": "fd", "value": None}}) for each in whole().variants),
        ablation={"s1": {"fd": {"value": float("nan")}}, "s9": {}},
        language={"nats_per_token": None, "baselines": {"uniform": 6.2}},
        likelihood={"real": 2.2, "s1": {"nats_per_token": {"value": 2.4, "interval": [2.3, 2.5]}}},
        prompts={"encoder": None, "adherence": {"s3": 0.88}, "warnings": 3},
        verdict={"words": "", "equal": {"latency_ratio": {"value": 71.0, "interval": [69.0, 73.0]}}, "best": None},
    ),
    **{f"no {part}": lambda part=part: page(**{part: {}}) for part in PARTS},
}


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_whole_and_asks_for_nothing(name: str) -> None:
    outline = Outline(PAGES[name]())
    assert outline.open == []
    assert not re.search(r"\b(None|nan|NaN|undefined)\b", outline.text)
    wanted = [value for _, attributes in outline.tags for key, value in attributes.items() if key in ("src", "href")]
    assert all(str(value).startswith(("data:", "#")) for value in wanted)
    ids = {attributes["id"] for _, attributes in outline.tags if "id" in attributes}
    assert {str(each["href"])[1:] for each in outline.all("a")} <= ids


def test_equal_studies_give_equal_bytes() -> None:
    assert page() == page()
    assert quality_against_latency_png(study()) == quality_against_latency_png(study())


def test_the_ratios_are_told_with_what_was_compared() -> None:
    told = text(section(page(), "headline"))
    assert "73 times" in told and "9.5 times" in told
    assert "language model, ONNX Runtime, int8: 19.8 ms an image" in told
    assert "The GAN: S1, ONNX Runtime, int8: 0.273 ms an image" in told and "Equal quality means" in told
    assert "1 thread on either side, on Intel(R) Xeon(R) Processor, distances over 10,000 images" in told
    assert "fd_classifier_fashion-mnist@be761274_n10k" in told


def test_a_form_that_is_fastest_both_ways_is_told_once() -> None:
    found = whole().verdict
    equal = {**found["equal"], "teacher_throughput": found["equal"]["teacher_latency"]}
    told = text(section(page(verdict={**found, "equal": equal}), "headline"))
    assert (
        "The fastest language model at batch 1 and in throughput: language model, ONNX Runtime, int8: 19.8 ms" in told
    )
    assert told.count("The fastest language model") == 1


def test_without_a_verdict_no_ratio_is_told() -> None:
    told = text(section(page(verdict={}), "headline"))
    assert "No ratio is told" in told and "times" not in told


def test_a_ratio_that_is_not_at_equal_quality_is_no_headline() -> None:
    worse = tuple(each for each in whole().variants if each.model in ("teacher", "s2"))
    found = verdict(worse)
    assert found["equal"] is None
    html = section(page(variants=worse, verdict=found), "headline")
    assert "numbers big" not in html
    assert "there is no ratio at equal quality" in text(html)
    assert "What the nearest GAN has: s2 in onnx form makes an image in" in text(html)


def test_samples_stand_in_the_order_of_the_models_the_language_model_first() -> None:
    html = render_study(study(), pictures={name: sheet(8, 10) for name in ("other", "s1", "s3", "teacher")})
    shown = [html.index(f"A sheet of images of {name}.") for name in ("language model", "S1", "S3", "other")]
    assert shown == sorted(shown)


def test_every_variant_has_its_row_and_its_figures() -> None:
    rows = Outline(section(page(), "variants"))
    assert sum(each.get("scope") == "row" for each in rows.all("th")) == len(whole().variants)
    assert "61.2 ms" in rows.text and "66.1 ms" in rows.text  # p50 and p95
    assert "402/s" in rows.text and "21.4 s" in rows.text and "3.64 MB" in rows.text and "44.8 M" in rows.text
    assert "real: 0.303" in rows.text and "1.11 to 1.15" in rows.text


def test_throughput_per_core_is_throughput_by_threads() -> None:
    told = text(section(page(protocol=dict(whole().protocol) | {"threads": 2}), "variants"))
    assert "402/s201/s a core" in told


def test_students_beside_the_teacher_have_a_line_for_each_extractor() -> None:
    made = {"fd": record("fd", 0.41), "recall": record("recall", 0.71), "fd_second": record("fd_second", 0.052)}
    html = section(page(between={"s2": made, "teacher": made}), "ways")
    rows = [text(row) for row in re.findall(r"<tr>.*?</tr>", html.split("How near to the teacher")[1], re.DOTALL)]
    assert rows[0] == "studentFréchet distanceRecall"
    assert "S2first extractor0.410" in rows[1] and "0.710" in rows[1]
    assert "S2second extractor0.0520" in rows[2] and "not measured" in rows[2]
    assert "against itselffirst extractor" in rows[3] and str(made["fd_second"]["name"]) in html


def test_names_that_differ_between_variants_stand_in_their_cells() -> None:
    first = whole().variants[0]
    other = replace(first, quality=dict(first.quality) | {"fd": record("fd", 1.1) | {"name": "fd_other_n512"}})
    html = section(page(variants=(other, *whole().variants[1:])), "variants")
    assert text(html).count("fd_other_n512") == 1


def test_the_same_form_is_held_against_the_same_form() -> None:
    told = text(section(page(), "forms"))
    assert "ONNX Runtime, float32 24.1 ms, 0.788 ms 31 times" in told
    assert 'id="forms"' not in page(variants=(variant("teacher", "onnx"), variant("s1", "int8")))


@pytest.mark.parametrize("part", PARTS)
def test_what_is_missing_is_said_to_be_missing(part: str) -> None:
    assert "Not measured in this study" not in page()
    html = page(**{part: {}})
    assert "Not measured in this study" in text(section(html, "headline"))
    assert "Parts of the study that were not measured" in text(section(html, "failed"))


def test_failures_are_told_with_their_reason() -> None:
    assert "S2torch.compileno C++ compiler was found" in text(section(page(), "failed"))
    assert "No variant failed." in text(section(page(failed={}), "failed"))


def test_ways_show_each_training_and_those_that_are_missing() -> None:
    html = section(page(), "ways")
    assert "0.981, 1.01, 0.968" in text(html) and "3 seeds: 1 to 3" in text(html)
    assert html.count('class="seed"') == 12 and "few seeds" not in html
    two = {way: each for way, each in whole().ablation.items() if way in ("s1", "s2")}
    assert "Not measured: S3 (" in text(section(page(ablation=two), "ways"))
    few = {"s1": dict(whole().ablation["s1"]) | {"seeds": [1, 2]}}
    assert "▲ few seeds" in text(section(page(ablation=few), "ways"))


def test_likelihood_never_stands_alone() -> None:
    told = text(section(page(), "likelihood"))
    assert told.index("real images") < told.index("own") < told.index("images of S1")
    assert "2.214" in told and "2.303" in told and "at most 2.30 nats" in told


def test_adherence_is_told_as_a_share_of_the_extractors_own_accuracy() -> None:
    told = text(section(page(), "prompts"))
    assert "Adherence to prompts" in told
    assert "s3 in int8: sentences never trained on 2,000 120 0.8840 0.9235 0.9572" in told
    assert "S3, ONNX Runtime, int8 4.49 ms 4.90 ms" in told


def test_what_the_student_loses_is_told() -> None:
    told = text(section(page(), "loses"))
    assert "It does not speed up the language model itself" in told
    for lost in ("Likelihood.", "Editing by tokens.", "Guidance and temperature at sampling time."):
        assert lost in told


def test_the_gap_to_the_ceiling_is_told() -> None:
    assert "would score about 0.641; this one’s best form (PyTorch, eager) scores 1.13, 1.76 times" in text(page())


def test_unfairness_is_shown_open_or_broken_as_the_figures_say() -> None:
    held = {each.title: each.held for each in unfairnesses(whole())}
    not_told = {"Choosing after seeing", "Generalist and specialist"}  # by the fixture
    always = {"One training", "Search on one side"}
    assert {title for title, each in held.items() if each != "held"} == not_told | always
    for fresh, expected in ((-0.1, "held"), (0.1, "broken")):
        pair = dict(whole().verdict["equal"]) | {"confirmed": {"fd": {"name": "x", "interval": [-0.2, fresh]}}}
        seen = unfairnesses(study(verdict=dict(whole().verdict) | {"equal": pair}))
        assert {each.title: each.held for each in seen}["Choosing after seeing"] == expected
    way = whole().headline["student"].split()[0]
    mixed = {name: dict(each) | {"mixture": name == way} for name, each in whole().ablation.items()}
    assert {each.title: each.held for each in unfairnesses(study(ablation=mixed))}["Several against one"] == "broken"
    shares = {"classes": 0.6, "prompts": 0.3, "nothing": 0.1}
    generalist = replace(whole(), language=dict(whole().language) | {"shares": shares})
    assert {each.title: each.held for each in unfairnesses(generalist)}["Generalist and specialist"] == "broken"
    assert {each.held for each in unfairnesses(empty())} == {"open"}
    drawn = study(tokenizer=dict(whole().tokenizer) | {"name": "pixels"})
    assert {each.title: each.held for each in unfairnesses(drawn)}["A slow baseline"] == "broken"
    short = {each.title: each for each in unfairnesses(study(language=dict(whole().language) | {"kimg": 1.0}))}
    assert short["An untrained teacher"].held == "broken" and "less than these" in short["An untrained teacher"].done
    for ratio, held in ((97.0, "held"), (60.0, "broken")):
        best = dict(whole().headline) | {"latency_ratio": 100.0, "first_ratio": ratio}
        told = replace(whole(), verdict={"words": "", "equal": best, "nearer": best, "best": best})
        (clock,) = [each for each in unfairnesses(told) if each.title == "A warm clock"]
        assert clock.held == held and f"it is {ratio:.0f} times" in clock.done
    first, *others = whole().variants
    blind = replace(first, quality={"fd": first.quality["fd"]})
    clocked = dict(whole().language) | {"train_cpu_seconds": 1000.0}
    for bank, held in ((100.0, "held"), (500.0, "broken")):  # four ways of 200 seconds each, and the bank
        ways = {name: dict(each) | {"train_cpu_seconds": 200.0} for name, each in whole().ablation.items()}
        told = study(language=clocked, ablation=ways, bank={"n": 5, "train_cpu_seconds": bank})
        (found_held,) = [each for each in unfairnesses(told) if each.title == "An untrained teacher"]
        assert found_held.held == held and f"the bank took {bank:.0f}" in found_held.done
    found = {each.title: each for each in unfairnesses(study(variants=(blind, *others)))}
    turned = study(parity={"teacher": {"compiled": {"equal_pixels": 0.5}, "onnx": {"equal_pixels": 0.99}}})
    (quality,) = [each for each in unfairnesses(turned) if each.title == "Quality of another form"]
    assert quality.held == "broken" and "50.00% of pixels" in quality.done and "teacher compiled" in quality.done
    assert found["One extractor"].held == "open" and "figure: teacher eager." in found["One extractor"].done
    alone = tuple(each for each in whole().variants if each.name != "teacher int8")
    assert {each.title: each.held for each in unfairnesses(study(variants=alone))}["Unequal treatment"] == "broken"


def test_names_from_outside_are_escaped() -> None:
    html = render_study(
        study(
            dataset=EVIL,
            failed={EVIL: EVIL},
            machine={"device": EVIL},
            bank={EVIL: EVIL},
            variants=(replace(variant("s1", "onnx"), model=EVIL, form=EVIL),),
        ),
        pictures={EVIL: sheet(1, 1)},
    )
    assert "<script" not in html


def test_hosts_and_paths_do_not_reach_the_page() -> None:
    html = page(
        machine={"device": "cpu", "host": "node7", "path": "/home/someone"}, bank={"n": 1, "date": "2026-01-02"}
    )
    assert not re.search("node7|someone|2026-01", html)


def test_the_front_leaves_out_whatever_is_beaten() -> None:
    made = [Point(name, name, "student", "onnx", x, y, None) for name, x, y in BEATEN]
    assert [each.name for each in front(made)] == ["fast", "middle", "best"]


BEATEN = (("best", 9.0, 0.5), ("fast", 1.0, 2.0), ("slow twin", 1.5, 2.0), ("middle", 2.0, 1.0), ("bad", 3.0, 1.5))


@pytest.mark.parametrize("narrow", [False, True])
def test_names_in_the_picture_cover_neither_one_another_nor_a_point(narrow: bool) -> None:
    size = {"width": 340, "height": 430, "size": 12.0} if narrow else {}
    made = drawing(whole(), **size)  # type: ignore[arg-type]
    told = [each for each in made.shapes if isinstance(each, Text) and each.role.endswith(("name", "level"))]
    assert sorted(each.text for each in told if each.role.endswith("name")) == [
        "S1",
        "S2",
        "S3",
        "S4",
        "language model",
    ]
    assert not any(a.box().meets(b.box()) for a, b in combinations(told, 2))
    marks = [Box(m.x - 5, m.y - 5, m.x + 5, m.y + 5) for m in made.shapes if isinstance(m, Mark) and m.tip]
    assert len(marks) == len(whole().variants)
    assert not any(each.box().meets(mark) for each in told for mark in marks)
    assert all(each.box().left >= 0 and each.box().right <= made.width for each in told)


def test_lower_is_better_and_left_is_faster_in_the_picture() -> None:
    made = {each.tip: each for each in drawing(whole()).shapes if isinstance(each, Mark) and each.tip}
    teacher = next(each for tip, each in made.items() if tip.startswith("language model, PyTorch, eager"))
    student = next(each for tip, each in made.items() if tip.startswith("S1, ONNX Runtime, float32"))
    assert student.x < teacher.x and student.y > teacher.y  # y grows downward
    real = next(each for each in drawing(whole()).shapes if isinstance(each, Line) and each.role == "floor")
    assert real.points[0][1] > student.y


def test_a_variant_without_a_distance_is_no_point() -> None:
    first, *others = whole().variants
    assert len(points(study(variants=(replace(first, quality={}), *others)))) == len(others)


def test_the_picture_is_a_png_even_of_nothing() -> None:
    with Image.open(io.BytesIO(quality_against_latency_png(whole()))) as opened:
        pixels = np.asarray(opened)
    assert pixels.shape == (1000, 2000, 3)
    assert (np.abs(pixels.astype(int) - (0x00, 0x72, 0xB2)).sum(2) < 30).sum() > 200  # S1's colour
    assert quality_against_latency_png(empty())[:4] == b"\x89PNG"


def test_heights_are_moved_apart_and_stay_within_bounds() -> None:
    assert apart([10.0, 50.0], 5.0, low=0.0, high=100.0) == [10.0, 50.0]
    assert apart([49.0, 50.0, 51.0], 5.0, low=0.0, high=100.0) == [45.0, 50.0, 55.0]
    assert apart([99.0, 100.0], 5.0, low=0.0, high=100.0) == [95.0, 100.0]
    assert apart([0.0, 1.0], 5.0, low=0.0, high=100.0) == [0.0, 5.0]


@pytest.mark.parametrize(("low", "high"), [(0.2, 90.0), (0.9, 1.3), (0.95, 1.02), (1e-3, 1e4)])
def test_logarithmic_axes_have_a_few_round_ticks(low: float, high: float) -> None:
    found = log_ticks(low, high, most=8)
    assert 2 <= len(found) <= 8 and all(low <= each <= high for each in found) and found == sorted(found)


def test_plain_figures_are_told_with_their_units() -> None:
    given = {
        "cold_ms": 12.345,
        "n": 2000,
        "deep": {"share": 0.5},
        "of": [1, 2],
        "fd": {"value": 1.0, "interval": [0.9, 1.1]},
    }
    assert plain.facts(given) == [
        ("cold", "12.3 ms"),
        ("images (N)", "2,000"),
        ("deep, share", "0.5000"),
        ("of", "1, 2"),
        ("fd", "1.000 (0.900 to 1.10)"),
    ]
    assert plain.facts({"x": None, "yes": True, "top_k": float("inf")})[0] == ("x", "not measured")
