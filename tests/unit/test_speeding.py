"""What the study adds to what the stages measured."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from ganline.acceleration.study import Timing
from ganline.models.spec import Generator
from ganline.speeding import with_pixels
from ganline.speeding.facts import measures, together
from ganline.speeding.prompting import FromText, ratios


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


class Told(Generator):
    """Paints what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.z_dim, self.prompt_dim = 3, 2

    def forward(self, z: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        assert condition is not None and len(z) == len(condition) and condition.dtype == z.dtype
        return condition


def test_a_form_behind_the_encoder_is_told_the_texts_that_were_drawn_each_time_anew() -> None:
    seen: list[str] = []

    def encoder(texts: Sequence[str]) -> torch.Tensor:
        seen.extend(texts)
        return torch.tensor([[len(text), 1.0] for text in texts])

    G = FromText(Told(), encoder, ["a", "bcd", "ef"])  # type: ignore[arg-type]
    assert (G.z_dim, G.num_classes) == (3, 3)
    told = G(torch.zeros(2, 3, dtype=torch.float64), torch.tensor([1, 2]))
    assert told.tolist() == [[3.0, 1.0], [2.0, 1.0]]
    G(torch.zeros(1, 3), torch.tensor([1]))
    assert seen == ["bcd", "ef", "bcd"]


def timing(p50_ms: float, first_ms: float, throughput: float) -> Timing:
    return Timing(p50_ms, p50_ms, first_ms, p50_ms, throughput, 64, cold_ms=1.0, rounds=5, batch_rounds=5)


def test_of_prompts_each_side_is_told_in_its_fastest_form_by_each_clock() -> None:
    found = ratios(
        {
            "teacher int8": timing(20.0, 50.0, 70.0),
            "teacher onnx": timing(30.0, 40.0, 80.0),
            "prompt int8": timing(10.0, 20.0, 100.0),
            "prompt eager": timing(12.0, 16.0, 90.0),
        }
    )
    assert [value for _, value in sorted(found.items())] == pytest.approx([40 / 16, 100 / 80, 20 / 10])
    assert all("quality of prompts differs" in words for words in found)
    assert ratios({"teacher int8": timing(20.0, 50.0, 70.0)}) == {}
