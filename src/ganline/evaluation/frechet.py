"""The Fréchet distance between two sets of features, in float64 on the device that they are on.

Heusel et al. 2017, arXiv 1706.08500, eq. 6: |mu1 - mu2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)).
It is called FID only where the features are Inception's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ganline.errors import DataError

ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Gaussian:
    """Mean [F] and covariance [F, F] (divided by N - 1) of N features, float64."""

    mean: Tensor
    covariance: Tensor
    n: int


class Moments:
    """Mean and covariance of features that come in parts: one pass, memory F^2 whatever N.

    Parts are joined by their means and their sums of squares about them (Chan, Golub, LeVeque 1979, eq. 2.1), which
    keeps all digits where sums of raw squares cancel. Neither the parts' sizes nor their order matter (but rounding).
    """

    def __init__(self) -> None:
        self.n = 0
        self._mean: Tensor | None = None
        self._scatter: Tensor | None = None

    def add(self, features: Tensor) -> Moments:
        """Take in features [n, F] of any float type; returns itself."""
        if len(features):
            part = features.double()
            mean = part.mean(dim=0)
            centred = part - mean
            self._join(len(part), mean, centred.T @ centred)
        return self

    def merge(self, other: Moments) -> Moments:
        """Take in what another one has seen; returns itself."""
        if other._mean is not None and other._scatter is not None:
            self._join(other.n, other._mean, other._scatter)
        return self

    def _join(self, n: int, mean: Tensor, scatter: Tensor) -> None:
        if self._mean is None or self._scatter is None:
            self.n, self._mean, self._scatter = n, mean, scatter
            return
        total = self.n + n
        shift = mean.to(self._mean) - self._mean
        self._mean = self._mean + shift * (n / total)
        self._scatter = self._scatter + scatter.to(shift) + torch.outer(shift, shift) * (self.n * n / total)
        self.n = total

    def gaussian(self) -> Gaussian:
        """What was seen so far. Raises DataError for fewer than two images: they have no covariance."""
        if self._mean is None or self._scatter is None or self.n < 2:
            raise DataError(
                f"a covariance of {self.n} images was asked for", expected="two or more", remedy="measure more images"
            )
        return Gaussian(self._mean, self._scatter / (self.n - 1), self.n)


def fit_gaussian(features: Tensor | np.ndarray) -> Gaussian:
    """Mean and covariance of features [N, F], N >= 2 (else DataError), on their device."""
    moments = Moments()
    for part in (torch.tensor(features) if isinstance(features, np.ndarray) else features).split(ROWS_AT_ONCE):
        moments.add(part)
    return moments.gaussian()


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """Fréchet distance between two Gaussians; 0 for equal ones, symmetric.

    tr((A B)^(1/2)) is the sum of square roots of the eigenvalues of the symmetric A^(1/2) B A^(1/2).
    """
    mean, covariance = b.mean.to(a.mean), b.covariance.to(a.covariance)
    values, vectors = torch.linalg.eigh(a.covariance)
    root = (vectors * values.clamp(min=0.0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ covariance @ root).clamp(min=0.0).sqrt().sum()
    shift = a.mean - mean
    distance = shift @ shift + a.covariance.trace() + covariance.trace() - 2.0 * cross
    return max(distance.item(), 0.0)
