"""What the study adds to what the stages measured."""

from __future__ import annotations

import torch

from ganline.speeding import with_pixels
from ganline.speeding.facts import measures, together


def test_forms_are_held_against_the_eager_one_of_their_own_model() -> None:
    image = torch.arange(8, dtype=torch.uint8).view(2, 1, 2, 2)
    near = image.clone()
    near[0, 0, 0, 0] += 1
    images = {"s1 eager": image, "s1 onnx": near, "s1 compiled": image, "teacher eager": near, "teacher onnx": near}
    told = with_pixels({"s1": {"onnx": {"mean_error_levels": 0.1}}}, images | {"s2 onnx": image})
    assert told["s1"] == {"onnx": {"mean_error_levels": 0.1, "equal_pixels": 0.875}, "compiled": {"equal_pixels": 1.0}}
    assert told["teacher"] == {"onnx": {"equal_pixels": 1.0}} and "s2" not in told


def training(begun: float, ended: float) -> dict:
    return {"trained_in": "float32", "train_seconds": ended - begun, "train_cpu_seconds": 7.0, "span": (begun, ended)}


def test_seconds_of_the_clock_add_up_only_where_trainings_came_one_after_the_other() -> None:
    one_by_one, overlapping = [training(10, 20), training(0, 10)], [training(0, 10), training(9, 19)]
    assert together(one_by_one, measures(one_by_one)) == {
        "trained_in": "float32",
        "train_seconds": 20,
        "train_cpu_seconds": 14.0,
    }
    assert together(overlapping, measures(overlapping)) == {"trained_in": "float32", "train_cpu_seconds": 14.0}
    assert together([training(0, 1), {}], measures([training(0, 1), {}])) == {"trained_in": "float32"}, "from a cache"
