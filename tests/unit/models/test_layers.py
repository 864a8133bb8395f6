"""Shared layers against references written the slow way."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import conv2d, conv_transpose2d

from ganline.draws import Draws
from ganline.models.config import Conditioning, ImageSpec, StyleGAN2Config
from ganline.models.layers import (
    Dropout,
    EqualConv,
    EqualLinear,
    downsample,
    drawing,
    filter_matrix,
    minibatch_stddev,
    pixel_norm,
    spectral,
    upsample,
)
from ganline.models.progressive import level_at
from ganline.models.stylegan2 import StyleGenerator, modulated

DOUBLE = torch.float64
TAPS = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=DOUBLE) / 8
KERNEL = torch.outer(TAPS, TAPS)


def each_channel(x: torch.Tensor, kernel: torch.Tensor, **options) -> torch.Tensor:
    weight = kernel.expand(x.shape[1], 1, *kernel.shape)
    return conv2d(x, weight, groups=x.shape[1], **options)


def test_downsampling_is_the_published_filter_with_stride_two() -> None:
    x = torch.randn(2, 3, 8, 8, dtype=DOUBLE)
    assert torch.allclose(downsample(x), each_channel(x, KERNEL, stride=2, padding=1))


def test_upsampling_is_the_published_filter() -> None:
    x = torch.randn(2, 3, 8, 8, dtype=DOUBLE)
    weight = (4 * KERNEL).expand(3, 1, 4, 4)
    assert torch.allclose(upsample(x), conv_transpose2d(x, weight, stride=2, padding=1, groups=3))


@pytest.mark.parametrize("demodulate", [False, True])
@pytest.mark.parametrize("up", [False, True])
def test_modulation_of_input_and_output_equals_a_weight_a_sample(demodulate, up) -> None:
    torch.manual_seed(0)
    x, style = torch.randn(3, 4, 6, 6, dtype=DOUBLE), torch.randn(3, 4, dtype=DOUBLE)
    weight = torch.randn(5, 4, 3, 3, dtype=DOUBLE)
    found = modulated(x, weight, style, demodulate=demodulate, up=up)
    for i in range(3):
        own = weight * style[i][None, :, None, None]
        if demodulate:
            own = own / (own.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if up:  # zeros between the pixels, convolution, then the filter (Karras et al. 2020, appendix B)
            spread = x.new_zeros(1, 4, 13, 13)
            spread[:, :, 1:12:2, 1:12:2] = x[i]
            wide = conv2d(spread, own, padding=1)
            reference = each_channel(wide, 4 * KERNEL, padding=1)
        else:
            reference = conv2d(x[i : i + 1], own, padding=1)
        assert torch.allclose(found[i : i + 1], reference)


def test_minibatch_stddev_is_that_of_each_group() -> None:
    x = torch.randn(8, 3, 4, 4, dtype=DOUBLE)
    found = minibatch_stddev(x, group=4)[:, 3]
    for group in (slice(0, 4), slice(4, 8)):
        expected = x[group].std(0, correction=0).mean()
        assert found[group].flatten().tolist() == pytest.approx([expected.item()] * 64, rel=1e-6)


def test_minibatch_stddev_of_an_uneven_batch_uses_every_sample_once() -> None:
    x = torch.randn(7, 2, 4, 4, dtype=DOUBLE)
    found = minibatch_stddev(x, group=3)[:, 2, 0, 0]
    expected = [x[:3].std(0, correction=0).mean().item()] * 3 + [x[3:].std(0, correction=0).mean().item()] * 4
    assert found.tolist() == pytest.approx(expected, rel=1e-6)


def test_pixel_norm_gives_unit_mean_square() -> None:
    x = 5 * torch.randn(2, 16, 3, 3)
    assert torch.allclose(pixel_norm(x).square().mean(1), torch.ones(2, 3, 3), atol=1e-5)


def test_equalised_layers_keep_unit_variance() -> None:
    torch.manual_seed(0)
    assert EqualLinear(512, 512)(torch.randn(64, 512)).std().item() == pytest.approx(1.0, abs=0.05)
    assert EqualLinear(512, 512, lr_gain=0.01)(torch.randn(64, 512)).std().item() == pytest.approx(1.0, abs=0.05)
    inner = EqualConv(64, 64, 3)(torch.randn(8, 64, 16, 16))[:, :, 1:-1, 1:-1]
    assert inner.std().item() == pytest.approx(1.0, abs=0.05)


def test_spectral_norm_brings_the_largest_singular_value_to_one() -> None:
    torch.manual_seed(0)
    layer = spectral(torch.nn.Conv2d(4, 8, 3))
    for _ in range(200):
        weight = layer.weight
    assert torch.linalg.svdvals(weight.flatten(1))[0].item() == pytest.approx(1.0, abs=1e-4)
    layer.eval()
    assert torch.equal(layer.weight, layer.weight)


def test_dropout_is_off_without_draws_and_keeps_the_mean_with_them() -> None:
    layer, x = Dropout(0.25), torch.ones(1000, 50)
    assert layer(x) is x
    with drawing(layer, Draws(0, "dropout", 0, batch=1000, device=torch.device("cpu"))):
        dropped = layer(x)
    assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.02)
    assert layer(x) is x


def test_levels_settle_and_fade_in_turn() -> None:
    levels = [level_at(share, grow_share=0.5, last=2) for share in (0.0, 0.125, 0.1875, 0.25, 0.375, 0.4375, 0.5, 1.0)]
    assert levels == pytest.approx([0.0, 0.0, 0.5, 1.0, 1.0, 1.5, 2.0, 2.0])


def test_a_filter_that_a_sampler_asked_for_first_serves_training_too() -> None:
    filter_matrix.cache_clear()
    with torch.inference_mode():
        upsample(torch.randn(1, 2, 6, 6))
    x = torch.randn(1, 2, 6, 6, requires_grad=True)
    upsample(x).sum().backward()
    assert x.grad is not None


def style_generator(**options) -> StyleGenerator:
    config = StyleGAN2Config(z_dim=8, w_dim=8, width_base=128, width_max=8, **options)
    torch.manual_seed(0)
    G = config.build_generator(ImageSpec(resolution=16, channels=1), Conditioning())
    with torch.no_grad():
        for parameter in G.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return G


def test_w_avg_follows_w_in_training_and_truncation_ends_in_it() -> None:
    G, z = style_generator(), torch.randn(64, 8)
    for index in range(2000):
        with torch.no_grad(), drawing(G, Draws(0, "G", index, batch=64, device=torch.device("cpu"))):
            G.mapping(z)
    mean = G.mapping(z)[:, 0].mean(0)
    assert torch.allclose(G.mapping.w_avg, mean, atol=1e-3)
    typical = G.truncated(z[:4], None, 1e-6)
    assert torch.allclose(typical[0], typical[1], atol=1e-3)
    assert torch.allclose(G.truncated(z[:4], None, 1.0), G(z[:4]), atol=1e-5)


@pytest.mark.parametrize(("mixing", "share"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_a_share_of_the_samples_changes_its_style_on_the_way(mixing, share) -> None:
    G, z = style_generator(mixing=mixing), torch.randn(2000, 8)
    with torch.no_grad(), drawing(G, Draws(0, "G", 0, batch=2000, device=torch.device("cpu"))):
        w = G.mapping(z)
    assert torch.equal(w[:, 0], G.mapping(z)[:, 0])  # the first style is always that of z
    changed = (w[:, -1] != w[:, 0]).any(1).float().mean().item()
    assert changed == pytest.approx(share, abs=0.04)
