"""Warnings and changes in words: each rule speaks where it should and is silent where it should be."""

from __future__ import annotations

from typing import Any

import pytest

from ganline.evaluation.names import BETTER
from ganline.evaluation.uncertainty import Difference, paired_differences
from ganline.page.changes import changes, judge
from ganline.page.glossary import (
    METRICS,
    figure,
    listed,
    metric,
    pair,
    records,
    span,
    split_key,
    spoken,
    titled,
)
from ganline.page.words import SHORTFALLS, STRAYS, Remark, unjudged, warnings
from tests.unit.evaluation.page_figures import FASHION, FIGURES, SHARES, fashion, record, thousand, unlabelled, useful


def texts(remarks: Any) -> list[str]:
    return [remark.text for remark in remarks]


def lost(*names: str) -> dict[str, Any]:
    """A record of class coverage without some classes."""
    shares = {name: 0.0 if name in names else share for name, share in zip(FASHION, SHARES, strict=True)}
    value = 1 - len(names) / len(FASHION)
    more: dict[str, Any] = {"missing": list(names), "num_missing": len(names), "per_class": shares}
    return record("class_coverage", value, std=0.0, floor=1.0, **more)


def test_a_good_model_gives_no_warning() -> None:
    assert warnings(fashion()) == []


def test_a_low_recall_is_told_beside_that_of_real_images() -> None:
    (remark,) = warnings(fashion(recall=0.41))
    assert remark == Remark(
        "recall", "recall is 0.41 where real images score 0.86: parts of the data are missing", True
    )


@pytest.mark.parametrize("key", [key for key in SHORTFALLS if key in FIGURES])
def test_every_shortfall_warns_just_below_its_limit_and_not_just_above(key: str) -> None:
    floor, rule = FIGURES[key][2], SHORTFALLS[key]
    assert floor is not None

    def told(share: float) -> list[tuple[str, bool]]:
        low = record(key, share * floor, std=1e-6, floor=floor)
        return [(remark.key, remark.grave) for remark in warnings({key: low})]

    assert told(rule.limit + 0.001) == []
    assert told(rule.limit - 0.001) == [(key, False)]
    assert told(rule.grave - 0.001) == [(key, True)]


def test_a_shortfall_within_the_interval_is_not_told() -> None:
    assert warnings({"recall": record("recall", 0.72, std=0.1, floor=0.86)}) == []
    assert len(warnings({"recall": record("recall", 0.72, std=0.001, floor=0.86)})) == 1


def test_without_a_floor_nothing_is_judged_and_that_is_said() -> None:
    blind = {"recall": record("recall", 0.01, floor=None), "noise": record("noise", 9.0, better="real")}
    assert warnings(blind) == []
    assert unjudged(blind) == ["Recall", "Noise"]
    assert unjudged(fashion()) == []
    assert "Recall" in unjudged(unlabelled())


def test_a_fault_that_both_extractors_see_is_told_once() -> None:
    assert [remark.key for remark in warnings(fashion(recall=0.41, recall_second=0.42))] == ["recall"]


def test_a_fault_that_only_the_second_extractor_sees_is_told_as_such() -> None:
    (remark,) = warnings(fashion(recall_second=0.42))
    assert remark.text.startswith("recall by the holdout extractor is 0.42 where real images score 0.86")
    assert "the first extractor does not see it" in remark.text


def test_missing_classes_are_named() -> None:
    assert texts(warnings(fashion(class_coverage=lost("Bag", "Ankle boot"))))[0] == (
        "classes Bag and Ankle boot are missing"
    )
    assert texts(warnings(fashion(class_coverage=lost("Bag"))))[0] == "class Bag is missing"


def test_of_many_missing_classes_a_few_are_named_and_all_are_counted() -> None:
    told = texts(warnings(thousand()))
    assert told[0] == "classes 000, 004, 008, 012, 016, 020 and 37 more are missing"
    assert "the number of modes is 957.4 where real images score 1,000: modes are missing" in told


def test_near_copies_are_measured_by_those_among_real_images() -> None:
    assert texts(warnings(fashion(copied_share=0.008))) == [
        "0.8 % of the images are near copies of training images (held-out real ones: 0.1 %)"
    ]
    twins = record("copied_share", 0.008, std=0.0001, floor=0.007, better="lower")
    assert warnings({"copied_share": twins}) == []


def test_images_nearer_to_the_training_set_than_real_ones_are_copies() -> None:
    assert warnings(fashion(c_t=-2.0)) == []
    (remark,) = warnings(fashion(c_t=-4.2))
    assert remark.grave and remark.text.startswith("C_T is −4.20, below −3.00")


