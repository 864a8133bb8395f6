"""The only conversion between stored pixels (uint8) and network values ([-1, 1]), and picture files."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ganline.files import atomic_path


def to_network(images: torch.Tensor) -> torch.Tensor:
    """uint8 [N, C, H, W] in 0..255 -> float32 [N, C, H, W] in [-1, 1]."""
    return images.to(torch.float32).div_(127.5).sub_(1.0)


def to_pixels(images: torch.Tensor) -> torch.Tensor:
    """float [N, C, H, W] in [-1, 1] (clamped) -> uint8 [N, C, H, W] in 0..255, rounded to nearest; pixels stay as they
    are."""
    if images.dtype == torch.uint8:
        return images
    return images.detach().float().add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def to_pil(image: np.ndarray) -> Image.Image:
    """uint8 [C, H, W] with C in {1, 3} -> a grey or RGB Pillow image."""
    return Image.fromarray(image[0] if image.shape[0] == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))


def grid(images: np.ndarray, *, columns: int | None = None, padding: int = 2, fill: int = 255) -> np.ndarray:
    """uint8 [N, C, H, W] -> one uint8 [C, rows*(H+p)+p, columns*(W+p)+p] picture, row by row."""
    n, c, h, w = images.shape
    columns = min(n, columns or math.ceil(math.sqrt(n)))
    rows = math.ceil(n / columns)
    sheet = np.full((c, rows * (h + padding) + padding, columns * (w + padding) + padding), fill, dtype=np.uint8)
    for i, image in enumerate(images):
        top, left = padding + (i // columns) * (h + padding), padding + (i % columns) * (w + padding)
        sheet[:, top : top + h, left : left + w] = image
    return sheet


def enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    """uint8 [C, H, W] -> [C, H*factor, W*factor] by repeating pixels: small samples stay crisp on a page."""
    return image.repeat(factor, axis=1).repeat(factor, axis=2)


def png_bytes(image: np.ndarray) -> bytes:
    """uint8 [C, H, W] -> the bytes of a PNG without metadata (equal pixels give equal bytes)."""
    buffer = io.BytesIO()
    to_pil(image).save(buffer, format="PNG", optimize=False)
    return buffer.getvalue()


def save_png(path: Path, image: np.ndarray) -> None:
    """Write uint8 [C, H, W] as PNG, atomically."""
    with atomic_path(path) as partial:
        partial.write_bytes(png_bytes(image))
