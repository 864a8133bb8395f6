"""FID in the strict sense: Inception-2015 features through torch-fidelity, where params name the weights' sha256."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganline.data.loader import Split, rows_as_tensor
from ganline.devices import Compute
from ganline.errors import ConfigError
from ganline.evaluation.config import InceptionConfig
from ganline.evaluation.frechet import fit_gaussian, frechet_distance
from ganline.evaluation.measure import count_name, random_rows, spread
from ganline.files import sha256_file
from ganline.models.sampling import sample
from ganline.models.spec import Generator

# torch-fidelity's pt_inception-2015-12-05-6726825d.pth, a port of the weights of the original FID code.
PUBLISHED = "6726825d"


def check_weights(config: InceptionConfig) -> Path:
    """The weights' path, if its bytes are those that params name and hold tensors only. Raises ConfigError."""
    path = Path(config.weights).expanduser()
    if not path.is_file():
        raise ConfigError(f"evaluate.inception.weights: {path} is not a file", remedy="download it, or remove the key")
    if (found := sha256_file(path)) != config.sha256:
        raise ConfigError(f"{path} has sha256 {found}", expected=f"{config.sha256} (evaluate.inception.sha256)")
    try:
        torch.load(path, map_location="meta", weights_only=True)  # torch-fidelity unpickles whatever it is given
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ConfigError(
            f"{path} is no file of plain weights: {str(error).splitlines()[0]}",
            expected="a state dict of tensors, as torch-fidelity publishes it",
        ) from error
    return path


def inception_record(
    config: InceptionConfig,
    *,
    G: Generator,
    split: Split,
    split_name: str,
    n: int,
    seeds: tuple[int, ...],
    num_classes: int,
    compute: Compute,
) -> dict[str, Any]:
    """FID of each seed against n images of a split. Unpublished weights show in the name."""
    path = check_weights(config)
    from ganline.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    net = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))
    net = compute.place(net).eval()

    @torch.inference_mode()
    def features(images: torch.Tensor) -> np.ndarray:
        colour = images.to(compute.device).expand(-1, 3, -1, -1)
        return net(colour)[0].float().cpu().numpy()

    everything = np.concatenate([features(rows_as_tensor(split, i, i + 64)) for i in range(0, len(split), 64)])
    target = fit_gaussian(everything[random_rows(len(split), n, "reference")])
    per_seed = {}
    for seed in seeds:
        batches = sample(G, n=n, seed=seed, num_classes=num_classes, compute=compute)
        fake = np.concatenate([features(images) for images, _ in batches])
        per_seed[str(seed)] = frechet_distance(fit_gaussian(fake), target)
    name = "inception2015" if config.sha256.startswith(PUBLISHED) else f"inception-unpublished@{config.sha256[:8]}"
    return spread(list(per_seed.values())) | {
        "name": f"fid{count_name(n)}_{name}",
        "per_seed": per_seed,
        "n": n,
        "split": split_name,
    }
