"""The gate's rules: floors, the paired comparison, guards."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from ganline.errors import GateError
from ganline.registry import promotion
from ganline.registry.promotion import DROPS, FLOORS, FloorsConfig, GuardsConfig, PromotionConfig, judge, judge_floors
from tests.unit.scores import model, record

METRICS = {
    "fd": {"name": "fd_cnn_shapes@1a2b3c4d_n512", "value": 3.0, "ratio": 120.0},
    "fd_second": {"name": "fd_rotation_shapes@5e6f7a8b_n512", "value": 0.7, "ratio": 76.0},
    "class_coverage": {"name": "class_coverage_cnn_shapes@1a2b3c4d", "value": 0.9},
    "coverage": {"name": "coverage_cnn_shapes@1a2b3c4d_n512", "value": 0.8},
    "recall": {"name": "recall_cnn_shapes@1a2b3c4d_n512", "value": 0.6},
    "label_accuracy": {"name": "label_accuracy_cnn_shapes@1a2b3c4d", "value": 0.7},
    "modes": {"name": "modes_cnn_shapes@1a2b3c4d_n26k", "value": 950.0},
    "copied_share": {"name": "copied_share_cnn_shapes@1a2b3c4d_n512", "value": 0.03, "floor": 0.02},
    "c_t": {"name": "c_t_cnn_shapes@1a2b3c4d_n512", "value": -1.0},
}
ALL_OFF = dict.fromkeys(FloorsConfig.model_fields)


def only(**floors: Any) -> FloorsConfig:
    return FloorsConfig(**(ALL_OFF | floors))


def test_every_floor_and_every_drop_that_can_be_configured_is_judged() -> None:
    assert set(FLOORS) == set(FloorsConfig.model_fields)
    assert {*DROPS, "latency_ratio_max"} == set(GuardsConfig.model_fields)


@pytest.mark.parametrize(
    ("floor", "kept", "missed"),
    [
        ("fd_max", 3.0, 2.999),
        ("fd_ratio_max", 120.0, 119.0),
        ("fd_holdout_max", 0.7, 0.69),
        ("fd_holdout_ratio_max", 76.0, 75.0),
        ("class_coverage_min", 0.9, 0.91),
        ("coverage_min", 0.8, 0.81),
        ("recall_min", 0.6, 0.61),
        ("label_accuracy_min", 0.7, 0.71),
        ("modes_min", 950, 951),
        ("copied_share_max", 0.0100001, 0.0099),
        ("c_t_min", -1.0, -0.9),
    ],
)
def test_a_bound_itself_still_passes_and_anything_worse_does_not(floor, kept, missed) -> None:
    for bound, passed in ((kept, True), (missed, False)):
        verdict = judge_floors(METRICS, only(**{floor: bound}))
        assert [row.rule for row in verdict.rows] == [f"floors.{floor}"]
        assert verdict.passed is passed


def test_one_failing_rule_refuses_and_only_it_is_named() -> None:
    verdict = judge_floors(METRICS, FloorsConfig(fd_max=1.0, class_coverage_min=0.5))
    assert not verdict.passed
    assert str(verdict) == "refused: fd_cnn_shapes@1a2b3c4d_n512 is 3 (bound: <= 1)"
    assert verdict.refused == ("fd_cnn_shapes@1a2b3c4d_n512 is 3 (bound: <= 1)",)


def test_a_passing_verdict_names_every_rule() -> None:
    text = str(judge_floors(METRICS, FloorsConfig(fd_max=5.0, class_coverage_min=0.5)))
    assert text.startswith("passed: ")
    assert "fd_cnn_shapes@1a2b3c4d_n512 is 3 (bound: <= 5)" in text
    assert "class_coverage_cnn_shapes@1a2b3c4d is 0.9 (bound: >= 0.5)" in text


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, "0.99", True])
def test_what_is_not_a_finite_number_fails(value) -> None:
    metrics = {"recall": {"name": "recall", "value": value}}
    verdict = judge_floors(metrics, only(recall_min=0.5))
    assert not verdict.passed
    assert "was not measured" in str(verdict)


@pytest.mark.parametrize("metrics", [{}, {"recall": None}, {"recall": {"name": "recall"}}])
def test_a_missing_figure_fails(metrics) -> None:
    assert not judge_floors(metrics, only(recall_min=0.5)).passed


def test_where_there_are_no_classes_a_default_rule_does_not_apply_and_one_that_was_set_fails() -> None:
    metrics = {key: METRICS[key] for key in ("fd", "copied_share", "c_t")}
    verdict = judge_floors(metrics, FloorsConfig(fd_max=5.0))
    assert {row.rule: row.passed for row in verdict.rows}["floors.class_coverage_min"] is None
    assert verdict.passed
    assert "not applicable" in verdict.table()
    assert not judge_floors(metrics, FloorsConfig(fd_max=5.0, class_coverage_min=0.9)).passed


def test_where_there_are_classes_a_figure_that_is_missing_fails_a_default_rule_too() -> None:
    metrics = {key: METRICS[key] for key in ("fd", "copied_share", "c_t")}
    metrics["extractors"] = {"first": {"name": "cnn_shapes@1a2b3c4d", "task": "classifier"}}
    verdict = judge_floors(metrics, FloorsConfig(fd_max=5.0))
    assert [row.rule for row in verdict.rows if row.passed is False] == ["floors.class_coverage_min"]


def test_figures_that_no_rule_could_judge_promote_nobody() -> None:
    verdict = judge_floors({}, FloorsConfig(copied_share_max=None))
    assert {row.passed for row in verdict.rows} == {None}
    assert not verdict.passed
    assert "no rule could be judged" in str(verdict)


def test_latency_is_judged_where_it_was_measured() -> None:
    floors = FloorsConfig(latency_ms_max=2.0)
    assert "floors.latency_ms_max" not in [row.rule for row in judge_floors(METRICS, floors).rows]
    assert judge_floors(METRICS, floors, latency_ms=2.0).passed
    slow = judge_floors(METRICS, floors, latency_ms=2.1)
    assert [row.rule for row in slow.rows if row.passed is False] == ["floors.latency_ms_max"]
    assert not judge_floors(METRICS, floors, latency_ms=math.nan).passed


@pytest.mark.parametrize("kept", [{}, {"latency_ms_max": 3.0}])
def test_floors_that_leave_everything_but_latency_out_are_refused_at_load(kept) -> None:
    with pytest.raises(ValidationError, match="no floor is set"):
        only(**kept)


@pytest.mark.parametrize("bad", [{"class_coverage_min": 1.5}, {"recall_min": 0.0}, {"fd_max": -1}, {"fd_mx": 1}])
def test_floors_that_make_no_sense_are_refused_at_load(bad) -> None:
    with pytest.raises(ValidationError):
        FloorsConfig(**bad)


@pytest.mark.parametrize("seeds", [tuple(range(9)), (1, *range(1, 10)), ()])
def test_a_gate_with_fewer_than_ten_different_seeds_is_refused_at_load(seeds) -> None:
    with pytest.raises(ValidationError):
        PromotionConfig(seeds=seeds)


def failed(verdict) -> list[str]:
    return [row.rule for row in verdict.rows if row.passed is False]


def test_a_model_that_is_surely_better_wins() -> None:
    verdict = judge(model(seed=1), model(seed=2, shift=-0.2), PromotionConfig())
    assert verdict.passed, str(verdict)
    assert verdict.refused == ()
    table = verdict.table()
    assert "min_improvement" in table and "-0.2" in table and "FAILED" not in table


def test_a_model_that_is_worse_is_refused_with_the_interval_in_words() -> None:
    verdict = judge(model(seed=1), model(seed=2, shift=0.2), PromotionConfig())
    assert failed(verdict) == ["min_improvement", "kid", "fd_second", "kid_second"]
    assert "95 % interval" in verdict.refused[0] and "not surely lower" in verdict.refused[0]
    assert "surely higher" in verdict.refused[1]


def test_a_model_against_itself_with_other_draws_is_promoted_in_at_most_one_of_twenty_trials() -> None:
    wins = sum(
        judge(model(seed=2 * trial), model(seed=2 * trial + 1), PromotionConfig()).passed for trial in range(400)
    )
    assert wins <= 20


def test_the_same_scores_are_no_improvement() -> None:
    assert failed(judge(model(seed=1), model(seed=1), PromotionConfig())) == ["min_improvement"]


def test_the_least_improvement_is_a_share_of_the_champion_s_distance() -> None:
    old, new = model(seed=1, noise=0.002), model(seed=2, noise=0.002, shift=-0.2)
    assert judge(old, new, PromotionConfig(min_improvement=0.1)).passed
    verdict = judge(old, new, PromotionConfig(min_improvement=0.25))
    assert failed(verdict) == ["min_improvement"]
    assert "not surely 0.25 of the champion's lower" in verdict.refused[0]


def test_better_on_one_half_of_the_reference_only_is_not_better() -> None:
    verdict = judge(model(seed=1), model(seed=2, shift=-0.1, tilt=0.2), PromotionConfig())
    assert "min_improvement" in failed(verdict)


def test_an_interval_below_zero_does_not_do_where_one_half_is_not_lower(monkeypatch) -> None:
    """The interval of today is so wide that it says the same; the rule does not rest on that."""
    genuine = promotion.paired

    def apart(key, old, new, **options):
        pair = genuine(key, old, new, **options)
        return replace(pair, value=-0.2, low=-0.3, high=-0.1, halves=(-0.41, 0.01)) if key == "fd" else pair

    monkeypatch.setattr(promotion, "paired", apart)
    verdict = judge(model(seed=1), model(seed=2, shift=-0.2), PromotionConfig())
    assert failed(verdict) == ["min_improvement"]
    assert "not lower on both halves of the reference (-0.41 and +0.01)" in verdict.refused[0]


@pytest.mark.parametrize("key", ["kid", "fd_second", "kid_second"])
def test_a_better_distance_that_another_figure_contradicts_is_refused(key) -> None:
    verdict = judge(model(seed=1), model(seed=2, shift=-0.2, **{key: 0.2}), PromotionConfig())
    assert failed(verdict) == [key]


@pytest.mark.parametrize("key", ["kid", "fd_second", "kid_second"])
def test_noisy_halves_of_the_reference_hide_no_figure_that_every_seed_sees_worse(key) -> None:
    new = model(seed=2, shift=-0.2, **{key: 0.2})
    for pair in new.figures[key]["per_half"].values():
        pair[0], pair[1] = pair[0] + 1.0, pair[1] - 1.0
    verdict = judge(model(seed=1), new, PromotionConfig())
    assert failed(verdict) == [key]
    row = next(row for row in verdict.rows if row.rule == key)
    assert 0.1 < row.low < row.change < row.high < 0.3


def test_a_fall_that_may_be_sampling_noise_does_not_refuse_and_a_sure_one_does() -> None:
    fallen = {"fallen": [1.0] * 9 + [0.9], "sure": [0.9] * 9 + [1.0]}
    for name, values in fallen.items():
        new = model(seed=2, shift=-0.2)
        new.figures["class_coverage"] = record("class_coverage", values)
        verdict = judge(model(seed=1), new, PromotionConfig())
        assert failed(verdict) == ([] if name == "fallen" else ["guards.class_coverage_drop_max"])


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"recall": 0.7}, "guards.recall_drop_max"),
        ({"coverage": 0.8}, "guards.coverage_drop_max"),
        ({"class_coverage": 0.95}, "guards.class_coverage_drop_max"),
        ({"latency_ms": 2.1}, "guards.latency_ratio_max"),
        ({"copied_share": 0.07}, "floors.copied_share_max"),
        ({"c_t": -3.1}, "floors.c_t_min"),
    ],
)
def test_a_better_distance_bought_with_something_else_is_refused(change, rule) -> None:
    verdict = judge(model(seed=1), model(seed=2, shift=-0.2, **change), PromotionConfig())
    assert failed(verdict) == [rule]
    assert verdict.refused and all(verdict.refused)


@pytest.mark.parametrize(
    ("copied", "c_t", "floors", "told"),
    [
        (0.01, -9.0, {}, True),
        (0.01, -9.0, {"copied_share_max": None, "fd_max": 5.0}, True),
        (0.9, -9.0, {}, False),
        (0.01, None, {"c_t_min": -3.0}, False),
        (0.01, 0.0, {}, False),
    ],
)
def test_a_low_c_t_without_copies_points_to_variety(copied, c_t, floors, told) -> None:
    figures = METRICS | {"copied_share": {"value": copied, "floor": 0.0}, "c_t": {"value": c_t}}
    row = judge_floors(figures, FloorsConfig(**floors)).rows[-1]
    assert row.rule == "floors.c_t_min"
    assert row.why.endswith("; little variety lowers C_T too: see intra_class_diversity") is told


def test_a_fall_of_exactly_what_is_allowed_passes() -> None:
    old, new = model(seed=1, recall=0.95, coverage=0.95), model(seed=2, shift=-0.2, recall=0.9, coverage=0.9)
    assert judge(old, new, PromotionConfig()).passed


@pytest.mark.parametrize("key", ["fd", "kid", "fd_second", "kid_second", "recall", "coverage", "copied_share"])
def test_whatever_is_missing_refuses(key) -> None:
    verdict = judge(model(seed=1), model(seed=2, shift=-0.2, drop=(key,)), PromotionConfig())
    assert not verdict.passed
    assert "was not measured" in "; ".join(verdict.refused)


def test_a_latency_that_is_no_number_refuses() -> None:
    assert "guards.latency_ratio_max" in failed(
        judge(model(seed=1), model(seed=2, shift=-0.2, latency_ms=math.nan), PromotionConfig())
    )


def test_data_without_classes_can_be_decided_on() -> None:
    drop = ("class_coverage",)
    verdict = judge(model(seed=1, drop=drop), model(seed=2, shift=-0.2, drop=drop), PromotionConfig())
    assert verdict.passed
    skipped = {row.rule for row in verdict.rows if row.passed is None}
    assert skipped == {"floors.class_coverage_min", "guards.class_coverage_drop_max"}
    explicit = PromotionConfig(guards=GuardsConfig(class_coverage_drop_max=0.0))
    verdict = judge(model(seed=1, drop=drop), model(seed=2, shift=-0.2, drop=drop), explicit)
    assert failed(verdict) == ["guards.class_coverage_drop_max"]


def test_figures_of_two_protocols_are_never_compared() -> None:
    new = model(seed=2, shift=-0.2)
    new.figures["fd"]["n"] = 256
    with pytest.raises(GateError, match="two protocols: n is 512 and 256"):
        judge(model(seed=1), new, PromotionConfig())


def test_guards_that_are_null_are_left_out() -> None:
    off = PromotionConfig(guards=GuardsConfig(**dict.fromkeys(GuardsConfig.model_fields)))
    verdict = judge(model(seed=1), model(seed=2, shift=-0.2, recall=0.1, latency_ms=50.0), off)
    assert verdict.passed
    assert not [row for row in verdict.rows if row.rule.startswith("guards.")]


def test_rules_change_their_hash_material_and_seeds_do_not() -> None:
    base = PromotionConfig().rules()
    assert PromotionConfig(seeds=tuple(range(10))).rules() == base
    assert PromotionConfig(n=64).rules() == base
    assert PromotionConfig(min_improvement=0.1).rules() != base
    assert PromotionConfig(floors=FloorsConfig(class_coverage_min=0.9)).rules() != base  # now it was asked for
