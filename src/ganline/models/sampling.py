"""Images from a generator. Image i depends on (G, seed, i, condition, truncation): on no other image, and not on n.

Kernels may choose their order of additions by the size of a batch and by a row's slot in it, which moves last bits. So
G always runs `G.micro_batch` rows, and an image has a slot of its own. Whatever fills the other slots (images of this
request, of others, or padding), its bytes are the same. One image costs one micro-batch.

How labels are drawn: what measures a class-conditional G, and what prepares it for that, asks for each class as often
as training images have it (`label_histogram`). Pictures, the calibration of int8 and answers to a user who names no
class ask for all classes equally often: there each class counts, however rare.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import one_hot

from ganline.devices import Compute
from ganline.images import to_pixels
from ganline.models.spec import Generator, Tell
from ganline.seeds import generator

CHUNK = 64
"""Images whose latents and labels are drawn together."""


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


@dataclass(frozen=True)
class Inputs:
    """What G needs for n images, on the CPU. Rows of several requests may be joined, in any order."""

    z: torch.Tensor
    """float32 [n, z_dim]."""
    condition: torch.Tensor | None
    """Labels int64 [n], prompts' embeddings float32 [n, E], or None."""
    slots: torch.Tensor
    """Each image's row in the micro-batch that makes it, int64 [n]."""
    labels: torch.Tensor | None
    """The class of each image, int64 [n]; None without classes."""

    def __len__(self) -> int:
        return len(self.z)

    def rows(self, rows: slice | torch.Tensor) -> Inputs:
        """Some of the images."""
        return Inputs(
            self.z[rows],
            None if self.condition is None else self.condition[rows],
            self.slots[rows],
            None if self.labels is None else self.labels[rows],
        )


def draw_inputs(
    G: Generator,
    *,
    n: int,
    seed: int,
    num_classes: int,
    label: int | None = None,
    label_weights: torch.Tensor | None = None,
    prompt_sampler: Tell | None = None,
) -> Iterator[Inputs]:
    """Yield the inputs of images 0 to n - 1, a chunk at a time. Arguments: see `sample` (`prompt_sampler`: its `tell`).

    An image's slot counts the earlier images of its seed that the same network of G makes, so that they fill
    micro-batches; it begins at the seed, so that requests with other seeds fit beside them.
    """
    prompt_sampler, size = prompt_sampler or G.tell, micro_batch_of(G)
    earlier = torch.zeros(len(G.networks()), dtype=torch.int64)
    for chunk in range(-(-n // CHUNK)):
        z, labels = latents(seed, chunk, G.z_dim), None
        if num_classes:
            labels = (
                random_labels(seed, chunk, num_classes, label_weights) if label is None else torch.full((CHUNK,), label)
            )
        condition = labels
        if prompt_sampler is not None:
            asked = torch.zeros(CHUNK, dtype=torch.int64) if labels is None else labels
            condition = prompt_sampler(asked, generator(seed, "prompt", chunk)).cpu()
        network = G.route(z)[1]
        made = one_hot(network, len(earlier))
        rank = (earlier + made.cumsum(0) - made).gather(1, network[:, None])[:, 0]
        earlier = earlier + made.sum(0)
        inputs = Inputs(z, condition, (seed % size + rank) % size, labels)
        yield inputs.rows(slice(min(CHUNK, n - chunk * CHUNK)))


def micro_batch_of(G: Generator) -> int:
    """Rows that each network of G runs at once."""
    (size,) = {network.micro_batch for network in G.networks()}
    return size


def micro_batches(slots: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows of each micro-batch, int64 [m, size]; where among all those each row stands, int64 [n]) for slots [n].

    The k-th row that wants a slot gets it in micro-batch k. Slots that nobody wants there repeat row 0.
    """
    turn = (one_hot(slots, size).cumsum(0) - 1).gather(1, slots[:, None])[:, 0]
    places = turn * size + slots
    rows = torch.zeros((int(turn.max()) + 1) * size, dtype=torch.int64)
    rows[places] = torch.arange(len(slots))
    return rows.view(-1, size), places


@torch.inference_mode()
def run_G(G: Generator, inputs: Inputs, *, compute: Compute, truncation: float = 1.0) -> torch.Tensor:
    """Images uint8 [n, C, H, W] on the device, in the order of the inputs, which may be of any requests; n > 0.

    Every pass is one of `G.micro_batch` rows.
    """

    def images_of(member: Generator, rows: torch.Tensor) -> torch.Tensor:
        c = None if condition is None else condition[rows]
        with compute.precision():
            return to_pixels(member(z[rows], c) if truncation == 1.0 else member.truncated(z[rows], c, truncation))

    own, network = G.route(inputs.z)
    z, condition = own.to(compute.device, compute.dtype), inputs.condition
    if condition is not None:
        condition = condition.to(compute.device, compute.dtype if condition.is_floating_point() else None)
    made, order = [], []
    for k, member in enumerate(G.networks()):
        rows = (network == k).nonzero()[:, 0]
        if not len(rows):
            continue
        batches, places = micro_batches(inputs.slots[rows], member.micro_batch)
        images = torch.cat([images_of(member, batch) for batch in rows[batches].to(compute.device)])
        made.append(images[places.to(images.device)])
        order.append(rows)
    return torch.cat(made)[torch.cat(order).argsort().to(compute.device)]


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
    1 images are more typical and less diverse. `tell` makes the condition of a G of prompts from the labels, by default
    G's own does.
    """
    drawn = draw_inputs(
        G,
        n=n,
        seed=seed,
        num_classes=num_classes,
        label=label,
        label_weights=label_weights,
        prompt_sampler=tell,
    )
    for inputs in drawn:
        images = run_G(G, inputs, compute=compute, truncation=truncation)
        yield images, None if inputs.labels is None else inputs.labels.to(compute.device)
