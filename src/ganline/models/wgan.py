"""WGAN's ResNet (Arjovsky et al. 2017, arXiv 1701.07875; Gulrajani et al. 2017, arXiv 1704.00028, appendix F).

At 32 px with `g_width: 128` it has the 1,204,483 and 1,053,825 parameters of WGAN-GP's CIFAR-10 networks (without their
labels, which enter by conditional BatchNorm and an auxiliary classifier). With `critic_norm: true` it has the 4,276,739
and 1,055,879 of StudioGAN's WGAN-GP. That critic uses BatchNorm, against the paper's section 4 ("no critic batch
normalization"); here its place is taken by layer normalisation with a gain and bias a channel, which the paper
recommends: as many parameters, and samples stay apart.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import relu

from ganline.models.config import Conditioning, ImageSpec, WGANConfig, halved_width, stem_resolution
from ganline.models.layers import BatchNorm2d, one_hot, projected
from ganline.models.resnet import DownBlock, MakeNorm, UpBlock, apply_norm, conv
from ganline.models.spec import Discriminator, Generator


def width_at(width: int, side: int) -> int:
    """The width of the 32 px networks, halved with every doubling above."""
    return halved_width(width, side, widest_side=32, least=8)


def build_generator(config: WGANConfig, image: ImageSpec, conditioning: Conditioning) -> ResNetGenerator:
    return ResNetGenerator(
        image, config.z_dim, config.g_width, norm=BatchNorm2d, num_classes=conditioning.num_classes, one_hot=True
    )


def build_discriminator(config: WGANConfig, image: ImageSpec, conditioning: Conditioning) -> ResNetDiscriminator:
    norm = layer_norm if config.critic_norm else None
    return ResNetDiscriminator(image, config.d_width, conditioning.num_classes, norm=norm)


def layer_norm(width: int) -> nn.Module:
    """Layer normalisation over channels and positions (Ba et al. 2016), a gain and bias a channel."""
    return nn.GroupNorm(1, width)


class ResNetGenerator(Generator):
    """z [N, z_dim] and label [N] -> image [N, C, H, W] in [-1, 1]. `norm` makes the blocks' normalisation.

    A label enters by the normalisation, or (`one_hot`) as a one-hot beside z.
    """

    def __init__(
        self, image: ImageSpec, z_dim: int, width: int, *, norm: MakeNorm, num_classes: int, one_hot: bool = False
    ):
        super().__init__()
        self.z_dim, self.num_classes, self.one_hot_classes = z_dim, num_classes, num_classes if one_hot else 0
        side, doublings = stem_resolution(image.resolution)
        widths = [width_at(width, image.resolution >> (doublings - i)) for i in range(doublings + 1)]
        self.shape = (widths[0], side, side)
        self.project = nn.Linear(z_dim + self.one_hot_classes, widths[0] * side**2)
        nn.init.xavier_uniform_(self.project.weight)
        self.blocks = nn.ModuleList(UpBlock(widths[i], widths[i + 1], norm=norm) for i in range(doublings))
        self.norm = BatchNorm2d(widths[-1])
        self.to_image = conv(widths[-1], image.channels, 3, gain=1.0)

    def forward(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        if self.one_hot_classes:
            z = torch.cat([z, one_hot(label, self.one_hot_classes, z)], 1)
        x = self.project(z).unflatten(1, self.shape)
        for block in self.blocks:
            x = block(x, label)
        return torch.tanh(self.to_image(relu(apply_norm(self.norm, x, label))))


class ResNetDiscriminator(Discriminator):
    """image [N, C, H, W] and label [N] -> logits [N], with a projection where there are classes (Miyato & Koyama 2018).

    Halvings down to a side of 7 or 8, then two blocks of equal side, ReLU, sum over positions (as in SNGAN; WGAN-GP's
    own critic takes the mean).
    """

    def __init__(self, image: ImageSpec, width: int, num_classes: int, *, norm: MakeNorm | None = None):
        super().__init__()
        self.num_classes = num_classes
        _, halvings = stem_resolution(image.resolution, largest_stem=8)
        widths = [width_at(width, image.resolution >> (i + 1)) for i in range(halvings)]
        blocks = [DownBlock(image.channels, widths[0], down=True, first=True, norm=norm)]
        for i in range(1, halvings):
            blocks.append(DownBlock(widths[i - 1], widths[i], down=True, norm=norm))
        blocks += [DownBlock(widths[-1], widths[-1], down=False, norm=norm) for _ in range(2)]
        self.blocks = nn.ModuleList(blocks)
        self.logit = nn.Linear(widths[-1], 1)
        nn.init.xavier_uniform_(self.logit.weight)
        if num_classes:
            self.embed = nn.Embedding(num_classes, widths[-1])
            nn.init.xavier_uniform_(self.embed.weight)

    def forward(self, image: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        x = image
        for block in self.blocks:
            x = block(x)
        x = relu(x).sum((2, 3))
        return projected(x, self.logit, self.embed(label) if self.num_classes else None)