@pytest.mark.parametrize("key", [key for key in STRAYS if key in FIGURES])
@pytest.mark.parametrize("side", [0, 1])
def test_pixel_statistics_warn_on_either_side_of_real(key: str, side: int) -> None:
    limit, *meanings = STRAYS[key]
    sign = (-1, 1)[side]
    assert warnings({key: record(key, 1 + sign * (limit - 0.02), std=1e-6, floor=1.0)}) == []
    (remark,) = warnings({key: record(key, 1 + sign * (limit + 0.02), std=1e-6, floor=1.0)})
    assert remark.text.endswith(meanings[side])


def test_extractors_that_disagree_are_told_with_both_ratios() -> None:
    (remark,) = warnings(fashion(fd_second=4.9))
    assert remark.text == (
        "the extractors disagree: the Fréchet distance is 3.6 times its floor by the first and 14 times by the second; "
        "the model may be tuned to the first"
    )


def test_a_distance_over_fewer_images_than_features_is_called_too_large() -> None:
    few = fashion(fd=fashion()["fd"] | {"n": 128})
    (remark,) = warnings(few)
    assert remark.text == (
        "the Fréchet distance compares 128 images, not more than its 128 features: too few, so it comes out too large"
    )
    assert warnings(fashion(fd=fashion()["fd"] | {"n": 129})) == []


def test_classes_with_low_label_accuracy_are_named_worst_first() -> None:
    low = fashion()
    low["label_accuracy"]["per_class"] |= {"Shirt": 0.41, "Coat": 0.5, "Bag": None}
    assert texts(warnings(low)) == ["label accuracy is low for classes Shirt (0.41) and Coat (0.50)"]


def test_a_wide_interval_is_told() -> None:
    wide = record("fd", 1.0, std=0.5, floor=0.9, better="lower")
    (remark,) = warnings({"fd": wide})
    assert remark.text.startswith("the interval of the Fréchet distance is wide (± 36 %)")


def test_harm_as_training_data_is_told_only_where_it_is_sure() -> None:
    useless = useful() | {"augmentation_10pct": record("augmentation_10pct", -0.012, std=0.001)}
    assert "added to 10 % of the real images, generated images lower accuracy by 1.20 points" in texts(
        warnings(fashion(), useless)
    )
    unsure = {"augmentation_10pct": record("augmentation_10pct", -0.012, std=0.1)}
    assert warnings(fashion(), unsure) == []


def test_a_classifier_trained_on_generated_images_is_held_against_one_trained_on_real() -> None:
    (remark,) = warnings({}, {"cas": record("cas", 0.70, std=0.004, floor=0.89)})
    assert remark.text.startswith(
        "accuracy after training on generated images is 0.70 where training on real images gives 0.89"
    )


def test_grave_warnings_come_first() -> None:
    grave = [remark.grave for remark in warnings(fashion(noise=1.9, recall=0.3, fd_second=4.9, c_t=-9.0))]
    assert grave == [True, True, False, False]


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_figures_without_a_finite_value_give_no_warning(value: float | None) -> None:
    broken = {key: {**each, "value": value, "interval": None} for key, each in records(fashion()).items()}
    assert warnings(broken) == []


# --- two models


def compare(champion: dict[str, Any], challenger: dict[str, Any]) -> Any:
    return changes((champion, challenger), paired_differences(champion, challenger))


def test_a_fall_of_recall_names_the_classes_that_went_missing() -> None:
    told = compare(fashion(recall=0.83), fashion(recall=0.61, class_coverage=lost("Sandal", "Bag")))
    assert texts(told.worse) == [
        "recall fell from 0.83 to 0.61: classes Sandal and Bag are missing",
        "the share of classes that appear fell from 1.00 to 0.80",
    ]
    assert told.better == ()


def test_classes_that_came_back_are_named() -> None:
    told = compare(fashion(class_coverage=lost("Bag")), fashion())
    assert texts(told.better) == ["the share of classes that appear rose from 0.90 to 1.00: class Bag is back"]


def test_only_sure_differences_are_told() -> None:
    rng = [0.02, -0.03, 0.01, -0.01, 0.03, -0.02, 0.015, -0.015, 0.005, -0.004]
    noisy = fashion(recall=0.795)
    noisy["recall"]["per_seed"] = {
        seed: value + step for (seed, value), step in zip(noisy["recall"]["per_seed"].items(), rng, strict=True)
    }
    told = compare(fashion(), noisy)
    assert (told.worse, told.better) == ((), ())
    assert "Recall" in told.unsure


