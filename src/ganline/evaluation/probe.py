"""What the watchdog looks through while a GAN trains: distance, class entropy and spread of fixed latents' images.

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


def histogram_entropy(logits: np.ndarray) -> float:
    """Entropy in nats of the histogram of predicted classes; logits [N, K]."""
    shares = np.bincount(logits.argmax(1), minlength=logits.shape[1]) / len(logits)
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


def make_probe(
    extract: Extractor, split: Split, *, seed: int, n: int, num_classes: int, compute: Compute
) -> Probe | None:
    """A function of G: `fd` to the split's features at n fakes, `spread` (total variance of the features) and, where
    the extractor classifies, `entropy` of the class histogram, the last two as shares of real images'.

    n fakes are too few for a reported distance; it is compared only within one run. None where the split holds fewer
    than LEAST_REAL images.
    """
    if len(split) < LEAST_REAL:
        return None
    order = torch.randperm(len(split), generator=generator(seed, "probe rows"))[:MOST_REAL].numpy()
    pairs = [
        extract(torch.from_numpy(split.images[np.sort(part)])) for part in np.array_split(order, len(order) // 250 + 1)
    ]
    real = fit_gaussian(np.concatenate([features for features, _ in pairs]))
    # At the same number of images: a histogram of few images over many classes never looks even.
    entropy = histogram_entropy(np.concatenate([logits for _, logits in pairs])[:n])
    latents = derive(seed, "probe")

    def probe(G: Generator) -> dict[str, float]:
        pictures = sample(G, n=n, seed=latents, num_classes=num_classes, compute=compute)
        features, logits = zip(*(extract(images) for images, _ in pictures), strict=True)
        found = fit_gaussian(np.concatenate(features))
        measures = {"fd": frechet_distance(found, real), "spread": spread_of(found.covariance, real.covariance)}
        if extract.classifies:
            measures["entropy"] = histogram_entropy(np.concatenate(logits)) / max(entropy, 1e-12)
        return measures

    return probe


def spread_of(covariance: np.ndarray, real: np.ndarray) -> float:
    """Total variance as a share of the real one."""
    return float(np.trace(covariance) / max(np.trace(real), 1e-12))
