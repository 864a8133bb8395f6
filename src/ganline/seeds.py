"""The one seed rule: every draw is re-derived from (seed, stream, index), so resuming is re-running."""

from __future__ import annotations

import hashlib

import torch


def derive(seed: int, stream: str, index: int = 0) -> int:
    """A 63-bit seed that depends on all three arguments and on nothing else."""
    digest = hashlib.sha256(f"{seed}/{stream}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, stream: str, index: int = 0) -> torch.Generator:
    """A CPU generator for one draw: the same numbers whatever the device."""
    return torch.Generator().manual_seed(derive(seed, stream, index))
