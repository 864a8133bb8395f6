"""The ranks of one training: processes that share each batch, started by torchrun on one machine or many.

Without torchrun there is one rank, and everything here costs nothing. Gradients are averaged by hand after backward
instead of by DistributedDataParallel: its hooks allow neither second derivatives nor one G pass for two phases
(the official StyleGAN2-ADA and R3GAN loops do the same).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from ganline.errors import ConfigError

TIMEOUT = timedelta(minutes=10)


_alone = False


def size() -> int:
    """How many ranks share each batch."""
    return dist.get_world_size() if dist.is_initialized() and not _alone else 1


@contextmanager
def alone() -> Iterator[None]:
    """Compute as if there were no other rank: every one does the same, or only one does."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def rank() -> int:
    """Which of them this process is: 0 writes the files."""
    return dist.get_rank() if size() > 1 else 0


def is_first() -> bool:
    return rank() == 0


@contextmanager
def joined() -> Iterator[None]:
    """Belong to the group that torchrun started, if it did. Torch chooses: NCCL between GPUs, gloo between CPUs."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    store, own, count = next(dist.rendezvous("env://", timeout=TIMEOUT))
    # After a restart torchrun hands out the same store, with the addresses of the dead: each attempt has its own keys.
    attempt = dist.PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
    dist.init_process_group(store=attempt, rank=own, world_size=count, timeout=TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def rows(batch: int) -> slice:
    """This rank's rows of a global batch. Raises ConfigError if the batch cannot be shared out evenly."""
    if batch % size():
        raise ConfigError(
            f"a batch of {batch} cannot be shared by {size()} ranks",
            expected="train.batch to be a multiple of the number of ranks",
            remedy=f"set train.batch to {-(-batch // size()) * size()}, or start another number of ranks",
        )
    share = batch // size()
    return slice(rank() * share, (rank() + 1) * share)


class _Sum(torch.autograd.Function):
    """All-reduce whose derivative is an all-reduce: right at every order."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        total = x.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return _Sum.apply(gradient)


def total(x: torch.Tensor) -> torch.Tensor:
    """Sum of x over all ranks, differentiable (twice, too)."""
    return _Sum.apply(x) if size() > 1 else x


def average(x: torch.Tensor) -> torch.Tensor:
    """Mean of x over all ranks, differentiable."""
    return total(x) / size() if size() > 1 else x


@torch.no_grad()
def average_gradients(module: nn.Module) -> None:
    """Replace every gradient by its mean over ranks, in one message."""
    if size() == 1:
        return
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    dist.all_reduce(flat)
    flat /= size()
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view(gradient.shape))


def from_first(value: Any) -> Any:
    """What rank 0 holds, on every rank: anything that JSON can hold."""
    if size() == 1:
        return value
    text = json.dumps(value).encode() if is_first() else b""
    (length,) = _broadcast(torch.tensor([len(text)])).tolist()
    content = torch.frombuffer(bytearray(text), dtype=torch.uint8) if text else torch.empty(length, dtype=torch.uint8)
    return json.loads(bytes(_broadcast(content).tolist()))


def spread(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The named CPU tensors of rank 0, on every rank. Others' argument is not read."""
    if size() == 1:
        return tensors
    listing = from_first([(name, list(t.shape), str(t.dtype).removeprefix("torch.")) for name, t in tensors.items()])
    return {
        name: _broadcast(tensors[name] if is_first() else torch.empty(shape, dtype=getattr(torch, dtype)))
        for name, shape, dtype in listing
    }


def _broadcast(tensor: torch.Tensor) -> torch.Tensor:
    """Overwrite a CPU tensor with that of rank 0, and return it."""
    dist.broadcast(tensor, src=0)
    return tensor
