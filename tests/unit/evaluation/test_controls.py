"""Controls on real images: what is done to them moves the figures that should move, and no other.

Each control starts from N training images that the floor does not hold: real images, which sit on the floor.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageFilter

from ganline.data.loader import Prepared
from ganline.evaluation.panel import figures_of, memorisation_figures
from ganline.evaluation.reference import Reference
from tests.unit.evaluation.conftest import Look, N

Figures = dict[str, float]


@pytest.fixture(scope="module")
def base(mnist: Prepared, unseen_rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    train = mnist.split("train")
    return train.images[unseen_rows], train.labels[unseen_rows]


@pytest.fixture(scope="module")
def figures(seen: Look, real: Reference) -> Callable[..., Figures]:
    return lambda images, labels: figures_of(seen(images, labels), real, memorisation_n=1).values


@pytest.fixture(scope="module")
def untouched(base: tuple[np.ndarray, np.ndarray], figures: Callable[..., Figures]) -> Figures:
    return figures(*base)


def through_pillow(images: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(change(Image.fromarray(image[0])))[None] for image in images])


def noised(images: np.ndarray, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, sigma, images.shape)
    return np.clip(images + noise, 0, 255).round().astype(np.uint8)


def blurred(images: np.ndarray, radius: float) -> np.ndarray:
    return through_pillow(images, lambda image: image.filter(ImageFilter.GaussianBlur(radius)))


def compressed(images: np.ndarray, quality: float) -> np.ndarray:
    def change(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(quality))
        return Image.open(buffer).convert("L")

    return through_pillow(images, change)


def moves(values: list[float], direction: int, *, least: float) -> None:
    """Each value beyond the one before, in a direction; the last beyond the first by at least `least`."""
    steps = direction * np.diff(values)
    assert (steps > 0).all(), values
    assert direction * (values[-1] - values[0]) > least, values


def test_real_images_sit_on_the_floor(untouched: Figures, real: Reference) -> None:
    for key, far in (
        ("fd", 1.0),
        ("fd_second", 0.2),
        ("kid", 1.0),
        ("kid_second", 0.3),
    ):  # strong noise: 15, 18, 53, 51
        assert abs(untouched[key] - real.floors[key]) < far, key
    for key in ("precision", "recall", "coverage", "precision_second", "recall_second", "coverage_second"):
        assert untouched[key] == pytest.approx(real.floors[key], abs=0.04), key
    for key in ("density", "sharpness", "noise", "contrast", "brightness", "intra_class_diversity"):
        assert untouched[key] == pytest.approx(1.0, abs=0.12), key
    assert untouched["class_coverage"] == 1.0
    assert untouched["class_kl"] == pytest.approx(0.0, abs=0.01)
    assert untouched["label_accuracy"] == pytest.approx(real.floors["label_accuracy"], abs=0.03)


def strengthened(
    change: Callable[[np.ndarray, float], np.ndarray],
    strengths: tuple[float, ...],
    base: tuple[np.ndarray, np.ndarray],
    figures: Callable[..., Figures],
    untouched: Figures,
) -> dict[str, list[float]]:
    found = [untouched, *(figures(change(base[0], strength), base[1]) for strength in strengths)]
    return {key: [each[key] for each in found] for key in untouched}


def test_noise_raises_distances_and_the_noise_figure(base, figures, untouched) -> None:
    found = strengthened(noised, (30, 50, 80), base, figures, untouched)
    for key in ("fd", "fd_second", "kid", "kid_second"):
        moves(found[key], +1, least=3 * abs(untouched[key]))
    moves(found["noise"], +1, least=1.0)
    moves(found["sharpness"], +1, least=0.1)
    moves(found["coverage"], -1, least=0.2)
    assert found["class_coverage"][1] == 1.0 and found["class_kl"][1] < 0.02  # a little noise drops no class


def test_blur_raises_distances_and_lowers_sharpness(base, figures, untouched) -> None:
    found = strengthened(blurred, (0.6, 1.0, 1.8), base, figures, untouched)
    for key in ("fd", "fd_second", "kid", "kid_second"):
        moves(found[key], +1, least=3 * abs(untouched[key]))
    moves(found["sharpness"], -1, least=0.5)
    moves(found["contrast"], -1, least=0.1)
    moves(found["coverage"], -1, least=0.2)
    assert found["brightness"] == pytest.approx([1.0] * 4, abs=0.1)
    assert found["class_coverage"][1] == 1.0


def test_jpeg_raises_distances_and_leaves_classes_brightness_and_contrast(base, figures, untouched) -> None:
    found = strengthened(compressed, (40, 12, 3), base, figures, untouched)
    for key in ("fd", "fd_second", "kid_second"):
        moves(found[key], +1, least=abs(untouched[key]))
    assert found["class_coverage"] == [1.0] * 4
    for key in ("brightness", "contrast"):
        assert found[key] == pytest.approx([untouched[key]] * 4, abs=0.12)


def dropping(labels: np.ndarray, classes: int) -> np.ndarray:
    """Rows with the first classes gone, filled up with repeats of the others."""
    kept = np.flatnonzero(labels >= classes)
    return np.resize(kept, N)


def test_dropped_classes_lower_recall_and_coverage_are_named_and_leave_precision_and_pixels(
    base, figures, untouched
) -> None:
    images, labels = base
    rows = [dropping(labels, k) for k in (1, 3, 6)]
    found = [untouched, *(figures(images[kept], labels[kept]) for kept in rows)]
    told = {key: [each[key] for each in found] for key in untouched}
    for key in ("fd", "fd_second", "kid", "kid_second"):
        moves(told[key], +1, least=abs(untouched[key]))
    moves(told["recall"], -1, least=0.3)
    moves(told["coverage"], -1, least=0.3)
    moves(told["class_entropy"], -1, least=0.7)
    moves(told["class_kl"], +1, least=0.7)
    assert told["class_coverage"][:3] == pytest.approx([1.0, 0.9, 0.7])
    assert told["class_coverage"][3] <= 0.6  # six are gone; two more than a tenth of whose share is seen by mistake
    assert told["precision"] == pytest.approx([untouched["precision"]] * 4, abs=0.06)
    assert told["label_accuracy"] == pytest.approx([untouched["label_accuracy"]] * 4, abs=0.03)
    assert told["intra_class_diversity"] == pytest.approx([1.0] * 4, abs=0.15)
    assert told["noise"] == pytest.approx([1.0] * 4, abs=0.15)


def typical(seen: Look, images: np.ndarray, labels: np.ndarray, share: float) -> np.ndarray:
    """Rows of the share of each class that is nearest to its mean, repeated to N: a truncated generator."""
    features = seen(images, labels).by["first"].numpy()
    kept = []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        far = np.linalg.norm(features[own] - features[own].mean(0), axis=1)
        kept.append(own[np.argsort(far)[: max(2, round(share * len(own)))]])
    return np.resize(np.concatenate(kept), N)


def test_typical_images_alone_lower_diversity_and_recall_and_keep_precision(seen, base, figures, untouched) -> None:
    images, labels = base
    rows = [typical(seen, images, labels, share) for share in (0.6, 0.3, 0.1)]
    found = [untouched, *(figures(images[kept], labels[kept]) for kept in rows)]
    told = {key: [each[key] for each in found] for key in untouched}
    moves(told["intra_class_diversity"], -1, least=0.5)
    moves(told["recall"], -1, least=0.4)
    moves(told["coverage"], -1, least=0.2)
    moves(told["fd_second"], +1, least=untouched["fd_second"])
    assert min(told["fd"][1:]) > 2 * untouched["fd"]
    assert min(told["precision"]) > untouched["precision"] - 0.02
    assert told["class_coverage"] == [1.0] * 4


def test_planted_training_copies_move_memorisation_alone(seen, mnist: Prepared, real: Reference) -> None:
    """Held-out images copy nothing; the more of them are replaced by training images, the surer it is told."""
    val, train = mnist.split("val"), mnist.split("train")
    found, others = [], []
    for share in (0.0, 0.1, 0.3, 0.6):
        images, labels = np.array(val.images), np.array(val.labels)
        planted = round(share * len(images))
        images[:planted], labels[:planted] = train.images[:planted], train.labels[:planted]
        features = seen(images, labels)
        found.append(memorisation_figures(features, real))
        others.append(figures_of(features, real, memorisation_n=1).values)
    moves([each["copied_share"] for each in found], +1, least=0.4)
    moves([each["c_t"] for each in found], -1, least=3.0)
    assert abs(found[0]["c_t"]) < 2.5 and found[0]["copied_share"] < 0.05
    assert found[0] == pytest.approx({key: real.floors[key] for key in ("copied_share", "c_t")}, abs=1e-6)
    for key in ("precision", "recall", "coverage", "sharpness"):
        assert [each[key] for each in others] == pytest.approx([others[0][key]] * 4, abs=0.06), key
