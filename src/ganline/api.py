"""For notebooks and other programs: `ganline.load("models:/NAME@champion").sample(n=16, seed=0)`."""

from __future__ import annotations

from pathlib import Path

from ganline.serving.generate import Generator

__all__ = ["Generator", "load"]


def load(model: str) -> Generator:
    """Load a generator from `models:/NAME@ALIAS`, `models:/NAME/VERSION` or a bundle folder.

    Raises BundleError if a file is damaged, RegistryError if the registry knows no such model.
    """
    if model.startswith("models:/"):
        from ganline.integrations.mlflow_registry import download_bundle

        return Generator.from_folder(download_bundle(model))
    return Generator.from_folder(Path(model))
