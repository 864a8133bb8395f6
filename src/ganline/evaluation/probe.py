"""What the watchdog looks through while a GAN trains: distance, class entropy and spread of fixed latents' images.

A class-conditional G may paint one image a class and still show every class, far apart: entropy and spread stay high.
So it is also asked how much the images of one class differ.

It reads the validation split, never the one that reported figures are measured on.
"""

from __future__ import annotations

import numpy as np
import torch

from ganline.data.loader import Split
from ganline.devices import Compute
from ganline.evaluation.extractor import Extractor
from ganline.evaluation.frechet import fit_gaussian, frechet_distance
from ganline.models.sampling import sample
from ganline.models.spec import Generator
from ganline.seeds import derive, generator
from ganline.training.watchdog import Probe

MOST_REAL = 5000
LEAST_REAL = 32
LEAST_FREEDOM = 32
"""Images beyond one a class that a variance within classes needs, real and fake."""


def histogram_entropy(logits: np.ndarray) -> float:
    """Entropy in nats of the histogram of predicted classes; logits [N, K]."""
    shares = np.bincount(logits.argmax(1), minlength=logits.shape[1]) / len(logits)
    shares = shares[shares > 0]
    return float((shares * np.log(1 / shares)).sum())


def make_probe(
    extract: Extractor, split: Split, *, seed: int, n: int, num_classes: int, compute: Compute
) -> Probe | None:
    """A function of G: `fd` to the split's features at n fakes and, as shares of real images', `spread` (total variance
    of the features), `within` (the part of it inside classes, where G is told one of not too many) and `entropy` (of
    the class histogram, where the extractor classifies).

    n fakes are too few for a reported distance; it is compared only within one run. None where the split holds fewer
    than LEAST_REAL images.
    """
    if len(split) < LEAST_REAL:
        return None
    order = torch.randperm(len(split), generator=generator(seed, "probe rows"))[:MOST_REAL].numpy()
    parts = [np.sort(part) for part in np.array_split(order, len(order) // 250 + 1)]
    pairs = [extract(torch.from_numpy(split.images[part])) for part in parts]
    real_features = np.concatenate([features for features, _ in pairs])
    real = fit_gaussian(real_features)
    # At the same number of images: a histogram of few images over many classes never looks even.
    entropy = histogram_entropy(np.concatenate([logits for _, logits in pairs])[:n])
    within = variance_within(real_features, split.labels[np.concatenate(parts)]) if num_classes else None
    latents = derive(seed, "probe")

    def probe(G: Generator) -> dict[str, float]:
        pictures = sample(G, n=n, seed=latents, num_classes=num_classes, compute=compute)
        seen = [(*extract(images), label) for images, label in pictures]
        features, logits = (np.concatenate([row[i] for row in seen]) for i in (0, 1))
        found = fit_gaussian(features)
        measures = {"fd": frechet_distance(found, real), "spread": spread_of(found.covariance, real.covariance)}
        if extract.classifies:
            measures["entropy"] = histogram_entropy(logits) / max(entropy, 1e-12)
        if within is not None:
            asked = np.concatenate([label.cpu().numpy() for _, _, label in seen if label is not None])
            if (own := variance_within(features, asked)) is not None:
                measures["within"] = own / max(within, 1e-12)
        return measures

    return probe


def variance_within(features: np.ndarray, labels: np.ndarray) -> float | None:
    """Variance around the mean of the own class, summed over features [N, F]; labels [N].

    Unbiased: the sum of squares is divided by N less the number of classes seen. None where that is too few to tell.
    """
    classes = np.unique(labels)
    if len(features) - len(classes) < LEAST_FREEDOM:
        return None
    squares = sum(np.square(own - own.mean(0)).sum() for own in (features[labels == label] for label in classes))
    return float(squares / (len(features) - len(classes)))


def spread_of(covariance: np.ndarray, real: np.ndarray) -> float:
    """Total variance as a share of the real one."""
    return float(np.trace(covariance) / max(np.trace(real), 1e-12))
