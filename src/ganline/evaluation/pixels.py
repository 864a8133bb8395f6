"""What a blurred or noisy generator gives away without any network: statistics of the pixels themselves.

All on grey levels in [0, 255]; of RGB the luma of ITU-R BT.601.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
IMAGES_AT_ONCE = 512


def grey_levels(images: Tensor) -> Tensor:
    """uint8 [n, C, H, W] with C in {1, 3} -> float32 [n, H, W] in [0, 255]."""
    if images.shape[1] == 1:
        return images[:, 0].float()
    return (images.float() * torch.tensor(LUMA, device=images.device).view(1, 3, 1, 1)).sum(1)


def pixel_statistics(images: Tensor) -> dict[str, Tensor]:
    """Statistics of each of uint8 images [n, C, H, W], H and W at least 3: float32 [n] each, on the images' device.

    - `sharpness`: variance of the Laplacian (Pech-Pacheco et al. 2000): blur lowers it.
    - `noise`: standard deviation of white noise (Immerkær 1996, Fast noise variance estimation, eq. 3), from a filter
      that lines and smooth shading leave at zero.
    - `contrast`: standard deviation of the grey levels. `brightness`: their mean.
    """
    parts = [of_grey(grey_levels(part)) for part in images.split(IMAGES_AT_ONCE)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def of_grey(grey: Tensor) -> dict[str, Tensor]:
    """The statistics of grey images [n, H, W]."""
    across, down = grey.diff(n=2, dim=-1), grey.diff(n=2, dim=-2)
    laplacian = across[:, 1:-1, :] + down[:, :, 1:-1]
    # Second differences along both axes are the filter [[1, -2, 1], [-2, 4, -2], [1, -2, 1]]; its gain on white noise
    # is 6, and the mean magnitude of a normal variable is sqrt(2 / pi) standard deviations.
    residue = across.diff(n=2, dim=-2).abs().mean((-2, -1))
    return {
        "sharpness": laplacian.var((-2, -1), correction=0),
        "noise": residue * (math.sqrt(math.pi / 2) / 6),
        "contrast": grey.std((-2, -1), correction=0),
        "brightness": grey.mean((-2, -1)),
    }
