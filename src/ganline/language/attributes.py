"""Measured attributes of images: plain functions of pixels, so that what a prompt asks for can be measured again.

A level is a third of the class's own training images: "bright" is bright for a sneaker. The middle third has no name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from ganline.errors import ConfigError

INK = 16
"""Grey values of grey images from which a pixel belongs to the thing shown rather than to its black ground."""
LEAST_IMAGES = 30
"""Images of a class from which its thirds are told."""
CHUNK = 4096

NONE, LOW, HIGH = 0, 1, 2
"""Levels of an attribute: the unnamed middle, its lowest and its highest third."""


def grey(images: torch.Tensor) -> torch.Tensor:
    """uint8 [N, C, H, W] -> float64 [N, H, W] in 0..255: luma by ITU-R 601, as Pillow's "L"."""
    if images.shape[1] == 1:
        return images[:, 0].double()
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64, device=images.device)
    return torch.einsum("nchw,c->nhw", images.double(), weights)


def ink(images: torch.Tensor) -> torch.Tensor:
    """uint8 [N, C, H, W] -> bool [N, H, W]: all of a colour picture, what is not black of a grey one."""
    if images.shape[1] == 3:
        return torch.ones_like(images[:, 0], dtype=torch.bool)
    return images[:, 0] >= INK


def brightness(images: torch.Tensor) -> torch.Tensor:
    """Mean grey value of the thing shown, float64 [N] in 0..255; 0 for an empty image."""
    values, mask = grey(images), ink(images)
    return (values * mask).sum((1, 2)) / mask.sum((1, 2)).clamp(min=1)


def size(images: torch.Tensor) -> torch.Tensor:
    """Share of the pixels that the thing shown covers, float64 [N] in 0..1; 1 for every colour picture."""
    return ink(images).double().mean((1, 2))


def contrast(images: torch.Tensor) -> torch.Tensor:
    """Standard deviation of the grey values of the thing shown, float64 [N] in 0..127.5."""
    values, mask = grey(images), ink(images)
    count = mask.sum((1, 2)).clamp(min=1)
    mean = (values * mask).sum((1, 2)) / count
    return (((values - mean[:, None, None]) ** 2 * mask).sum((1, 2)) / count).sqrt()


def colourfulness(images: torch.Tensor) -> torch.Tensor:
    """Hasler & Suesstrunk 2003, "Measuring colourfulness in natural images", eq. 13; float64 [N], 0 for grey."""
    if images.shape[1] == 1:
        return torch.zeros(len(images), dtype=torch.float64, device=images.device)
    red, green, blue = images.double().flatten(2).unbind(1)
    opponents = torch.stack([red - green, (red + green) / 2 - blue])
    spread = opponents.var(2, correction=0).sum(0).sqrt()
    return spread + 0.3 * opponents.mean(2).square().sum(0).sqrt()


def thickness(images: torch.Tensor) -> torch.Tensor:
    """Mean width of the strokes, float64 [N] in pixels: twice the ink over the length of its outline.

    A stroke of width w and length L has the ink w L and an outline of 2 L; ink counts by its grey value, outline is the
    total variation of the picture, so that smooth edges count once. 0 for an empty image.
    """
    values = torch.nn.functional.pad(grey(images) / 255, (1, 1, 1, 1))
    down = values[:, 1:, :-1] - values[:, :-1, :-1]
    across = values[:, :-1, 1:] - values[:, :-1, :-1]
    outline = torch.hypot(down, across).sum((1, 2))
    return 2 * values.sum((1, 2)) / outline.clamp(min=1e-9)


def slant(images: torch.Tensor) -> torch.Tensor:
    """How far strokes lean from the upright, float64 [N] in degrees, positive to the right.

    The shear that undoes it, from second moments of the ink (LeCun et al. 1998's "deslanting"): tan = -mu11 / mu02 with
    y downwards. 0 for an empty image.
    """
    weight = grey(images)
    height, width = weight.shape[1:]
    y = torch.arange(height, dtype=torch.float64, device=images.device)[:, None]
    x = torch.arange(width, dtype=torch.float64, device=images.device)[None, :]
    total = weight.sum((1, 2)).clamp(min=1e-9)[:, None, None]
    dy = y - (weight * y).sum((1, 2), keepdim=True) / total
    dx = x - (weight * x).sum((1, 2), keepdim=True) / total
    shear = (weight * dx * dy).sum((1, 2)) / (weight * dy * dy).sum((1, 2)).clamp(min=1e-9)
    return -torch.atan(shear) * (180 / math.pi)


