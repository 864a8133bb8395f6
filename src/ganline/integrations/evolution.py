"""What the same latents became along a training: a strip cut from the trainer's sheets (samples/<nimg>.png).

Equal sheets give equal pixels on one build of Pillow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from ganline.images import enlarge, grid, to_pil

MAX_MOMENTS, STRIP_ROWS = 10, 8
CELL = 96
"""About how many pixels wide one image is in the strip."""
SHEET_COLUMNS, SHEET_PADDING = 8, 2
INK, MUTED = "#222222", "#6B6B6B"


def moments(clocks: Sequence[int], count: int = MAX_MOMENTS) -> list[int]:
    """At most `count` of the clocks (images seen), the first and the last among them, evenly spread in log(nimg).

    Most of what there is to see happens early.
    """
    clocks = sorted(set(clocks))
    if len(clocks) <= count:
        return clocks
    logs = np.log([max(clock, 1) for clock in clocks])
    targets = np.linspace(logs[0], logs[-1], count)
    chosen: list[int] = []
    for left, target in zip(range(count - 1, -1, -1), targets, strict=True):
        first = chosen[-1] + 1 if chosen else 0
        open_ = logs[first : len(logs) - left]  # what leaves a clock for each target to come
        chosen.append(first + int(np.abs(open_ - target).argmin()))
    return [clocks[index] for index in chosen]


def strip(frames: Mapping[int, np.ndarray], *, rows: int = STRIP_ROWS) -> np.ndarray:
    """Evolution of the first `rows` fixed latents as uint8 [C, H, W]: a row a latent, a column a moment of training.

    `frames` maps images seen to G_ema's uint8 [N, C, H, W] of the same latents; `moments` chooses among them.
    """
    clocks = moments(list(frames))
    if not clocks:
        return np.full((1, CELL, CELL), 255, dtype=np.uint8)
    shown = np.stack([frames[clock][:rows] for clock in clocks], axis=1)  # [rows, moments, C, H, W]
    side = shown.shape[-1]
    factor, padding = max(1, round(CELL / side)), 1 if side < CELL // 2 else 2
    sheet = grid(shown.reshape(-1, *shown.shape[2:]), columns=len(clocks), padding=padding)
    return headed(enlarge(sheet, factor), clocks, pitch=(side + padding) * factor, edge=padding * factor)


def headed(sheet: np.ndarray, clocks: Sequence[int], *, pitch: int, edge: int) -> np.ndarray:
    """The sheet with the kimg written above each column; columns begin `edge` pixels in, one every `pitch`."""
    size = max(round(0.28 * pitch), 12)
    font, caption = ImageFont.load_default(size), "kimg"
    gap, head = size // 3, round(1.55 * size)
    margin = round(font.getlength(caption)) + 2 * gap
    channels, height, width = sheet.shape
    page = np.full((channels, head + height, margin + width), 255, dtype=np.uint8)
    page[:, head:, margin:] = sheet
    picture = to_pil(page)
    muted, ink = (ImageColor.getcolor(colour, picture.mode) for colour in (MUTED, INK))
    draw, baseline = ImageDraw.Draw(picture), head - size // 3
    draw.text((margin - gap, baseline), caption, fill=muted, font=font, anchor="rs")
    for column, clock in enumerate(clocks):
        middle = margin + edge + column * pitch + (pitch - edge) / 2
        draw.text((middle, baseline), kimg(clock), fill=ink, font=font, anchor="ms")
    pixels = np.asarray(picture)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def kimg(nimg: int) -> str:
    """250016 -> "250", 1984 -> "2", 512 -> "0.5"."""
    return f"{nimg / 1000:,.0f}" if nimg >= 1000 or not nimg else f"{nimg / 1000:.1g}"


def strip_of(samples: Path, *, rows: int = STRIP_ROWS) -> np.ndarray:
    """`strip` of a work folder's samples/<nimg>.png; reads only the sheets that it shows."""
    paths = {int(path.stem): path for path in samples.glob("[0-9]*.png")}
    return strip({clock: cut(read_picture(paths[clock])) for clock in moments(list(paths))}, rows=rows)


def read_picture(path: Path) -> np.ndarray:
    """A grey or RGB PNG as uint8 [C, H, W]."""
    with Image.open(path) as image:
        pixels = np.array(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def cut(sheet: np.ndarray, *, columns: int = SHEET_COLUMNS, padding: int = SHEET_PADDING) -> np.ndarray:
    """The inverse of `images.grid` for square images: uint8 [C, H, W] -> [N, C, side, side], empty places included."""
    channels, height, width = sheet.shape
    pitch = (width - padding) // columns
    tiles = sheet[:, padding:, padding:].reshape(channels, (height - padding) // pitch, pitch, columns, pitch)
    return tiles.transpose(1, 3, 0, 2, 4)[..., :-padding, :-padding].reshape(-1, channels, *2 * (pitch - padding,))
