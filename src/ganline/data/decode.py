"""Decoding of picture files from outside: three formats, a cap on pixels, upright, grey or RGB, and never an exception.

Transparent pixels are laid on white; 16-bit grey is scaled to 8; several frames are refused (which one is meant?).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("PNG", "JPEG", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
GREY_MODES = ("1", "L", "LA", "I;16", "I;16L", "I;16B", "I", "F")


def decode(path: Path, *, max_pixels: int) -> tuple[np.ndarray, str]:
    """Pixels uint8 [H, W, C] with C in {1, 3}, turned as EXIF says, and the file's own mode. Raises on a bad file."""
    with Image.open(path, formats=FORMATS) as image:
        mode = image.mode
        if image.width * image.height > max_pixels:
            raise ValueError(f"{image.width}x{image.height} pixels, more than max_pixels = {max_pixels}")
        if getattr(image, "n_frames", 1) > 1:
            raise ValueError(f"an animation of {image.n_frames} frames, not one image")  # type: ignore[attr-defined]
        image.load()
        upright = ImageOps.exif_transpose(image)
        pixels = np.asarray(_opaque(upright))
    return (pixels[..., None] if pixels.ndim == 2 else pixels), mode


def try_decode(path: Path, *, max_pixels: int) -> tuple[np.ndarray | None, str | None, str | None]:
    """Pixels, mode and None; or None, None and why the file cannot be decoded."""
    try:
        return *decode(path, max_pixels=max_pixels), None
    except Exception as error:  # Pillow's decoders raise whatever they like on hostile bytes; each is a manifest row
        text = " ".join(str(error).replace(str(path), path.name).split())[:200]
        return None, None, f"{type(error).__name__}: {text}" if text else type(error).__name__


def _opaque(image: Image.Image) -> Image.Image:
    """The image in mode L or RGB."""
    if image.mode in ("L", "RGB"):
        return image
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65535) // 257).astype(np.uint8))
    grey = image.mode in GREY_MODES
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), layer)
    return image.convert("L" if grey else "RGB")
