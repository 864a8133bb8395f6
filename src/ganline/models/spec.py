"""What every generator and discriminator agrees on: image and conditioning specs, base classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

Tell = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
"""Labels int64 [N] -> what G is told in their place, float32 [N, E], drawn by the generator: prompts' embeddings."""


@dataclass(frozen=True)
class Words:
    """How a G of prompts is told what to paint: while it trains, and when it is asked for a class."""

    of_rows: Callable[[torch.Tensor, torch.Generator], torch.Tensor]
    """Rows of the training split int64 [N] -> embeddings float32 [N, E] of captions that are true of them."""
    of_labels: Tell


class Generator(nn.Module):
    """G: z [N, z_dim] float, label [N] int64 or None -> image [N, C, H, W] in about [-1, 1].

    With `prompt_dim` a prompt's embedding float [N, prompt_dim] stands in the label's place.
    """

    z_dim: int
    num_classes: int
    prompt_dim: int = 0
    micro_batch: int = 8
    """Rows that a sampler runs at once, padded where fewer are needed; benchmarks/micro_batches.py has the choice."""
    tell: Tell | None = None
    """How samplers put a class into the words that G understands; None where G is told labels."""

    grows: bool = False
    """Whether `advance` changes what a pass computes."""

    def advance(self, share: float) -> None:
        """Be what G is after this share of the budget: progressive growing. Others stay as they are."""

    def paint(self, batch: Any) -> torch.Tensor:
        """The fakes of a training batch (losses/objective.py), as a function of its z and labels."""
        return self(batch.z, batch.label)

    def truncated(self, z: torch.Tensor, label: torch.Tensor | None, psi: float) -> torch.Tensor:
        """Images of latents drawn towards the mean by psi in (0, 1]: more typical, less diverse."""
        return self(z * psi, label)

    def networks(self) -> Sequence[Generator]:
        """The networks of which one makes each image: G itself, or the members of a mixture."""
        return (self,)

    def route(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """z [N, z_dim] -> the latents of the network that makes each image, and its number in `networks`, int64 [N]."""
        return z, torch.zeros(len(z), dtype=torch.int64, device=z.device)


class Discriminator(nn.Module):
    """D: image [N, C, H, W] in [-1, 1], label [N] int64 or None -> logits [N]; higher means more real."""

    mixes_samples: bool = False
    """Whether samples of one pass influence one another (batch statistics): reals and fakes then pass apart."""
    grows: bool = False

    def advance(self, share: float) -> None:
        """As Generator.advance."""

    def shown(self, real: torch.Tensor) -> torch.Tensor:
        """Real images as D is to see them at this moment: blurred while a progressive D grows."""
        return real
