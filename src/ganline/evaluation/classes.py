"""Classes in a set of images: which appear and how evenly, whether they are those asked for, how varied each one is.

A class is what the first extractor's classifier sees; so every figure has the floor of real images, whose classes that
classifier confuses as well.
"""

from __future__ import annotations

import math

import torch

from ganline.evaluation.features import FIRST, Features

LEAST_FREEDOM = 32
"""Images beyond one a class that a variance within classes needs."""
FEW = 20
"""Images of a class, fake and real, from which its own variance is told."""


def shares(classes: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Histogram of int64 [N] as shares, float64 [K]."""
    return torch.bincount(classes, minlength=num_classes).double() / max(len(classes), 1)


def entropy(histogram: torch.Tensor) -> float:
    """-sum p ln p of counts or shares [K], in nats."""
    p = histogram.double() / histogram.sum()
    return float(torch.special.entr(p).sum())


def divergence(p: torch.Tensor, q: torch.Tensor) -> float:
    """KL(p || q) = sum p ln(p / q) of two histograms [K] (counts or shares), in nats; infinite where q lacks a class.

    With equal shares as q it is ln K minus the entropy of p.
    """
    p, q = torch.as_tensor(p).double(), torch.as_tensor(q).double()
    p, q = p / p.sum(), q / q.sum()
    return max(float(torch.special.xlogy(p, p).sum() - torch.special.xlogy(p, q).sum()), 0.0)


def is_covered(histogram: torch.Tensor, train_histogram: torch.Tensor) -> torch.Tensor:
    """Whether each class makes up at least a tenth of its fair share, bool [K] of shares [K].

    Fair is an equal share, or the class's share of the training images [K] where that is smaller.
    """
    fair = (train_histogram.double() / train_histogram.sum()).clamp(max=1 / len(histogram))
    return (histogram >= 0.1 * fair) & (histogram > 0)


def variance_within(features: torch.Tensor, labels: torch.Tensor) -> float | None:
    """Variance around the mean of the own class, summed over features [N, F]; labels int64 [N].

    Unbiased: the sum of squares is divided by N less the number of classes seen. None where that is too few to tell.
    """
    classes, index = labels.unique(return_inverse=True)
    freedom = len(features) - len(classes)
    if freedom < LEAST_FREEDOM:
        return None
    return float(squares_within(features, index, len(classes)).sum() / freedom)


def squares_within(features: torch.Tensor, labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Sum of squared distances to the mean of the own class, float64 [K]; features [N, F], labels int64 [N]."""
    x = features.double()
    counts = torch.bincount(labels, minlength=num_classes).clamp(min=1)
    means = x.new_zeros(num_classes, x.shape[1]).index_add_(0, labels, x) / counts[:, None]
    distances = (x - means[labels]).square().sum(1)
    return x.new_zeros(num_classes).index_add_(0, labels, distances)


def diversity(fake: Features, real: Features, num_classes: int) -> torch.Tensor:
    """Variance of the first extractor's features inside each class, as a share of real images', float64 [K].

    Fakes are grouped by the class that was asked for (reals by their own), or by the class seen where nothing was
    asked. NaN for a class of fewer than FEW images on either side. A G that paints one image a class scores near 0
    although every class appears.
    """
    asked = fake.labels is not None and real.labels is not None
    variances = []
    for side in (fake, real):
        labels = side.labels if asked else side.classes
        assert labels is not None
        counts = torch.bincount(labels, minlength=num_classes)
        squares = squares_within(side.by[FIRST], labels, num_classes)
        variances.append(torch.where(counts >= FEW, squares / (counts - 1), math.nan))
    return variances[0] / variances[1]


def class_figures(fake: Features, real: Features, train_histogram: torch.Tensor) -> dict[str, float]:
    """Figures of one set of images against real ones; `train_histogram` [K] counts the training labels."""
    assert fake.classes is not None
    num_classes = len(train_histogram)
    seen = shares(fake.classes, num_classes)
    figures = {
        "class_coverage": float(is_covered(seen, train_histogram).double().mean()),
        "class_entropy": entropy(seen),
        "class_kl": divergence(seen, train_histogram),
        "intra_class_diversity": float(diversity(fake, real, num_classes).nanmean()),
    }
    if fake.labels is not None:
        figures["label_accuracy"] = float((fake.classes == fake.labels).double().mean())
    return figures


def figures_per_class(fake: Features, real: Features, num_classes: int) -> dict[str, torch.Tensor]:
    """The same for each class, float64 [K]; NaN where there are too few images."""
    assert fake.classes is not None
    told = {
        "class_coverage": shares(fake.classes, num_classes),
        "intra_class_diversity": diversity(fake, real, num_classes),
    }
    if fake.labels is not None:
        right = (fake.classes == fake.labels).double()
        asked = torch.bincount(fake.labels, minlength=num_classes)
        told["label_accuracy"] = right.new_zeros(num_classes).index_add_(0, fake.labels, right) / asked
    return told
