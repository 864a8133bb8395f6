"""The kernel distance: squared maximum mean discrepancy with a cubic kernel, unbiased, over all pairs.

Bińkowski et al. 2018, arXiv 1801.01401, eq. 4 with k(x, y) = (x.y / F + 1)^3. It is called KID only where the features
are Inception's. Published code averages it over random subsets; that adds noise to the same expectation, so here no
subset is drawn. Unlike the Fréchet distance its expectation does not depend on N: 0 for equal distributions, and single
values may be negative.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ganline.errors import DataError

BLOCK = 2**21
"""Most kernel values that are held at once (float64, 16 MB)."""


def self_term(x: Tensor) -> float:
    """Mean kernel over pairs of different rows of x [N, F], N >= 2 (else DataError)."""
    n = len(x)
    if n < 2:
        raise DataError(f"a kernel distance of {n} images was asked for", expected="two or more")
    x = x.double()
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    rows = rows_at_once(n)
    for start in range(0, n, rows):
        stop = min(start + rows, n)
        own = cubic_kernel(x[start:stop], x[start:stop])
        total += own.sum() - own.diagonal().sum()
        if stop < n:
            total += 2.0 * cubic_kernel(x[start:stop], x[stop:]).sum()
    return total.item() / (n * (n - 1))


def cross_term(x: Tensor, y: Tensor) -> float:
    """Mean kernel over all pairs of a row of x [N, F] and a row of y [M, F]."""
    x, y = x.double(), y.double()
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    for part in x.split(rows_at_once(len(y))):
        total += cubic_kernel(part, y).sum()
    return total.item() / (len(x) * len(y))


def kernel_distance(fake: Tensor, real: Tensor, *, real_term: float | None = None) -> float:
    """Unbiased squared distance of fake [N, F] to real [M, F]; `real_term` is self_term(real) where it is known."""
    known = self_term(real) if real_term is None else real_term
    return self_term(fake) + known - 2.0 * cross_term(fake, real)


def cubic_kernel(x: Tensor, y: Tensor) -> Tensor:
    """(x.y / F + 1)^3 of all rows: [n, F], [m, F] -> [n, m]."""
    return torch.addmm(x.new_ones(1, 1), x, y.T, alpha=1.0 / x.shape[1]).pow_(3)


def rows_at_once(columns: int) -> int:
    return max(1, BLOCK // columns)
