"""The VQ tokenizer's networks: shapes, gradients, codes, and what a training of it learns."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from ganline.errors import ConfigError
from ganline.models import Conditioning, ImageSpec
from ganline.models.config import VQConfig
from tests.unit.variants import image_spec

SMALL = VQConfig(vocab=16, code_dim=4, width=8, d_width=8)


def network(resolution: int = 16, channels: int = 1):
    torch.manual_seed(0)
    return SMALL.build_generator(image_spec(resolution, channels), Conditioning())


@pytest.mark.parametrize(("resolution", "channels"), [(16, 1), (28, 1), (32, 3)])
def test_images_become_a_grid_of_codes_and_images_again(resolution, channels) -> None:
    net = network(resolution, channels)
    images = torch.rand(3, channels, resolution, resolution) * 2 - 1
    tokens = net.encode(images)
    assert tokens.shape == (3, (resolution // 4) ** 2) and tokens.dtype == torch.int64
    assert tokens.min() >= 0 and tokens.max() < 16
    made = net.decode(tokens)
    assert made.shape == images.shape and made.abs().max() <= 1


def test_a_token_is_the_nearest_code_in_angle() -> None:
    net = network()
    vectors = torch.nn.functional.normalize(net.encoder(torch.rand(2, 1, 16, 16)), dim=1)
    codes = torch.nn.functional.normalize(net.codes, dim=1)
    distances = (vectors[:, :, None] - codes.T[None, :, :, None, None]).square().sum(1)
    assert torch.equal(net.nearest(vectors), distances.argmin(1))


def test_every_parameter_learns_from_painting_and_the_losses_are_weighted() -> None:
    net = network()
    batch = SimpleNamespace(real=torch.rand(4, 1, 16, 16) * 2 - 1, auxiliary={})
    image = net.paint(batch)
    error = (image - batch.real).abs().mean()
    torch.testing.assert_close(batch.auxiliary["reconstruction"], SMALL.reconstruction_weight * error)
    sum(batch.auxiliary.values()).backward()
    assert not [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


def test_a_decoder_that_paints_black_far_beyond_black_still_learns_the_way_back() -> None:
    net = network()
    torch.nn.init.constant_(net.decoder.last.bias, -50.0)
    batch = SimpleNamespace(real=torch.rand(4, 1, 16, 16) * 2 - 1, auxiliary={})
    net.paint(batch)
    batch.auxiliary["reconstruction"].backward()
    grad = net.decoder.last.bias.grad
    assert grad is not None and (grad < -1e-3).all()  # the next step makes it brighter
    assert torch.equal(net.decode(net.encode(batch.real)), -torch.ones(4, 1, 16, 16))


def test_gradients_pass_the_codes_straight_through() -> None:
    net = network()
    real = torch.rand(2, 1, 16, 16, requires_grad=True)
    net.paint(SimpleNamespace(real=real, auxiliary={})).sum().backward()
    assert real.grad is not None and real.grad.abs().sum() > 0


def test_noise_draws_codes_evenly() -> None:
    net = network()
    drawn = []
    net.decode = lambda tokens: drawn.append(tokens)  # type: ignore[method-assign, assignment]
    net(torch.randn(400, net.z_dim, generator=torch.Generator().manual_seed(0)))
    share = torch.bincount(drawn[0].flatten(), minlength=16) / drawn[0].numel()
    assert share.min() > 0.04 and share.max() < 0.09


def test_a_resolution_that_patches_do_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match="30 px"):
        SMALL.build_generator(ImageSpec(resolution=30, channels=1), Conditioning())
