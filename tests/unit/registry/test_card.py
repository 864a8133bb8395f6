"""The model card: what stands beside a model wherever it goes."""

from __future__ import annotations

from ganline.config import load_config
from ganline.models.config import ImageSpec
from ganline.registry.bundle import ModelSpec
from ganline.registry.card import extractor_lines, metric_rows, model_card
from tests.unit.evaluation.page_figures import fashion
from tests.unit.test_config import ROOT


def test_a_card_holds_both_distances_and_how_often_each_extractor_is_right() -> None:
    metrics, train = fashion(), load_config(ROOT).train
    spec = ModelSpec(dataset="fashion-mnist", model=train.model, image=ImageSpec(resolution=28, channels=1))
    card = model_card(spec, metrics, train)
    for key in ("fd", "fd_second"):
        assert metrics[key]["name"] in card
    assert (
        "primary extractor `classifier_fashion-mnist@be761274`, classifier, right on 92.4 % of real validation images"
        in card
    )
    assert "holdout extractor `classifier_fashion-mnist@77ac01d2`" in card and "right on 91.9 %" in card


def test_the_first_figures_are_the_distances_by_both_extractors() -> None:
    names = [name for name, _ in metric_rows(fashion())]
    assert names[:2] == [fashion()["fd"]["name"], fashion()["fd_second"]["name"]]


def test_what_is_not_known_of_an_extractor_is_left_out() -> None:
    metrics = {"extractors": {"first": {"name": "a@1"}, "inception2015": {"name": "inception2015"}}}
    assert extractor_lines(metrics) == ["primary extractor `a@1`", "inception2015 extractor `inception2015`"]
    assert extractor_lines({}) == []
