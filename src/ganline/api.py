"""For notebooks and other programs: `ganline.load("models:/NAME@champion").sample(n=16, seed=0)`."""

from __future__ import annotations

from pathlib import Path

from ganline.serving.generate import Generator

__all__ = ["Generator", "bundle_folder", "load"]


def bundle_folder(model: str) -> Path:
    """The folder of a model: downloaded (once) for `models:/…`, as named otherwise."""
    if model.startswith("models:/"):
        from ganline.integrations.mlflow_registry import download_bundle

        return download_bundle(model)
    return Path(model)


def load(model: str) -> Generator:
    """Load a generator from `models:/NAME@ALIAS`, `models:/NAME/VERSION` or a bundle folder.

    Raises BundleError if a file is damaged, RegistryError if the registry knows no such model.
    """
    return Generator.from_folder(bundle_folder(model))
