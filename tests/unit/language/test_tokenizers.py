"""Tokenizers: inverse where they can be, deterministic, ordered by brightness, whole on disk."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ganline.data.loader import rows_as_tensor
from ganline.devices import pick
from ganline.errors import BundleError, ConfigError
from ganline.images import to_network
from ganline.language.sections import KMeansConfig, PixelsConfig, VQTokenizerConfig
from ganline.language.tokenizers import (
    build_tokenizer,
    encode_split,
    explained,
    fit_means,
    load_tokenizer,
    order_codes,
    save_tokenizer,
)
from tests.unit.variants import image_spec, train_section

IMAGE = image_spec(16, 1)
KMEANS = KMeansConfig(vocab=32, patch=4, sample=2000)


def vq_config() -> VQTokenizerConfig:
    section = train_section("pixelshuffle", "relativistic", conditional=False)
    section["model"] = {"name": "vq", "vocab": 16, "code_dim": 4, "width": 8, "d_width": 8}
    return VQTokenizerConfig.model_validate({"train": section})


def fitted(digits):
    tokenizer = build_tokenizer(KMEANS, IMAGE)
    fit_means(tokenizer, KMEANS, digits.split("train"))
    order_codes(tokenizer)
    return tokenizer.eval()


def test_means_are_the_same_every_time_and_near_their_patches(digits) -> None:
    one, two = fitted(digits), fitted(digits)
    assert torch.equal(one.codes, two.codes)
    images = to_network(rows_as_tensor(digits.split("test"), 0, 32))
    error = (one.decode(one.encode(images)) - images).square().mean()
    assert error < 0.3 * images.var()


def test_a_patch_gets_its_nearest_mean(digits) -> None:
    tokenizer = fitted(digits)
    images = to_network(rows_as_tensor(digits.split("test"), 0, 4))
    distances = torch.cdist(tokenizer.rows(images), tokenizer.codes.expand(4, -1, -1))
    chosen = distances.gather(2, tokenizer.encode(images)[:, :, None])[:, :, 0]
    torch.testing.assert_close(chosen, distances.min(2).values)


def test_patches_are_cut_row_by_row() -> None:
    tokenizer = build_tokenizer(KMeansConfig(vocab=16, patch=4), image_spec(16, 3))
    tokenizer.codes.data = torch.arange(16.0)[:, None].expand(-1, 48).clone()
    image = tokenizer.decode(torch.arange(16)[None])
    assert image.shape == (1, 3, 16, 16)
    assert torch.equal(image[0, 0, ::4, ::4].flatten(), torch.arange(16.0))


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_come_back_but_for_their_rounding(channels) -> None:
    tokenizer = build_tokenizer(PixelsConfig(levels=256), image_spec(16, channels))
    images = to_network(torch.randint(256, (2, channels, 16, 16), dtype=torch.uint8))
    assert tokenizer.num_tokens == 256 * channels
    torch.testing.assert_close(tokenizer.decode(tokenizer.encode(images)), images)


@pytest.mark.parametrize("config", [KMEANS, vq_config()], ids=["kmeans", "vq"])
def test_codes_are_ordered_from_dark_to_bright(config, digits) -> None:
    torch.manual_seed(0)
    tokenizer = build_tokenizer(config, IMAGE)
    if config is KMEANS:
        fit_means(tokenizer, config, digits.split("train"))
    tokenizer.eval().requires_grad_(False)
    order_codes(tokenizer)
    every = torch.arange(tokenizer.vocab)[:, None].expand(-1, tokenizer.num_tokens)
    brightness = tokenizer.decode(every).mean((1, 2, 3))
    assert (brightness.diff() >= -1e-6).all() and brightness[-1] > brightness[0]


@pytest.mark.parametrize("config", [KMEANS, PixelsConfig(levels=4), vq_config()], ids=["kmeans", "pixels", "vq"])
def test_a_saved_tokenizer_is_the_same_and_a_damaged_one_is_refused(config, digits, tmp_path) -> None:
    torch.manual_seed(0)
    tokenizer = build_tokenizer(config, IMAGE).eval()
    save_tokenizer(tokenizer, config, IMAGE, tmp_path / "tokenizer")
    again, compute = load_tokenizer(tmp_path / "tokenizer"), pick("fp32")
    split = digits.split("test")
    assert np.array_equal(encode_split(tokenizer, split, compute), encode_split(again, split, compute))
    weights = tmp_path / "tokenizer" / "tokenizer.safetensors"
    weights.write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(BundleError, match="damaged"):
        load_tokenizer(tmp_path / "tokenizer")


def test_what_tokens_keep_of_the_images_is_told(digits) -> None:
    split, compute = digits.split("test"), pick("fp32")
    exact = build_tokenizer(PixelsConfig(levels=256), IMAGE)
    tokens = encode_split(exact, split, compute)
    assert explained(exact, split, tokens, compute) == 1.0
    means = fitted(digits)
    some = encode_split(means, split, compute)
    assert 0.7 < explained(means, split, some, compute) < 1.0
    assert explained(means, split, np.zeros_like(some), compute) < 0  # nothing but the darkest code


def test_patches_that_do_not_divide_and_too_few_patches_are_refused(digits) -> None:
    with pytest.raises(ConfigError, match="do not divide"):
        build_tokenizer(KMeansConfig(patch=5), IMAGE)
    few = KMeansConfig(vocab=30_000, patch=4)
    with pytest.raises(ConfigError, match="cannot have 30000 means"):
        fit_means(build_tokenizer(few, IMAGE), few, digits.split("train"))
