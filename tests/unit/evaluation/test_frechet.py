"""The Fréchet distance against closed forms and torch-fidelity; its moments in one pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ganline.errors import DataError
from ganline.evaluation.frechet import Gaussian, Moments, fit_gaussian, frechet_distance

RNG = np.random.default_rng(0)


def gaussian(mean: np.ndarray, covariance: np.ndarray) -> Gaussian:
    return Gaussian(torch.tensor(mean).double(), torch.tensor(covariance).double(), 1000)


def random_covariance(d: int) -> np.ndarray:
    a = RNG.normal(size=(d, d))
    return a @ a.T / d


def moments_of(features: torch.Tensor, batch: int) -> Gaussian:
    moments = Moments()
    for part in features.split(batch):
        moments.add(part)
    return moments.gaussian()


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


def test_arrays_and_tensors_give_numpy_s_mean_and_covariance() -> None:
    features = RNG.normal(size=(9000, 5)).astype(np.float32)
    exact = features.astype(np.float64)
    for given in (features, torch.from_numpy(features)):
        found = fit_gaussian(given)
        assert found.n == 9000
        assert found.mean.dtype == found.covariance.dtype == torch.float64
        np.testing.assert_allclose(found.mean.numpy(), exact.mean(0), rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(found.covariance.numpy(), np.cov(exact, rowvar=False), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("batch", [1, 7, 64, 1000])
def test_moments_do_not_depend_on_the_size_of_batches(batch: int) -> None:
    features = torch.from_numpy(RNG.normal(size=(1000, 6)) + 5)
    whole, found = moments_of(features, 1000), moments_of(features, batch)
    assert found.n == 1000
    torch.testing.assert_close(found.mean, whole.mean, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.covariance, whole.covariance, rtol=1e-11, atol=1e-13)


def test_merged_moments_are_those_of_all_images() -> None:
    features = torch.from_numpy(RNG.normal(size=(300, 4)))
    merged = Moments().add(features[:100]).merge(Moments().add(features[100:])).merge(Moments()).gaussian()
    torch.testing.assert_close(merged.covariance, moments_of(features, 300).covariance, rtol=1e-12, atol=1e-14)
    empty = Moments().merge(Moments().add(features)).gaussian()
    assert torch.equal(empty.covariance, moments_of(features, 300).covariance)


def test_a_large_mean_does_not_cancel_the_covariance() -> None:
    features = torch.from_numpy(RNG.normal(size=(2000, 3)))
    far = moments_of(features + 1e8, 64).covariance
    torch.testing.assert_close(far, moments_of(features, 2000).covariance, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_images_are_refused(n: int) -> None:
    with pytest.raises(DataError, match="covariance"):
        fit_gaussian(np.zeros((n, 3)))


def test_it_agrees_with_torch_fidelity() -> None:
    from ganline.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    a = RNG.normal(size=(500, 24)).astype(np.float32)
    b = (RNG.normal(size=(400, 24)) @ random_covariance(24) + 0.3).astype(np.float32)
    theirs = fid_statistics_to_metric(
        fid_features_to_statistics(torch.from_numpy(a)), fid_features_to_statistics(torch.from_numpy(b)), False
    )["frechet_inception_distance"]
    assert frechet_distance(fit_gaussian(a), fit_gaussian(b)) == pytest.approx(theirs, rel=1e-6)
