"""Images <-> tokens: k-means patches, a learned VQ, or raw pixels.

Codes are ordered by the brightness that they decode to: a token is drawn as a quantile, and so near noise gives near
images.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from ganline.data.loader import Split, rows_as_tensor
from ganline.devices import Compute
from ganline.errors import BundleError, ConfigError
from ganline.files import atomic_folder, read_json, sha256_file, write_json
from ganline.images import to_network, to_pixels
from ganline.language.sections import KMeansConfig, PixelsConfig, TokenizerConfig
from ganline.models.config import ImageSpec, VQConfig
from ganline.models.vq import VQAutoencoder
from ganline.seeds import derive, generator

CHUNK = 256
FORMAT = "tokenizer.json"
WEIGHTS = "tokenizer.safetensors"


class Tokenizer(nn.Module):
    """`encode`: float images [N, C, H, W] in [-1, 1] -> tokens int64 [N, num_tokens]; `decode` is its inverse."""

    num_tokens: int
    vocab: int

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError  # the interface: each kind below has its own

    def decode(self, tokens: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError  # likewise


class Patches(Tokenizer):
    """Means of patches. `codes` [vocab, C * patch^2]: patches as rows, channel by channel."""

    def __init__(self, config: KMeansConfig, image: ImageSpec):
        super().__init__()
        if image.resolution % config.patch:
            raise ConfigError(
                f"patches of {config.patch} do not divide images of {image.resolution} px",
                remedy="set tokenizer.patch to a divisor",
            )
        self.patch, self.side, self.vocab = config.patch, image.resolution // config.patch, config.vocab
        self.num_tokens = self.side**2
        self.codes = nn.Parameter(torch.zeros(config.vocab, image.channels * config.patch**2), requires_grad=False)

    def rows(self, images: torch.Tensor) -> torch.Tensor:
        """[N, C, H, W] -> patches [N, num_tokens, C * patch^2], row by row."""
        return pixel_unshuffle(images, self.patch).flatten(2).transpose(1, 2)

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        rows = self.rows(images)
        return (rows @ self.codes.T - self.codes.square().sum(1) / 2).argmax(-1)

    def decode(self, tokens: torch.Tensor) -> torch.Tensor:
        grid = self.codes[tokens].transpose(1, 2).unflatten(2, (self.side, self.side))
        return pixel_shuffle(grid, self.patch)


class Learned(Tokenizer):
    """The VQ autoencoder as a tokenizer."""

    def __init__(self, config: VQConfig, image: ImageSpec):
        super().__init__()
        self.net = VQAutoencoder(config, image)
        self.num_tokens, self.vocab = self.net.num_tokens, config.vocab

    @property
    def codes(self) -> nn.Parameter:
        return self.net.codes

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        return self.net.encode(images)

    def decode(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.net.decode(tokens)


class Pixels(Tokenizer):
    """Greys, in the order of rows, columns, channels."""

    def __init__(self, config: PixelsConfig, image: ImageSpec):
        super().__init__()
        self.vocab, self.image = config.levels, image
        self.num_tokens = image.channels * image.resolution**2

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        levels = ((images + 1) / 2 * (self.vocab - 1)).round().long().clamp(0, self.vocab - 1)
        return levels.permute(0, 2, 3, 1).flatten(1)

    def decode(self, tokens: torch.Tensor) -> torch.Tensor:
        size = (self.image.resolution, self.image.resolution, self.image.channels)
        return (tokens.float() / (self.vocab - 1) * 2 - 1).unflatten(1, size).permute(0, 3, 1, 2)


def build_tokenizer(config: Any, image: ImageSpec) -> Tokenizer:
    """A tokenizer without its weights."""
    if isinstance(config, KMeansConfig):
        return Patches(config, image)
    if isinstance(config, PixelsConfig):
        return Pixels(config, image)
    return Learned(config.train.model, image)


def fit_means(tokenizer: Patches, config: KMeansConfig, split: Split) -> None:
    """k-means in mini-batches (Sculley 2010) from k-means++ (scikit-learn), on one thread: threads would add up in any
    order."""
    from sklearn.cluster import MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    each = max(1, min(len(split), math.ceil(config.sample / tokenizer.num_tokens)))
    rows = torch.randperm(len(split), generator=generator(config.seed, "patches"))[:each]
    images = to_network(torch.from_numpy(np.array(split.images[rows.sort().values.numpy()])))
    patches = tokenizer.rows(images).flatten(0, 1).numpy()[: config.sample]
    if len(patches) < config.vocab:
        raise ConfigError(
            f"{len(patches)} patches cannot have {config.vocab} means", remedy="lower tokenizer.vocab, or add images"
        )
    means = MiniBatchKMeans(
        config.vocab,
        random_state=derive(config.seed, "means") % 2**32,
        batch_size=8192,
        n_init=1,
        max_iter=40,
        max_no_improvement=None,
        reassignment_ratio=0.0,
    )
    with threadpool_limits(1):
        means.fit(patches)
    tokenizer.codes.data = torch.from_numpy(means.cluster_centers_.astype(np.float32))


@torch.inference_mode()
def order_codes(tokenizer: Tokenizer) -> None:
    """Sort the codes by the mean brightness of an image of nothing but that code, darkest first."""
    codes = getattr(tokenizer, "codes", None)
    if codes is None:
        return
    every = torch.arange(tokenizer.vocab, device=codes.device)[:, None].expand(-1, tokenizer.num_tokens)
    brightness = torch.cat([tokenizer.decode(part).mean((1, 2, 3)) for part in every.split(CHUNK)])
    codes.data = codes.data[brightness.argsort(stable=True)].clone()


@torch.inference_mode()
def encode_split(tokenizer: Tokenizer, split: Split, compute: Compute) -> np.ndarray:
    """Tokens of every image of a split, int16 [N, num_tokens]."""
    parts = []
    for start in range(0, len(split), CHUNK):
        images = to_network(rows_as_tensor(split, start, start + CHUNK).to(compute.device))
        parts.append(tokenizer.encode(images).to(torch.int16).cpu())
    return torch.cat(parts).numpy()


@torch.inference_mode()
def explained(tokenizer: Tokenizer, split: Split, tokens: np.ndarray, compute: Compute) -> float:
    """Share of a split's variance about its mean image that int tokens [N, num_tokens] keep: at most 1."""
    mean = split.images.mean(0, dtype=np.float64)
    lost = total = 0.0
    for start in range(0, len(split), CHUNK):
        images = split.images[start : start + CHUNK]
        made = tokenizer.decode(torch.from_numpy(tokens[start : start + CHUNK]).long().to(compute.device))
        lost += float(np.square(to_pixels(made).cpu().numpy() - images.astype(np.float64)).sum())
        total += float(np.square(images - mean).sum())
    return 1.0 - lost / total if total else 1.0


