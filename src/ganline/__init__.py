"""ganline: from a folder of images to a fast, registered image generator, on one reproducible line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ganline.api import Generator

__version__ = "0.1.0"
__all__ = ["load"]


def load(model: str) -> Generator:
    """Load a generator from `models:/NAME@ALIAS`, `models:/NAME/VERSION` or a bundle folder."""
    from ganline.api import load as _load

    return _load(model)