@dataclass(frozen=True)
class Attribute:
    """What is measured, and three words for its lowest and three for its highest third.

    Captions take the first two in turn; the last is kept for tests with words that were never trained on.
    """

    measure: Callable[[torch.Tensor], torch.Tensor]
    low: tuple[str, str, str]
    high: tuple[str, str, str]

    def words(self, level: int) -> tuple[str, str, str]:
        return self.low if level == LOW else self.high


ATTRIBUTES: Mapping[str, Attribute] = {
    "brightness": Attribute(brightness, ("dark", "black", "dim"), ("bright", "white", "light")),
    "light": Attribute(brightness, ("dark", "dim", "gloomy"), ("bright", "light", "sunny")),  # of a whole picture
    "size": Attribute(size, ("small", "little", "tiny"), ("large", "big", "huge")),
    "contrast": Attribute(contrast, ("plain", "uniform", "flat"), ("patterned", "contrasting", "varied")),
    "colourfulness": Attribute(colourfulness, ("pale", "dull", "faded"), ("colourful", "vivid", "rich")),
    "thickness": Attribute(thickness, ("thin", "slender", "slim"), ("thick", "bold", "fat")),
    "slant": Attribute(slant, ("upright", "straight", "vertical"), ("slanted", "leaning", "tilted")),
}
WRITING = ("thickness", "slant")
OF_DATASET: Mapping[str, tuple[str, ...]] = {
    "mnist": WRITING,
    "digits": WRITING,
    "stacked-mnist": (),  # 1,000 classes of three digits: an attribute of all three at once says little
}
GREY, COLOUR = ("brightness",), ("light",)


def attributes_of(dataset: str, channels: int, chosen: Sequence[str] | None = None) -> tuple[str, ...]:
    """The attributes that a data set is described by: those chosen, or the table's. Raises ConfigError."""
    if chosen is None:
        return OF_DATASET.get(dataset, GREY if channels == 1 else COLOUR)
    if unknown := [name for name in chosen if name not in ATTRIBUTES]:
        raise ConfigError(
            f"captions.attributes: {unknown[0]!r} is not known", expected="some of " + ", ".join(ATTRIBUTES)
        )
    names = tuple(dict.fromkeys(chosen))
    words = [word for name in names for word in {*ATTRIBUTES[name].low, *ATTRIBUTES[name].high}]
    if twice := sorted({word for word in words if words.count(word) > 1}):
        raise ConfigError(
            f"captions.attributes: two of {', '.join(names)} are called {twice[0]!r}",
            remedy="leave one of them out of captions.attributes",
        )
    return names


def measured(names: Sequence[str], images: torch.Tensor) -> torch.Tensor:
    """Attributes of uint8 images [N, C, H, W]: float64 [N, A]."""
    if not names:
        return torch.zeros(len(images), 0, dtype=torch.float64)
    chunks = images.split(CHUNK)
    return torch.cat([torch.stack([ATTRIBUTES[name].measure(chunk) for name in names], dim=1) for chunk in chunks])


def thresholds(values: torch.Tensor, labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """The third, the half and the two thirds of each class's values: float64 [K, A, 3] of [N, A] and labels [N].

    NaN where a class has too few images to tell, or where its thirds are the same value.
    """
    marks = torch.full((num_classes, values.shape[1], 3), torch.nan, dtype=torch.float64)
    at = torch.tensor([1 / 3, 1 / 2, 2 / 3], dtype=torch.float64)
    for label in range(num_classes):
        own = values[labels == label]
        if len(own) >= LEAST_IMAGES and values.shape[1]:
            marks[label] = torch.quantile(own, at, dim=0).T
    apart = marks[:, :, 0] < marks[:, :, 2]
    marks[~apart] = torch.nan
    return marks


def levels(values: torch.Tensor, labels: torch.Tensor, marks: torch.Tensor) -> torch.Tensor:
    """NONE, LOW or HIGH of each image's attributes: int64 [N, A] of values [N, A], labels [N], thresholds [K, A, 3]."""
    own = marks[labels]
    low, high = values < own[:, :, 0], values > own[:, :, 2]  # never true where a threshold is NaN
    return LOW * low.long() + HIGH * high.long()
