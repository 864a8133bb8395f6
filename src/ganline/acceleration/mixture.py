"""Several trainings as one generator: each image is painted by one of them, which its noise names.

What one training does badly another does elsewhere, so a mixture is nearer to real images than its members. An image
takes one member's time; a batch falls apart into a pass for each member (Wang et al. 2016, arXiv 1612.00991; trained
together: Hoang et al. 2018, arXiv 1708.02556).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from ganline.models.spec import Generator

Paint = Callable[[Generator, torch.Tensor, torch.Tensor | None], torch.Tensor]


def mixture(members: Sequence[Generator]) -> Generator:
    """One generator of several; of one, that one."""
    return members[0] if len(members) == 1 else MixtureGenerator(members)


class MixtureGenerator(Generator):
    """G of K members: z has one entry more than theirs, the last, and the K equal shares of its normal distribution
    name the member. All members take the same z, labels or prompts."""

    bounds: torch.Tensor

    def __init__(self, members: Sequence[Generator]):
        super().__init__()
        first, shares = members[0], torch.arange(1, len(members)) / len(members)
        self.members = nn.ModuleList(members)
        self.z_dim, self.num_classes, self.prompt_dim = first.z_dim + 1, first.num_classes, first.prompt_dim
        self.tell = first.tell
        self.register_buffer("bounds", torch.special.ndtri(shares), persistent=False)

    def forward(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        return self.painted(lambda G, z, label: G(z, label), z, label)

    def truncated(self, z: torch.Tensor, label: torch.Tensor | None, psi: float) -> torch.Tensor:
        """Truncated images of each member; which of them paints stays as it is."""
        return self.painted(lambda G, z, label: G.truncated(z, label, psi), z, label)

    def networks(self) -> Sequence[Generator]:
        return list(self.members)  # type: ignore[arg-type]

    def route(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return z[:, :-1], torch.bucketize(z[:, -1].contiguous(), self.bounds.to(z))

    def painted(self, paint: Paint, z: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
        """Each image by its own member: images of one member in one pass, put back in their order."""
        own, which = self.route(z)
        if len(z) == 1:
            return paint(self.members[int(which)], own, label)  # type: ignore[arg-type]
        order = which.argsort(stable=True)
        counts = torch.bincount(which, minlength=len(self.members)).tolist()
        labels = [None] * len(counts) if label is None else label[order].split(counts)
        parts = zip(self.members, own[order].split(counts), labels, strict=True)
        images = [paint(G, part, told) for G, part, told in parts if len(part)]  # type: ignore[arg-type]
        return torch.cat(images)[order.argsort()]


def members_of(G: Generator) -> list[Generator]:
    """The networks of a mixture, or the one that any other generator is."""
    return list(G.networks())
