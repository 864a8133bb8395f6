"""Pictures of a page: PNG files as data URIs, with the words that belong to them."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image, UnidentifiedImageError

from ganline.errors import DataError
from ganline.images import png_bytes

# name of a picture -> heading, what stands below it, what it shows to those who cannot see it
PICTURES: Mapping[str, tuple[str, str, str]] = {
    "samples": (
        "Samples",
        "Not chosen by hand: fixed seeds, one class a column where there are classes.",
        "A sheet of images that the generator made.",
    ),
    "neighbours": (
        "Nearest training images",
        "Above: generated. Below each: the training image nearest to it by the first extractor. Copies would show.",
        "Two rows of images: generated ones above, the nearest training image below each.",
    ),
    "curves": (
        "Training curves",
        "Over thousands of real images seen (kimg); thin lines are the raw values.",
        "Line charts of the losses, gradients and watched figures during training.",
    ),
    "evolution": (
        "How the images came about",
        "The same latents at growing numbers of images seen; a row is one image.",
        "A grid of images: each row shows one image becoming clearer during training.",
    ),
}

COLUMNS = 3
"""A tall picture is cut into so many columns."""
TALL = 2.0
"""Height by width from which a picture is tall."""


@dataclass(frozen=True)
class Part:
    """PNG data URI and its size in pixels."""

    src: str
    width: int
    height: int


@dataclass(frozen=True)
class Picture:
    """A picture with its words. `parts` are its columns, left to right; one unless it is tall."""

    name: str
    title: str
    caption: str
    alt: str
    parts: Sequence[Part]


def placed(pictures: Mapping[str, bytes]) -> dict[str, Picture]:
    """Pictures by name, known ones first, in the page's order."""
    known = [name for name in PICTURES if name in pictures]
    return {name: picture(name, pictures[name]) for name in [*known, *sorted(set(pictures) - set(known))]}


def picture(name: str, data: bytes) -> Picture:
    """A PNG file as a picture of the page. Raises DataError if it is none."""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as opened:
            size, pixels = opened.size, np.asarray(opened.convert("RGB")) if is_tall(*opened.size) else None
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DataError(
            f"the picture '{name}' of a page is no PNG file",
            expected="the bytes of a PNG",
            remedy="run `dvc repro evaluate`",
        ) from error
    title, caption, alt = PICTURES.get(name, (name, "", f"The picture {name}."))
    parts = [Part(uri(data), *size)] if pixels is None else columns(pixels)
    return Picture(name, title, caption, alt, parts)


def is_tall(width: int, height: int) -> bool:
    return height >= TALL * width


def columns(pixels: np.ndarray) -> list[Part]:
    """uint8 [H, W, 3], charts above each other -> its columns, cut in the widest gap of plain rows near equal parts."""
    cuts = [0, *(gap(pixels, k * len(pixels) // COLUMNS) for k in range(1, COLUMNS)), len(pixels)]
    parts = [pixels[top:bottom] for top, bottom in pairwise(cuts)]
    return [Part(uri(png_bytes(part.transpose(2, 0, 1))), part.shape[1], part.shape[0]) for part in parts]


def gap(pixels: np.ndarray, near: int) -> int:
    """The middle of the largest run of plain rows within a tenth of the height around row `near`; else `near`."""
    reach = len(pixels) // 10
    start = near - reach
    plain = (pixels[start : near + reach] == pixels[0, 0]).all(axis=(1, 2))
    edges = np.flatnonzero(np.diff(np.concatenate([[False], plain, [False]]).astype(np.int8)))
    runs = [(int(b - a), int(a + b) // 2) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return start + max(runs)[1] if runs else near


def uri(data: bytes) -> str:
    """Bytes of a PNG -> a data URI."""
    return "data:image/png;base64," + base64.b64encode(data).decode()
