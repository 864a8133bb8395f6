"""What the watchdog looks through while a GAN trains: distance, class entropy and spread of fixed latents' images.

A class-conditional G may paint one image a class and still show every class, far apart: entropy and spread stay high.
So it is also asked how much the images of one class differ.

It reads the validation split, never the one that reported figures are measured on.
"""

from __future__ import annotations

import torch

from ganline.data.loader import Split
from ganline.devices import Compute
from ganline.evaluation.classes import entropy, variance_within
from ganline.evaluation.features import FIRST, FeatureExtractor, look, split_batches
from ganline.evaluation.frechet import fit_gaussian, frechet_distance
from ganline.models.sampling import sample
from ganline.models.spec import Generator
from ganline.seeds import derive, generator
from ganline.training.watchdog import Probe

MOST_REAL = 5000
LEAST_REAL = 32


def make_probe(
    extract: FeatureExtractor, split: Split, *, seed: int, n: int, label_weights: torch.Tensor | None, compute: Compute
) -> Probe | None:
    """A function of G: `fd` to the split's features at n fakes and, as shares of real images', `spread` (total variance
    of the features), `within` (the part of it inside classes, where G is told one of not too many) and `entropy` (of
    the class histogram, where the extractor classifies).

    A class-conditional G is asked for classes in proportion to `label_weights` [num_classes], as in evaluation: drawn
    uniformly, uneven classes would look more even than they are, and G further from the real images. None without.
    n fakes are too few for a reported distance; it is compared only within one run. None where the split holds fewer
    than LEAST_REAL images.
    """
    if len(split) < LEAST_REAL:
        return None
    num_classes = 0 if label_weights is None else len(label_weights)
    order = torch.randperm(len(split), generator=generator(seed, "probe rows"))[:MOST_REAL].numpy()
    reals = look(split_batches(split, order, device=compute.device), {FIRST: extract}, pixels=False)
    real = fit_gaussian(reals.by[FIRST])
    # At the same number of images: a histogram of few images over many classes never looks even.
    evenness = None if reals.classes is None else entropy(torch.bincount(reals.classes[:n]))
    within = variance_within(reals.by[FIRST], reals.labels) if num_classes and reals.labels is not None else None
    latents = derive(seed, "probe")

    def probe(G: Generator) -> dict[str, float]:
        pictures = sample(G, n=n, seed=latents, num_classes=num_classes, label_weights=label_weights, compute=compute)
        fakes = look(pictures, {FIRST: extract}, pixels=False)
        found = fit_gaussian(fakes.by[FIRST])
        measures = {"fd": frechet_distance(found, real), "spread": spread_of(found.covariance, real.covariance)}
        if evenness is not None and fakes.classes is not None:
            measures["entropy"] = entropy(torch.bincount(fakes.classes)) / max(evenness, 1e-12)
        own = None if fakes.labels is None else variance_within(fakes.by[FIRST], fakes.labels)
        if within is not None and own is not None:
            measures["within"] = own / max(within, 1e-12)
        return measures

    return probe


def spread_of(covariance: torch.Tensor, real: torch.Tensor) -> float:
    """Total variance as a share of the real one."""
    return float(covariance.trace() / real.trace().clamp(min=1e-12))
