"""Differentiable augmentation of what D sees, reals and fakes alike: D learns small data sets by heart without it.

Operations and strengths are those of DiffAugment (Zhao et al. 2020, arXiv 2006.10738, section 3; flips are added);
each happens to each sample with one probability p, fixed, scheduled or adapted to D's overfitting, as in ADA (Karras
et al. 2020, arXiv 2006.06676, sections 2.2 and 3). With p < 1 the share of untouched samples keeps augmentations from
leaking into G's images; p = 1 is DiffAugment. This is the smaller pipe: the one of StyleGAN2-ADA and R3GAN also
rotates, scales, turns hues, filters and adds noise.

Nothing here waits for the device, and no shape depends on values. Flips and translations are matrix products with
selection matrices, because the gradients of gathers and grid samples are not deterministic on CUDA.
"""

from __future__ import annotations

import torch

from ganline.devices import full_precision
from ganline.draws import Draws
from ganline.losses.config import OPERATIONS, AdaConfig, AugmentConfig

NUM_AMOUNTS = 8


def augment(images: torch.Tensor, *, config: AugmentConfig, p: torch.Tensor, draws: Draws) -> torch.Tensor:
    """[N, C, H, W] in about [-1, 1] -> the same shape, float32 (float64 if the images are), whatever autocast says.

    `p` is a 0-dim float tensor on the images' device. Every row draws for itself, so a fake's numbers are not those of
    its real. A flip that happens turns half of its samples (ADA, appendix B), or p near 0.5 would hide which side is
    the right one. A row to which nothing happens keeps its values exactly. Differentiable at every order.
    """
    images = images if images.dtype == torch.float64 else images.float()
    n, _, height, width = images.shape
    # One draw of fixed layout: leaving an operation out does not change the numbers of the others.
    numbers = draws.uniform(n, len(OPERATIONS) + NUM_AMOUNTS)
    happens = dict(zip(OPERATIONS, (numbers[:, : len(OPERATIONS)] < p).to(images.dtype).unbind(1), strict=True))
    amounts = numbers[:, len(OPERATIONS) :].to(images.dtype).unbind(1)
    side, brightness, saturation, contrast, down, right, row, column = amounts
    on = set(config.operations)
    if "colour" in on:
        coin = happens["colour"]
        images = colour(
            images,
            brightness=coin * config.brightness * (2 * brightness - 1),
            saturation=1 + coin * config.saturation * (2 * saturation - 1),
            contrast=1 + coin * config.contrast * (2 * contrast - 1),
        )
    if on & {"flip", "translation"}:
        coin = happens["translation"] * ("translation" in on)
        images = move(
            images,
            flipped=happens["flip"] * (side < 0.5) * ("flip" in on),
            down=coin * shift(down, most=share_of(height, config.translation)),
            right=coin * shift(right, most=share_of(width, config.translation)),
        )
    if "cutout" in on:
        size = share_of(height, config.cutout), share_of(width, config.cutout)
        centre = (hole_centre(row, side=height, size=size[0]), hole_centre(column, side=width, size=size[1]))
        hole = inside(images, centre=centre, size=size)
        images = images * (1 - happens["cutout"].view(-1, 1, 1, 1) * hole)
    return images


def colour(
    images: torch.Tensor, *, brightness: torch.Tensor, saturation: torch.Tensor, contrast: torch.Tensor
) -> torch.Tensor:
    """Add brightness; scale the distance from each pixel's grey by saturation, then from the image's mean by contrast.

    Amounts are [N]; (0, 1, 1) changes nothing, and saturation nothing where there is one channel. DiffAugment's three
    steps written as one: contrast * saturation * x + contrast * (1 - saturation) * grey + (1 - contrast) * mean +
    brightness.
    """
    brightness, saturation, contrast = (a.view(-1, 1, 1, 1) for a in (brightness, saturation, contrast))
    if images.shape[1] == 1:
        return torch.addcmul((1 - contrast) * images.mean((1, 2, 3), keepdim=True) + brightness, contrast, images)
    grey = images.mean(1, keepdim=True)
    level = (1 - contrast) * grey.mean((2, 3), keepdim=True) + brightness
    rest = torch.addcmul(level, contrast * (1 - saturation), grey)
    return torch.addcmul(rest, contrast * saturation, images)


def move(images: torch.Tensor, *, flipped: torch.Tensor, down: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Mirror left and right where `flipped` [N] is 1, then shift by whole pixels `down`, `right` [N]; fill with 0."""
    height, width = images.shape[2:]
    rows = selection(height, shift=down, flipped=torch.zeros_like(down))
    columns = selection(width, shift=right, flipped=flipped)
    with full_precision(images):
        moved = torch.bmm(images.flatten(1, 2), columns.to(images.dtype).mT).view(images.shape)
        return rows.to(images.dtype).unsqueeze(1) @ moved


def selection(size: int, *, shift: torch.Tensor, flipped: torch.Tensor) -> torch.Tensor:
    """bool [N, size, size]: entry [n, i, j] says that output i is input j. An output from outside has no input."""
    places = torch.arange(size, device=shift.device, dtype=shift.dtype)
    source = places - shift.unsqueeze(1)
    source = torch.where(flipped.unsqueeze(1) > 0, size - 1 - source, source)
    return source.unsqueeze(2) == places


def share_of(side: int, share: float) -> int:
    """A share of a side in whole pixels, rounded as DiffAugment does."""
    return int(side * share + 0.5)


def shift(u: torch.Tensor, *, most: int) -> torch.Tensor:
    """u in [0, 1) -> whole numbers from -most to most, each as likely."""
    return (u * (2 * most + 1)).floor().clamp(max=2 * most) - most


def hole_centre(u: torch.Tensor, *, side: int, size: int) -> torch.Tensor:
    """u in [0, 1) -> whole numbers 0 to side - 1, or to side where `size` is even (DiffAugment): both borders alike."""
    last = side - size % 2
    return (u * (last + 1)).floor().clamp(max=last)


def inside(images: torch.Tensor, *, centre: tuple[torch.Tensor, torch.Tensor], size: tuple[int, int]) -> torch.Tensor:
    """[N, 1, H, W]: 1 in a hole of `size` pixels around `centre` (row, column; each [N]), cut off at the borders."""
    spans = []
    for length, middle, extent in zip(images.shape[2:], centre, size, strict=True):
        start = middle.unsqueeze(1) - extent // 2
        places = torch.arange(length, device=images.device, dtype=middle.dtype)
        spans.append((places >= start) & (places < start + extent))
    return (spans[0].unsqueeze(2) & spans[1].unsqueeze(1)).unsqueeze(1).to(images.dtype)


@torch.no_grad()
def adapt(p: torch.Tensor, real_signs_mean: torch.Tensor, *, config: AdaConfig, batch: int) -> torch.Tensor:
    """The next p: p + sign(r_t - target) * batch * every / (1000 * kimg), in [0, p_max]. For each `every`-th step.

    r_t = E[sign(D(real))] (ADA, eq. 1) over all ranks is `real_signs_mean`, a 0-dim tensor; `batch` is the global one.
    An r_t that is not a number leaves p where it is.
    """
    signs = real_signs_mean.to(p.dtype)
    direction = (signs > config.target).to(p.dtype) - (signs < config.target).to(p.dtype)
    return (p + direction * (batch * config.every / (config.kimg * 1000))).clamp(0.0, config.p_max)
