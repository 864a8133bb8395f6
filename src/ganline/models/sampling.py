"""Images from a generator. Image i is a function of (seed, i) alone: not of n, the batch size or the device's RNG.

How labels are drawn: what measures a class-conditional G, and what prepares it for that, asks for each class as often
as training images have it (`label_histogram`). Pictures, the calibration of int8 and answers to a user who names no
class ask for all classes equally often: there each class counts, however rare.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ganline.devices import Compute
from ganline.images import to_pixels
from ganline.models.spec import Generator, Tell
from ganline.seeds import generator

CHUNK = 64


def latents(seed: int, chunk: int, z_dim: int) -> torch.Tensor:
    """z of images [chunk * CHUNK, (chunk + 1) * CHUNK), float32 [CHUNK, z_dim]."""
    return torch.randn(CHUNK, z_dim, generator=generator(seed, "z", chunk))


def label_histogram(labels: np.ndarray | torch.Tensor, num_classes: int) -> torch.Tensor:
    """How many images of each class there are, int64 [num_classes], of their labels int64 [N]."""
    return torch.bincount(torch.as_tensor(labels), minlength=num_classes)


def random_labels(seed: int, chunk: int, num_classes: int, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Labels of one chunk, int64 [CHUNK]: uniform, or in proportion to weights [num_classes]."""
    draws = generator(seed, "label", chunk)
    if weights is None:
        return torch.randint(num_classes, (CHUNK,), generator=draws)
    return torch.multinomial(weights.cpu().double(), CHUNK, replacement=True, generator=draws)


@torch.inference_mode()
def sample(
    G: Generator,
    *,
    n: int,
    seed: int,
    num_classes: int,
    compute: Compute,
    label: int | None = None,
    label_weights: torch.Tensor | None = None,
    truncation: float = 1.0,
    tell: Tell | None = None,
) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
    """Yield batches of (images uint8 [b, C, H, W] on the device, labels int64 [b] or None), n images in all.

    `label` fixes the class of a class-conditional G; None draws it, uniformly or by `label_weights` [num_classes]
    (`label_histogram` of the training labels wherever G is measured). `truncation` is Generator.truncated's psi: below
    1 images are more typical and less diverse. A G of prompts is told what `tell` makes of the labels, by default its
    own.
    """
    tell = tell or G.tell
    for chunk in range(-(-n // CHUNK)):
        keep = min(CHUNK, n - chunk * CHUNK)
        z = latents(seed, chunk, G.z_dim).to(compute.device, compute.dtype)
        labels = None
        if num_classes:
            drawn = (
                random_labels(seed, chunk, num_classes, label_weights) if label is None else torch.full((CHUNK,), label)
            )
            labels = drawn.to(compute.device)
        told = labels
        if tell is not None:
            asked = torch.zeros(CHUNK, dtype=torch.int64) if labels is None else labels
            told = tell(asked, generator(seed, "prompt", chunk)).to(compute.device, compute.dtype)
        with compute.precision():
            images = G(z, told) if truncation == 1.0 else G.truncated(z, told, truncation)
        yield to_pixels(images)[:keep], None if labels is None else labels[:keep]
