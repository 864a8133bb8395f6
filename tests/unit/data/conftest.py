"""Small raw files in the official formats, and the real digits, fetched once."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganline.data.config import DataConfig
from ganline.data.fetching import fetch
from ganline.data.sources import Digits, ImageFolder


@pytest.fixture(autouse=True)
def no_mirror_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GANLINE_MIRROR", raising=False)


@pytest.fixture(scope="session")
def digits() -> DataConfig:
    return DataConfig(source=Digits())


@pytest.fixture(scope="session")
def _digits_once(tmp_path_factory: pytest.TempPathFactory, digits: DataConfig) -> Path:
    folder = tmp_path_factory.mktemp("digits") / "data"
    fetch(digits, folder)
    return folder


@pytest.fixture
def digits_folder(_digits_once: Path, tmp_path: Path) -> Path:
    """A copy of the fetched digits that a test may damage."""
    return Path(shutil.copytree(_digits_once, tmp_path / "data"))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of the user's: two labels, 20 different noise images each, in three formats and two sizes."""
    root = tmp_path / "pictures"
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (root / label).mkdir(parents=True)
        for number in range(20):
            size = (24, 40, 3) if number % 2 else (32, 32, 3)
            suffix = ("png", "jpg", "webp")[number % 3]
            image = Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8))
            image.save(root / label / f"{number:02d}.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    return root


@pytest.fixture
def folder_config(pictures: Path) -> DataConfig:
    return DataConfig(source=ImageFolder(path=pictures))