def test_a_lower_distance_is_better_and_a_lower_precision_is_worse() -> None:
    told = compare(fashion(), fashion(fd=0.9, precision=0.8))
    assert texts(told.better) == ["the Fréchet distance fell from 1.08 to 0.900"]
    assert texts(told.worse) == ["precision fell from 0.86 to 0.80"]


@pytest.mark.parametrize(("after", "side"), [(1.03, "better"), (1.3, "worse"), (0.97, "better"), (0.8, "worse")])
def test_what_should_be_as_in_real_images_is_better_the_nearer_it_is(after: float, side: str) -> None:
    told = compare(fashion(), fashion(noise=after))
    (remark,) = getattr(told, side)
    assert ("nearer to" if side == "better" else "further from") in remark.text


def test_without_a_floor_nearer_to_real_is_unknown() -> None:
    before, after = (fashion(noise=value) for value in (1.2, 1.1))
    for side in (before, after):
        side["noise"]["floor"] = None
    told = compare(before, after)
    assert texts(told.changed) == ["noise fell from 1.20 to 1.10"]


def test_the_classes_that_moved_most_explain_a_fall_of_label_accuracy() -> None:
    after = fashion(label_accuracy=0.88)
    after["label_accuracy"]["per_class"] = before = dict(fashion()["label_accuracy"]["per_class"])
    before |= {"Shirt": 0.52, "Bag": 0.97, "Dress": 0.99}
    told = compare(fashion(), after)
    assert texts(told.worse) == ["label accuracy fell from 0.91 to 0.88: mostly Shirt (0.69 to 0.52)"]


def test_halves_that_contradict_the_whole_are_not_sure() -> None:
    low = record("fd", 1.0, floor=0.3, better="lower")
    difference = Difference("fd", low["name"], 1.0, 1.1, -0.2, -0.3, -0.1, (-0.2, -0.2))
    assert judge(difference, low, low) == "unsure"


# --- words


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("fd", ("fd", "first")),
        ("fd_second", ("fd", "second")),
        ("fd_inception2015", ("fd", "inception2015")),
        ("modes_kl", ("modes_kl", "first")),
        ("cas_real", ("cas_real", "first")),
        ("unheard_of", ("", "first")),
    ],
)
def test_a_key_is_a_figure_and_the_role_of_its_extractor(key: str, parts: tuple[str, str]) -> None:
    assert split_key(key) == parts


def test_every_figure_of_the_panel_has_words_and_the_same_good_end() -> None:
    assert {key: METRICS[key].better for key in BETTER} == BETTER


def test_titles_say_the_extractor() -> None:
    assert titled("recall_second") == "Recall, holdout extractor"
    assert spoken("fd_inception2015") == "the Fréchet distance by inception2015"
    assert (titled("unheard_of"), metric("unheard_of").group) == ("unheard_of", "others")


def test_only_what_has_a_name_and_a_value_is_a_record() -> None:
    assert list(records(thousand() | {"schema": 2, "zebra": {"name": "z", "value": 1}}))[-1] == "zebra"
    assert {"dataset", "extractors"}.isdisjoint(records(fashion()))


@pytest.mark.parametrize(
    ("value", "style", "text"),
    [
        (1.0758, "number", "1.08"),
        (-4.2, "number", "−4.20"),
        (0.0, "number", "0"),
        (4e-6, "number", "4.0 × 10⁻⁶"),
        (123456.0, "number", "123,456"),
        (0.8611, "share", "0.861"),
        (0.0011, "percent", "0.11 %"),
        (0.012, "points", "+1.20 points"),
        (957.4, "count", "957.4"),
        (1000, "count", "1,000"),
        (None, "number", "–"),
        (float("nan"), "share", "–"),
        (float("inf"), "number", "∞"),
    ],
)
def test_values_are_written_for_people(value: Any, style: Any, text: str) -> None:
    assert figure(value, style) == text


def test_two_values_get_the_digits_that_tell_them_apart() -> None:
    assert pair(0.8312, 0.6123, "share") == ("0.83", "0.61")
    assert pair(0.8312, 0.8344, "share") == ("0.831", "0.834")
    assert span(0.0181, 0.0239, "points") == "+1.81 to +2.39 points"


def test_lists_are_sentences() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(list("abcdefgh")) == "a, b, c, d, e, f and 2 more"
    assert listed(["a", "b"], total=1000) == "a, b and 998 more"
