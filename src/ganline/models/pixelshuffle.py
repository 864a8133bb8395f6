"""The deployable convolutional GAN: Conv + BatchNorm + PixelShuffle only, so that it folds, quantises and exports.

Sub-pixel convolution: Shi et al. 2016, arXiv 1609.05158. Projection discriminator: Miyato & Koyama 2018,
arXiv 1802.05637, eq. 4. Widths, the strided D and G's residual convolutions were chosen on short runs:
docs/decisions/002-default-recipe.md has the log.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import leaky_relu, pixel_shuffle, pixel_unshuffle

from ganline.models.config import ImageSpec, PixelShuffleConfig, stem_resolution
from ganline.models.layers import BatchNorm2d, one_hot, projected
from ganline.models.spec import Discriminator, Generator

LABEL_GAIN = 3.0  # a one-hot label beside unit-variance z, loud enough to be heard from the first step
PROMPT_FEATURES, PROMPT_GAIN = 64, 0.5  # what G's stem reads of a prompt: prompts then differ about as labels do
MAX_WIDTH = 256
FEATURES = 128
LARGEST_STEM = 8


class PixelShuffleGenerator(Generator):
    """z [N, z_dim] and label [N] or prompt [N, prompt_dim] -> image [N, C, H, W] in [-1, 1].

    After the first doubling each stage begins with a residual convolution. Every BatchNorm but the stem's follows a
    convolution (a pixel shuffle between them only moves values), so all of those fold into their convolutions.
    """

    def __init__(self, config: PixelShuffleConfig, image: ImageSpec, num_classes: int):
        super().__init__()
        self.z_dim, self.num_classes, self.prompt_dim = config.z_dim, num_classes, config.prompt_dim
        told = PROMPT_FEATURES if config.prompt_dim else num_classes
        self.side, doublings = stem_resolution(image.resolution, LARGEST_STEM)
        widths = [max(config.g_width >> i, config.g_least) for i in range(doublings)]
        self.width = widths[0]
        self.gain: nn.Module = Gain(LABEL_GAIN) if num_classes and not config.prompt_dim else nn.Identity()
        self.stem: nn.Module = nn.Linear(config.z_dim + told, self.width * self.side**2, bias=False)
        self.norms = nn.ModuleList(BatchNorm2d(width) for width in widths)
        self.acts = nn.ModuleList(nn.ReLU(inplace=True) for _ in widths)
        # Each convolution makes the four sub-pixels of what comes next: the last one those of the image itself.
        self.convs = nn.ModuleList(nn.Conv2d(a, 4 * b, 3, padding=1) for a, b in pairwise([*widths, image.channels]))
        self.residuals = nn.ModuleList(residual(width) for width in widths[1:])
        if config.prompt_dim:
            self.prompt = PromptLinear(config.prompt_dim, PROMPT_FEATURES, std=PROMPT_GAIN)

    def forward(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        if self.prompt_dim:
            z = torch.cat([z, self.prompt(label).to(z.dtype)], dim=1)
        elif self.num_classes:
            z = torch.cat([z, self.gain(one_hot(label, self.num_classes, z))], dim=1)
        # The stem writes [N, H, W, C]: seen as [N, C, H, W] that is channels_last without a copy.
        x = self.stem(z).view(-1, self.side, self.side, self.width).permute(0, 3, 1, 2)
        for i, (norm, act, conv) in enumerate(zip(self.norms, self.acts, self.convs, strict=True)):
            x = act(norm(x))
            if i:
                x = x + self.residuals[i - 1](x)
            x = pixel_shuffle(conv(x), 2)
        return torch.tanh(x)


class Gain(nn.Module):
    """x times a constant."""

    def __init__(self, value: float):
        super().__init__()
        self.value = value

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.value * x


def residual(width: int) -> nn.Module:
    """What is added to `width` channels: Conv, BatchNorm, ReLU."""
    conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
    return nn.Sequential(conv, BatchNorm2d(width), nn.ReLU(inplace=True))


class PromptLinear(nn.Linear):
    """Prompts' embeddings [N, E] of length 1 -> features [N, F] whose values are at first about `std`."""

    def __init__(self, prompt_dim: int, features: int, *, std: float):
        super().__init__(prompt_dim, features)
        nn.init.normal_(self.weight, std=std)
        nn.init.zeros_(self.bias)

    def forward(self, prompt: torch.Tensor | None) -> torch.Tensor:
        assert prompt is not None and prompt.is_floating_point(), "a network built for prompts needs their embeddings"
        return super().forward(prompt.to(self.weight.dtype))


class PixelShuffleDiscriminator(Discriminator):
    """image [N, C, H, W] and label [N] or prompt [N, prompt_dim] -> logits [N].

    No normalisation, so samples do not influence one another.
    """

    def __init__(self, config: PixelShuffleConfig, image: ImageSpec, num_classes: int):
        super().__init__()
        self.num_classes, self.prompt_dim = num_classes, config.prompt_dim
        side, halvings = stem_resolution(image.resolution, LARGEST_STEM)
        widths = [min(config.d_width << i, MAX_WIDTH) for i in range(halvings)]
        first = nn.Conv2d(4 * image.channels, widths[0], 3, padding=1)
        strided = [nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths)]
        self.convs = nn.ModuleList([first, *strided])
        self.features = nn.Linear(widths[-1] * side**2, FEATURES)
        self.logit = nn.Linear(FEATURES, 1)
        if config.prompt_dim:
            self.embed: nn.Module = PromptLinear(config.prompt_dim, FEATURES, std=FEATURES**-0.5)
        elif num_classes:
            self.embed = embed = nn.Embedding(num_classes, FEATURES)
            nn.init.normal_(embed.weight, std=FEATURES**-0.5)

    def forward(self, image: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        x = pixel_unshuffle(image, 2)
        for conv in self.convs:
            x = leaky_relu(conv(x), 0.2, inplace=True)
        x = leaky_relu(self.features(x.permute(0, 2, 3, 1).flatten(1)), 0.2)
        return projected(x, self.logit, self.embed(label) if self.num_classes or self.prompt_dim else None)
