"""The registered model as MLflow runs it ("models from code"): a bundle behind `predict`, without any pickle.

MLflow executes this file where the model is loaded, with the copy of the ganline package that lies beside it in
the model's `code/` folder: no checkout is needed. Nothing else imports it.

Input: one row a request, with an optional column `label`. Output: one row an image.
Parameters: n (images a row), seed, truncation, label (for rows that name none).
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from ganline.errors import ConfigError
from ganline.images import png_bytes
from ganline.serving.generate import Generator

BUNDLE = "bundle"
MAX_IMAGES = 4096


class GanlineModel(PythonModel):
    """Answers requests for images with base64 PNGs."""

    def load_context(self, context: PythonModelContext) -> None:
        self.generator = Generator.from_folder(Path(context.artifacts[BUNDLE]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        asked = params or {}
        n, seed = int(asked.get("n", 1)), int(asked.get("seed", 0))
        truncation, default = float(asked.get("truncation", 1.0)), str(asked.get("label", ""))
        # MLflow hands over no rows at all where none of them names a label: that is one request.
        labels = list(model_input["label"]) if "label" in model_input else [None] * max(1, len(model_input))
        rows: list[dict[str, Any]] = []
        try:
            if not 1 <= n * len(labels) <= MAX_IMAGES:
                raise ConfigError(f"{len(labels)} rows of n = {n} images", expected=f"1 to {MAX_IMAGES} images")
            for row, label in enumerate(labels):
                wanted = default if label is None or pd.isna(label) or label == "" else str(label)
                rows += self.paint(row, n=n, seed=seed, truncation=truncation, label=wanted or None)
        except ConfigError as error:
            # Over HTTP this is a 400 with our words; any other exception would lose them.
            raise MlflowException.invalid_parameter_value(str(error)) from error
        return pd.DataFrame(rows)

    def paint(self, row: int, *, n: int, seed: int, truncation: float, label: str | None) -> list[dict[str, Any]]:
        """n output rows of one input row. `label` is empty where the model is unconditional."""
        images, classes = self.generator.sample_with_labels(n, seed=seed, label=label, truncation=truncation)
        names = [""] * n if classes is None else [self.generator.labels[k] for k in classes]
        return [
            {
                "row": row,
                "index": i,
                "seed": seed,
                "label": names[i],
                "image": base64.b64encode(png_bytes(image)).decode("ascii"),
            }
            for i, image in enumerate(images)
        ]


set_model(GanlineModel())
