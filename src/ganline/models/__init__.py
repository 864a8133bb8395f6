"""The families of generators and discriminators: config.py lists them, one file holds a family. Imports no torch."""

from ganline.models.config import Conditioning, ImageSpec, ModelConfig

__all__ = ["Conditioning", "ImageSpec", "ModelConfig"]
