"""The folder that MLflow calls a model: bundle, code, requirements, signature, and what replays it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ganline
from ganline.files import write_bytes
from ganline.registry.bundle import copy_bundle
from ganline.snapshot import package_files

# What the code behind `predict` imports. Given explicitly: MLflow's own guess takes seven seconds.
REQUIREMENTS = ("mlflow", "torch", "numpy", "pandas", "pillow", "safetensors", "pydantic")


def requirements() -> list[str]:
    """Exact versions of this environment; torch without its local suffix (+cpu), which no index serves."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS]


def signature() -> Any:
    """Input: an optional label a row. Output: an image a row. Parameters with their defaults."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    return ModelSignature(
        inputs=Schema([ColSpec("string", "label", required=False)]),
        outputs=Schema(
            [
                ColSpec("long", "row"),
                ColSpec("long", "index"),
                ColSpec("long", "seed"),
                ColSpec("string", "label"),
                ColSpec("string", "image"),
            ]
        ),
        params=ParamSchema(
            [
                ParamSpec("n", "long", 1),
                ParamSpec("seed", "long", 0),
                ParamSpec("truncation", "double", 1.0),
                ParamSpec("label", "string", ""),
            ]
        ),
    )


def copy_package(target: Path) -> Path:
    """Copy of this package's files that may travel: MLflow would take everything that lies in the folder."""
    source = Path(ganline.__file__).parent
    for name in package_files(source, inside=f"src/{source.name}"):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)
    return target


def save_package(
    target: Path, bundle_folder: Path, *, model_id: str, run_id: str, replay_files: Mapping[str, Path | bytes]
) -> None:
    """Write the MLflow model of a bundle to `target`. Raises BundleError if the bundle is damaged."""
    import pandas as pd
    from mlflow.models import Model
    from mlflow.pyfunc import save_model

    with tempfile.TemporaryDirectory(prefix="ganline-") as temporary:
        code = copy_package(Path(temporary) / "ganline")
        bundle = copy_bundle(bundle_folder, Path(temporary) / "bundle")
        labels = bundle.spec.conditioning.labels
        save_model(
            str(target),
            python_model=str(code / "integrations" / "mlflow_model.py"),
            artifacts={"bundle": str(bundle.folder)},
            code_paths=[str(code)],
            pip_requirements=requirements(),
            signature=signature(),
            input_example=(pd.DataFrame({"label": [labels[0] if labels else ""]}), {"n": 4, "seed": 0}),
            mlflow_model=Model(model_id=model_id, run_id=run_id),
        )
    for name, source in replay_files.items():
        path = target / "replay" / name
        if isinstance(source, bytes):
            write_bytes(path, source)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, path)
