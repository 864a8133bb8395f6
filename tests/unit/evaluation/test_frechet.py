"""The Fréchet distance against closed forms, and against torch-fidelity on the same features."""

from __future__ import annotations

import numpy as np
import pytest

from ganline.evaluation.frechet import Gaussian, fit_gaussian, frechet_distance

RNG = np.random.default_rng(0)


def gaussian(mean: np.ndarray, covariance: np.ndarray) -> Gaussian:
    return Gaussian(np.asarray(mean, float), np.asarray(covariance, float), 1000)


def random_covariance(d: int) -> np.ndarray:
    a = RNG.normal(size=(d, d))
    return a @ a.T / d


def test_equal_distributions_are_at_distance_zero() -> None:
    g = gaussian(RNG.normal(size=16), random_covariance(16))
    assert frechet_distance(g, g) == pytest.approx(0.0, abs=1e-9)


def test_it_is_symmetric() -> None:
    a, b = gaussian(np.zeros(8), random_covariance(8)), gaussian(np.ones(8), random_covariance(8))
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-10)


def test_equal_covariances_leave_the_squared_shift() -> None:
    covariance, shift = random_covariance(8), RNG.normal(size=8)
    found = frechet_distance(gaussian(np.zeros(8), covariance), gaussian(shift, covariance))
    assert found == pytest.approx(shift @ shift, rel=1e-9)


def test_commuting_covariances_have_the_textbook_form() -> None:
    basis, _ = np.linalg.qr(RNG.normal(size=(6, 6)))
    one, two = RNG.uniform(0.1, 3, 6), RNG.uniform(0.1, 3, 6)
    mean = RNG.normal(size=6)
    a, b = gaussian(mean, basis * one @ basis.T), gaussian(np.zeros(6), basis * two @ basis.T)
    expected = ((np.sqrt(one) - np.sqrt(two)) ** 2).sum() + mean @ mean
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_a_singular_covariance_is_no_obstacle() -> None:
    features = np.concatenate([RNG.normal(size=(50, 3)), np.zeros((50, 5))], axis=1)
    g = fit_gaussian(features)
    assert frechet_distance(g, g) == pytest.approx(0.0, abs=1e-9)


def test_it_agrees_with_torch_fidelity() -> None:
    from ganline.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    import torch
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    a = RNG.normal(size=(500, 24)).astype(np.float32)
    b = (RNG.normal(size=(400, 24)) @ random_covariance(24) + 0.3).astype(np.float32)
    theirs = fid_statistics_to_metric(
        fid_features_to_statistics(torch.from_numpy(a)), fid_features_to_statistics(torch.from_numpy(b)), False
    )["frechet_inception_distance"]
    assert frechet_distance(fit_gaussian(a), fit_gaussian(b)) == pytest.approx(theirs, rel=1e-6)
