"""Floors: who may get an alias."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from ganline.registry.promotion import RULES, FloorsConfig, judge_floors

METRICS = {
    "fd": {"name": "fd_cnn_shapes@1a2b3c4d_n512", "value": 3.0, "ratio": 120.0},
    "class_coverage": {"name": "class_coverage_cnn_shapes@1a2b3c4d", "value": 0.9},
    "label_accuracy": {"name": "label_accuracy_cnn_shapes@1a2b3c4d", "value": 0.7},
}


def test_every_floor_that_can_be_configured_is_judged():
    assert set(RULES) == set(FloorsConfig.model_fields)


@pytest.mark.parametrize(
    ("floors", "passed"),
    [
        ({"fd_max": 3.0}, True),
        ({"fd_max": 2.999}, False),
        ({"fd_ratio_max": 120.0}, True),
        ({"fd_ratio_max": 119.0}, False),
        ({"coverage_min": 0.9}, True),
        ({"coverage_min": 0.91}, False),
        ({"label_accuracy_min": 0.7}, True),
        ({"label_accuracy_min": 0.71}, False),
    ],
)
def test_a_bound_itself_still_passes_and_anything_worse_does_not(floors, passed):
    config = FloorsConfig(**({"coverage_min": None} | floors))
    verdict = judge_floors(METRICS, config)
    assert len(verdict.rules) == 1
    assert verdict.passed is passed


def test_one_failing_rule_refuses_and_only_it_is_named():
    verdict = judge_floors(METRICS, FloorsConfig(fd_max=1.0, coverage_min=0.5))
    assert not verdict.passed
    assert str(verdict) == "refused: fd_cnn_shapes@1a2b3c4d_n512 is 3 (floor: <= 1)"


def test_a_passing_verdict_names_every_rule():
    text = str(judge_floors(METRICS, FloorsConfig(fd_max=5.0, coverage_min=0.5)))
    assert text.startswith("passed: ")
    assert "fd_cnn_shapes@1a2b3c4d_n512 is 3 (floor: <= 5)" in text
    assert "class_coverage_cnn_shapes@1a2b3c4d is 0.9 (floor: >= 0.5)" in text


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, "0.99", True])
def test_what_is_not_a_finite_number_fails(value):
    metrics = {"class_coverage": {"name": "class_coverage", "value": value}}
    verdict = judge_floors(metrics, FloorsConfig(coverage_min=0.5))
    assert not verdict.passed
    assert "was not measured" in str(verdict)


@pytest.mark.parametrize("metrics", [{}, {"class_coverage": None}, {"class_coverage": {"name": "class_coverage"}}])
def test_a_missing_metric_fails(metrics):
    assert not judge_floors(metrics, FloorsConfig(coverage_min=0.5)).passed


def test_floors_without_any_rule_are_refused_at_load():
    with pytest.raises(ValidationError, match="no floor is set"):
        FloorsConfig(coverage_min=None)


@pytest.mark.parametrize("bad", [{"coverage_min": 1.5}, {"coverage_min": 0.0}, {"fd_max": -1}, {"fd_mx": 1}])
def test_floors_that_make_no_sense_are_refused_at_load(bad):
    with pytest.raises(ValidationError):
        FloorsConfig(**bad)
