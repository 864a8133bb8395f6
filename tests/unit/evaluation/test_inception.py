"""FID with Inception, through the real network with random weights: the path that published weights will take."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from ganline.devices import pick
from ganline.errors import ConfigError
from ganline.evaluation.config import InceptionConfig
from ganline.evaluation.inception import check_weights, inception_record
from ganline.models.sampling import sample
from ganline.torchvision_shim import ensure_torchvision

N, SEEDS = 20, (1, 2, 3)


def config_of(path: Path) -> InceptionConfig:
    return InceptionConfig(weights=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Random weights of the very network: no published ones can be had here."""
    ensure_torchvision()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    path = tmp_path_factory.mktemp("inception") / "random.pth"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "load", lambda *_, **__: {})
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        torch.manual_seed(0)
        net = FeatureExtractorInceptionV3("random", ["2048"], feature_extractor_weights_path="none")
    torch.save(net.state_dict(), path)
    return path


class Painter(torch.nn.Module):
    """Stands for a generator: z becomes a smooth 16 px picture."""

    z_dim = 16

    def forward(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        return torch.tanh(z.view(-1, 1, 4, 4).repeat_interleave(4, 2).repeat_interleave(4, 3))


class AsDataset(torch.utils.data.Dataset):
    """uint8 [N, 1, H, W] as torch-fidelity wants its images."""

    def __init__(self, images: np.ndarray):
        self.images = torch.from_numpy(images).expand(-1, 3, -1, -1)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> torch.Tensor:
        return self.images[i]


class Real:
    """A split of as many images as are compared, so that the order of the reference does not matter."""

    def __init__(self, images: np.ndarray):
        self.images, self.labels = images, np.zeros(len(images), np.int64)

    def __len__(self) -> int:
        return len(self.images)


def test_it_is_the_fid_that_torch_fidelity_computes_and_its_name_tells_the_weights(weights, digits) -> None:
    from torch_fidelity import calculate_metrics

    config, compute, G = config_of(weights), pick("fp32"), Painter()
    real = np.array(digits.split("train").images[:N])
    shared = {"n": N, "num_classes": 0, "compute": compute}
    record = inception_record(config, G=G, split=Real(real), split_name="test", seeds=SEEDS, **shared)
    assert record["name"] == f"fid20_inception-unpublished@{config.sha256[:8]}"
    fakes = torch.cat([images for images, _ in sample(G, seed=2, **shared)]).numpy()
    theirs = calculate_metrics(
        input1=AsDataset(fakes),
        input2=AsDataset(real),
        fid=True,
        cuda=False,
        verbose=False,
        batch_size=N,
        feature_extractor_weights_path=str(weights),
    )["frechet_inception_distance"]
    assert record["per_seed"]["2"] == pytest.approx(theirs, rel=1e-3)
    assert record["value"] == pytest.approx(np.mean(list(record["per_seed"].values())))


class Bomb:
    """What a hostile pickle does."""

    def __reduce__(self):
        return (print, ("unpickled",))


def test_weights_are_taken_only_as_params_describe_them(weights, tmp_path, capsys) -> None:
    assert check_weights(config_of(weights)) == weights
    with pytest.raises(ConfigError, match=r"evaluate\.inception\.sha256"):
        check_weights(InceptionConfig(weights=str(weights), sha256="0" * 64))
    with pytest.raises(ConfigError, match="is not a file"):
        check_weights(InceptionConfig(weights=str(tmp_path / "none.pth"), sha256="0" * 64))
    torch.save({"x": Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(ConfigError, match="no file of plain weights"):
        check_weights(config_of(tmp_path / "bomb.pth"))
    assert "unpickled" not in capsys.readouterr().out
