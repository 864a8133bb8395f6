"""One image as it came about: when each token was there, and what could be seen by then.

Only decoding is timed. The partial images are drawn afterwards, so that looking costs nothing in the recorded times.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch

from ganline.images import to_pixels

GREY = 128
"""Of what is not painted yet."""
CHUNK = 64
"""Partial images that are decoded together."""

Decode = Callable[[torch.Tensor], torch.Tensor]
"""Tokens int64 [N, T] -> images float [N, C, H, W] in [-1, 1]."""


@dataclass(frozen=True)
class Recording:
    """One image, decoded token by token at batch 1.

    `times_ms` [T]: when each token was drawn, in ms from the start, ascending. `done_ms`: when the whole image was
    there, the tokenizer's decoder included. `images` uint8 [T, C, H, W]: what is painted after each token, the rest
    grey; the last one is the image.
    """

    times_ms: tuple[float, ...]
    done_ms: float
    images: np.ndarray

    def __post_init__(self) -> None:
        ordered = all(a <= b for a, b in pairwise((0.0, *self.times_ms, self.done_ms)))
        assert len(self.times_ms) == len(self.images) and ordered, "times ascend, one a partial image"


class Decodes(Protocol):
    """A language model in some form that can be watched."""

    def steps(self, z: torch.Tensor, condition: torch.Tensor | None) -> Iterator[int]:
        """The tokens of one image, each when it is drawn; nothing is computed before the first is asked for."""
        ...

    def decode(self, tokens: torch.Tensor) -> torch.Tensor:
        """As `Decode`."""
        ...


def record(teacher: Decodes, z: torch.Tensor, condition: torch.Tensor | None) -> Recording:
    """Watch one image of noise z [1, T] and a condition of one row. Warm it up before: a first call compiles."""
    return record_tokens(teacher.steps(z, condition), decode=teacher.decode, device=str(z.device))


@torch.inference_mode()
def record_tokens(
    tokens: Iterable[Any], *, decode: Decode, device: str = "cpu", clock: Callable[[], float] = time.perf_counter
) -> Recording:
    """Time a stream of tokens and the decoder after it, then draw what could be seen after each token.

    A token is an integer, or a tensor of one: reading it waits for the device that makes it. `clock` tells seconds.
    """
    drawn: list[int] = []
    seconds: list[float] = []
    start = clock()
    for token in tokens:
        drawn.append(int(token))
        seconds.append(clock() - start)
    row = torch.tensor([drawn], dtype=torch.int64, device=device)
    image = to_pixels(decode(row)).cpu()  # pixels on the host are what ends the clock
    done = clock() - start
    partial = partial_images(row[0], decode=decode)
    partial[-1] = image[0].numpy()
    return Recording(tuple(1000 * each for each in seconds), 1000 * done, partial)


@torch.inference_mode()
def partial_images(tokens: torch.Tensor, *, decode: Decode) -> np.ndarray:
    """Tokens int64 [T] -> uint8 [T, C, H, W]: image i shows tokens 0..i, and grey where others will be.

    Exact for patches and pixels. A convolutional decoder sees a little beyond each patch; there the tokens to come are
    stood in for by token 0, never by themselves: no picture shows what was not drawn yet.
    """
    num = len(tokens)
    drawn = torch.ones(num, num, dtype=torch.bool, device=tokens.device).tril()
    rows = torch.where(drawn, tokens, torch.zeros_like(tokens))
    images = torch.cat([to_pixels(decode(part)).cpu() for part in rows.split(CHUNK)])
    shown = spread(drawn.cpu(), *images.shape[1:])
    return torch.where(shown, images, torch.full_like(images, GREY)).numpy()


def spread(drawn: torch.Tensor, channels: int, height: int, width: int) -> torch.Tensor:
    """Which tokens are drawn, bool [N, T] -> which pixels are, [N, C, H, W].

    Tokens are a square grid of patches row by row, or each value of each pixel: rows, columns, channels.
    """
    num = drawn.shape[1]
    if num == channels * height * width:
        return drawn.unflatten(1, (height, width, channels)).permute(0, 3, 1, 2)
    side = math.isqrt(num)
    assert side**2 == num and not height % side and not width % side, f"{num} tokens are no grid on {height} x {width}"
    grid = drawn.unflatten(1, (1, side, side))
    whole = grid.repeat_interleave(height // side, 2).repeat_interleave(width // side, 3)
    return whole.expand(-1, channels, -1, -1)
