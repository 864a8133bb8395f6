"""The Fréchet distance between two sets of features, in float64.

Heusel et al. 2017, arXiv 1706.08500, eq. 6: |mu1 - mu2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)).
It is called FID only where the features are Inception's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Gaussian:
    """Mean [F] and covariance [F, F] (divided by N - 1) of N features, float64."""

    mean: np.ndarray
    covariance: np.ndarray
    n: int


def fit_gaussian(features: np.ndarray) -> Gaussian:
    """Mean and covariance of features [N, F], N >= 2."""
    features = np.asarray(features, dtype=np.float64)
    n = len(features)
    mean = features.mean(axis=0)
    centred = features - mean
    return Gaussian(mean, centred.T @ centred / (n - 1), n)


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """Fréchet distance between two Gaussians; 0 for equal ones, symmetric.

    tr((A B)^(1/2)) is the sum of square roots of the eigenvalues of the symmetric A^(1/2) B A^(1/2).
    """
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(values.clip(min=0.0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ b.covariance @ root).clip(min=0.0)).sum()
    shift = a.mean - b.mean
    distance = shift @ shift + np.trace(a.covariance) + np.trace(b.covariance) - 2.0 * cross
    return float(max(distance, 0.0))
