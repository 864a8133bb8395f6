"""What the study adds to what the stages measured."""

from __future__ import annotations

import torch

from ganline.speeding import with_pixels


def test_forms_are_held_against_the_eager_one_of_their_own_model() -> None:
    image = torch.arange(8, dtype=torch.uint8).view(2, 1, 2, 2)
    near = image.clone()
    near[0, 0, 0, 0] += 1
    images = {"s1 eager": image, "s1 onnx": near, "s1 compiled": image, "teacher eager": near, "teacher onnx": near}
    told = with_pixels({"s1": {"onnx": {"mean_error_levels": 0.1}}}, images | {"s2 onnx": image})
    assert told["s1"] == {"onnx": {"mean_error_levels": 0.1, "equal_pixels": 0.875}, "compiled": {"equal_pixels": 1.0}}
    assert told["teacher"] == {"onnx": {"equal_pixels": 1.0}} and "s2" not in told
