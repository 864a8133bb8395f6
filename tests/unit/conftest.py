"""A small prepared data set of real digits (those that scikit-learn carries)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ganline.data.loader import Prepared
from ganline.files import write_json


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return make_digits(tmp_path_factory.mktemp("prepared"))


def make_digits(folder: Path) -> Prepared:
    """Real digits of three classes, 8x8 brought to 16x16 by repeating pixels."""
    from sklearn.datasets import load_digits

    bunch = load_digits(n_class=3)
    images = (bunch.images * 15.9375).astype(np.uint8)[:, None].repeat(2, axis=2).repeat(2, axis=3)
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", slice(0, 400)), ("val", slice(400, 460)), ("test", slice(460, None))):
        np.save(folder / f"{name}_images.npy", images[rows])
        np.save(folder / f"{name}_labels.npy", bunch.target[rows].astype(np.int64))
    write_json(folder / "dataset.json", {"name": "digits8", "labels": ["0", "1", "2"], "resolution": 16, "channels": 1})
    return Prepared(folder)
