"""Measured attributes against closed forms, and their thirds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ganline.errors import ConfigError
from ganline.language import attributes
from ganline.language.attributes import (
    ATTRIBUTES,
    HIGH,
    LOW,
    NONE,
    attributes_of,
    brightness,
    colourfulness,
    contrast,
    levels,
    measured,
    size,
    slant,
    thickness,
    thresholds,
)


def drawn(pixels: np.ndarray) -> torch.Tensor:
    """[H, W] in 0..255 -> uint8 [1, 1, H, W]."""
    return torch.from_numpy(pixels.astype(np.uint8))[None, None]


def bar(width: int, length: int = 24, lean: float = 0.0) -> torch.Tensor:
    """An upright stroke; every row above its foot is shifted by `lean` pixels to the right."""
    image = np.zeros((32, 48))
    for row in range(length):
        left = 12 + round(lean * (length - 1 - row))
        image[4 + row, left : left + width] = 255
    return drawn(image)


@pytest.mark.parametrize("width", [1, 2, 3, 5, 8])
def test_a_strokes_thickness_is_its_width(width) -> None:
    # Ink w L over half an outline of 2 (w + L); a long stroke's ends hardly count.
    assert float(thickness(bar(width))) == pytest.approx(width * 24 / (width + 24), rel=0.02)


def test_thickness_counts_ink_not_contrast() -> None:
    faint = (bar(4).double() / 3).to(torch.uint8)
    assert float(thickness(faint)) == pytest.approx(float(thickness(bar(4))), rel=1e-6)


@pytest.mark.parametrize("lean", [-0.5, -0.25, 0.0, 0.25, 0.5, 1.0])
def test_slant_is_the_angle_that_a_stroke_leans_to_the_right(lean) -> None:
    assert float(slant(bar(3, lean=lean))) == pytest.approx(math.degrees(math.atan(lean)), abs=0.7)


def test_slant_mirrors() -> None:
    image = bar(3, lean=0.5)
    assert float(slant(image.flip(3))) == pytest.approx(-float(slant(image)), abs=1e-9)


def test_brightness_and_size_are_of_the_thing_not_of_its_ground() -> None:
    image = np.zeros((20, 20))
    image[5:10, 4:12] = 100
    assert float(brightness(drawn(image))) == 100.0
    assert float(size(drawn(image))) == pytest.approx(40 / 400)
    noisy = np.where(image == 0, attributes.INK - 1, image)
    assert float(brightness(drawn(noisy))) == 100.0


def test_all_of_a_colour_picture_counts() -> None:
    image = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    image[:, :, :4] = 200
    assert float(brightness(image)) == pytest.approx(100.0)
    green = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    green[:, 1] = 100
    assert float(brightness(green)) == pytest.approx(58.7)


def test_contrast_is_the_spread_inside_the_thing() -> None:
    image = np.zeros((20, 20))
    image[:10, :10], image[10:, :10] = 50, 150
    assert float(contrast(drawn(image))) == pytest.approx(50.0)
    assert float(contrast(drawn(np.where(image > 0, 90, 0)))) == 0.0


def test_colourfulness_grows_with_saturation_and_is_zero_for_grey() -> None:
    rng = np.random.default_rng(0)
    colour = torch.from_numpy(rng.integers(0, 256, (1, 3, 16, 16), dtype=np.uint8))
    pale = (colour.double() * 0.2 + 100).to(torch.uint8)
    assert float(colourfulness(colour)) > 3 * float(colourfulness(pale)) > 0
    assert float(colourfulness(colour[:, :1].expand(-1, 3, -1, -1))) == 0.0
    # Hasler & Suesstrunk by hand: opponents alternate between +-1 and +-1/2 of 100.
    half = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    half[0, 0, 0], half[0, 1, 1] = 100, 100  # a red row, a green row: rg = +-100, yb = 50
    assert float(colourfulness(half)) == pytest.approx(100 + 0.3 * 50)


@pytest.mark.parametrize("name", ATTRIBUTES)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_attribute_is_finite_even_of_nothing_and_of_one_image_as_of_many(name, channels, monkeypatch) -> None:
    rng = np.random.default_rng(1)
    images = torch.from_numpy(rng.integers(0, 256, (7, channels, 12, 12), dtype=np.uint8))
    images[3], images[4] = 0, 255
    values = measured((name,), images)
    assert values.shape == (7, 1)
    assert values.isfinite().all()
    monkeypatch.setattr(attributes, "CHUNK", 2)
    assert torch.allclose(measured((name,), images), values, rtol=1e-12)


def test_a_level_is_a_third_of_the_own_class() -> None:
    labels = torch.arange(600) % 2
    values = torch.stack([torch.arange(600.0, dtype=torch.float64) + 1000 * labels, torch.zeros(600).double()], dim=1)
    marks = thresholds(values, labels, 2)
    found = levels(values, labels, marks)
    for label in (0, 1):
        own = found[labels == label, 0]
        assert torch.bincount(own, minlength=3).tolist() == [100, 100, 100]
        assert own.tolist() == [LOW] * 100 + [NONE] * 100 + [HIGH] * 100
    assert marks[1, 0, 1] - marks[0, 0, 1] == pytest.approx(1001)


def test_what_does_not_vary_and_what_is_rare_has_no_levels() -> None:
    labels = torch.tensor([0] * 100 + [1] * (attributes.LEAST_IMAGES - 1))
    values = torch.stack([torch.zeros(len(labels)), torch.arange(len(labels)).float()], dim=1).double()
    marks = thresholds(values, labels, 3)
    assert marks[0, 0].isnan().all()
    assert marks[0, 1].isfinite().all()
    assert marks[1].isnan().all()
    assert marks[2].isnan().all()
    found = levels(values, labels, marks)
    assert (found[:, 0] == NONE).all()
    assert (found[labels == 1] == NONE).all()


def test_data_sets_have_their_attributes() -> None:
    assert attributes_of("mnist", 1) == ("thickness", "slant")
    assert attributes_of("fashion-mnist", 1) == ("brightness",)
    assert attributes_of("cifar10", 3) == ("light",)
    assert attributes_of("stacked-mnist", 3) == ()
    assert attributes_of("mnist", 1, ("size", "size")) == ("size",)
    with pytest.raises(ConfigError, match="'weight'") as caught:
        attributes_of("mnist", 1, ("weight",))
    with pytest.raises(ConfigError, match="two of brightness, light are called"):
        attributes_of("cifar10", 3, ("brightness", "light"))
    assert "brightness" in str(caught.value)


def test_words_of_a_level_differ_from_all_others_of_their_attribute() -> None:
    for attribute in ATTRIBUTES.values():
        assert len({*attribute.low, *attribute.high}) == 6