def save_tokenizer(tokenizer: Tokenizer, config: Any, image: ImageSpec, folder: Path) -> None:
    """Write the tokenizer as a folder, atomically."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in tokenizer.state_dict().items()}
    with atomic_folder(folder) as partial:
        (partial / WEIGHTS).write_bytes(save(state))
        meta = {"tokenizer": config.model_dump(mode="json"), "image": image.model_dump(mode="json")}
        meta |= {"num_tokens": tokenizer.num_tokens, "vocab": tokenizer.vocab}
        write_json(partial / FORMAT, meta | {"sha256": sha256_file(partial / WEIGHTS)})


def load_tokenizer(folder: Path) -> Tokenizer:
    """Open a tokenizer's folder. Raises BundleError if its weights are not those that were written."""
    from pydantic import TypeAdapter

    meta = read_json(folder / FORMAT)
    if sha256_file(folder / WEIGHTS) != meta["sha256"]:
        raise BundleError(f"{folder / WEIGHTS} is damaged", remedy="run `dvc repro tokenizer`")
    config: Any = TypeAdapter(TokenizerConfig).validate_python(meta["tokenizer"])
    tokenizer = build_tokenizer(config, ImageSpec.model_validate(meta["image"]))
    tokenizer.load_state_dict(load_file(folder / WEIGHTS))
    return tokenizer.eval().requires_grad_(False)
