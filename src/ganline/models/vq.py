"""A VQ tokenizer: an autoencoder whose bottleneck is a grid of codes, trained against a discriminator.

VQ-VAE (van den Oord et al. 2017, arXiv 1711.00937, eq. 3) with VQGAN's adversarial loss (Esser et al. 2021,
arXiv 2012.09841) and unit-length codes of few dimensions (ViT-VQGAN, Yu et al. 2022, arXiv 2110.04627, section 3.2),
which keep the codebook in use without restarts. Deviations: no perceptual network (none is trained on these images but
the extractors that measure), no normalisation layers, and a decoder that is cut to [-1, 1] rather than bent by a tanh:
behind one, images of mostly one extreme (MNIST's black) drive its last layer to where no gradient comes back.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.functional import leaky_relu, normalize, pixel_shuffle, pixel_unshuffle

from ganline.errors import ConfigError
from ganline.models.config import ImageSpec, VQConfig
from ganline.models.spec import Generator

PATCH = 4
BEYOND = 0.1


def residual(width: int) -> nn.Module:
    return nn.Sequential(nn.LeakyReLU(0.2), nn.Conv2d(width, width, 3, padding=1))


class Encoder(nn.Module):
    """image [N, C, H, W] -> code vectors [N, code_dim, H / 4, W / 4], not yet of unit length."""

    def __init__(self, config: VQConfig, channels: int):
        super().__init__()
        self.first = nn.Conv2d(4 * channels, config.width, 3, padding=1)
        self.down = nn.Conv2d(config.width, 2 * config.width, 4, stride=2, padding=1)
        self.residual = residual(2 * config.width)
        self.last = nn.Conv2d(2 * config.width, config.code_dim, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.down(leaky_relu(self.first(pixel_unshuffle(image, 2)), 0.2))
        return self.last(leaky_relu(x + self.residual(x), 0.2))


class Decoder(nn.Module):
    """codes [N, code_dim, H / 4, W / 4] -> image [N, C, H, W], not yet cut to [-1, 1]."""

    def __init__(self, config: VQConfig, channels: int):
        super().__init__()
        self.first = nn.Conv2d(config.code_dim, 2 * config.width, 3, padding=1)
        self.residual = residual(2 * config.width)
        self.up = nn.Conv2d(2 * config.width, 4 * config.width, 3, padding=1)
        self.fine = residual(config.width)
        self.last = nn.Conv2d(config.width, 4 * channels, 3, padding=1)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        x = self.first(codes)
        x = pixel_shuffle(self.up(leaky_relu(x + self.residual(x), 0.2)), 2)
        return pixel_shuffle(self.last(leaky_relu(x + self.fine(x), 0.2)), 2)


def nearly_cut(image: torch.Tensor) -> torch.Tensor:
    """Cut to [-1, 1], but for a tenth of what is beyond: what is cut still learns the way back."""
    cut = image.clamp(-1.0, 1.0)
    return cut + BEYOND * (image - cut)


class VQAutoencoder(Generator):
    """Images <-> grids of codes. As a Generator it decodes codes drawn evenly: z [N, tokens] standard normal."""

    def __init__(self, config: VQConfig, image: ImageSpec):
        super().__init__()
        if image.resolution % PATCH:
            raise ConfigError(
                f"a VQ tokenizer cannot cut {image.resolution} px into patches of {PATCH}",
                expected=f"a resolution that {PATCH} divides",
                remedy="set prepare.resolution, or take the k-means tokenizer with another patch",
            )
        self.config, self.side, self.num_classes = config, image.resolution // PATCH, 0
        self.z_dim = self.num_tokens = self.side**2
        self.encoder, self.decoder = Encoder(config, image.channels), Decoder(config, image.channels)
        self.codes = nn.Parameter(normalize(torch.randn(config.vocab, config.code_dim), dim=1))

    def nearest(self, vectors: torch.Tensor) -> torch.Tensor:
        """Unit vectors [N, code_dim, h, w] -> index of the closest code, int64 [N, h, w], in float32."""
        with torch.no_grad(), torch.autocast(vectors.device.type, enabled=False):
            codes = normalize(self.codes.float(), dim=1)
            return torch.einsum("nchw,vc->nvhw", vectors.float(), codes).argmax(1)

    def look_up(self, index: torch.Tensor) -> torch.Tensor:
        """int64 [N, h, w] -> unit codes [N, code_dim, h, w]."""
        return normalize(self.codes, dim=1)[index].permute(0, 3, 1, 2)

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """image [N, C, H, W] in [-1, 1] -> tokens int64 [N, tokens], row by row."""
        return self.nearest(normalize(self.encoder(image), dim=1)).flatten(1)

    def decode(self, tokens: torch.Tensor) -> torch.Tensor:
        """tokens int64 [N, tokens] -> image [N, C, H, W] in [-1, 1]."""
        return self.decoder(self.look_up(tokens.unflatten(1, (self.side, self.side)))).clamp(-1.0, 1.0)

    def paint(self, batch: Any) -> torch.Tensor:
        """The batch's reals, reconstructed; the losses of that go to `batch.auxiliary`."""
        vectors = normalize(self.encoder(batch.real).float(), dim=1)
        codes = self.look_up(self.nearest(vectors))
        image = nearly_cut(self.decoder(vectors + (codes - vectors).detach()))
        batch.auxiliary["reconstruction"] = self.config.reconstruction_weight * (image - batch.real).abs().mean()
        commitment = (vectors - codes.detach()).square().sum(1).mean()
        batch.auxiliary["codes"] = self.config.commitment_weight * commitment
        batch.auxiliary["codes"] = batch.auxiliary["codes"] + (codes - vectors.detach()).square().sum(1).mean()
        return image

    def forward(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        share = 0.5 * torch.erfc(-z.float() * 2**-0.5)
        return self.decode((share * self.config.vocab).long().clamp(max=self.config.vocab - 1))
