"""Precision, recall, density and coverage: whether samples are near real ones, and real ones near samples.

Precision and recall: Kynkäänniemi et al. 2019, arXiv 1904.06991, eq. 1 and 2. Density and coverage: Naeem et al. 2020,
arXiv 2002.09797, eq. 4 and 5. Every image has a ball that reaches to its k-th nearest neighbour in its own set, itself
not counted; a point lies inside if it is nearer than that. (Kynkäänniemi's ball includes its surface; like Naeem's
published code we leave it out, so that the density of a set in itself is 1.) Memory is that of the features and one
block, whatever N.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ganline.evaluation.neighbours import Screen, nearest


def radii(x: Tensor, *, k: int) -> Tensor:
    """Distance of each row of x [N, F] to its k-th nearest other row: float64 [N]. Raises DataError where N <= k.

    Equal rows count as neighbours at distance 0.
    """
    return nearest(x, x, k=k + 1)[0][:, k]


def prdc(fake: Tensor, real: Tensor, *, k: int = 5, real_radii: Tensor | None = None) -> dict[str, float]:
    """`precision`, `recall` and `coverage` in [0, 1], `density` >= 0, of fake [N, F] against real [M, F].

    `real_radii` is radii(real, k=k) where it is known.
    """
    reach_real = radii(real, k=k) if real_radii is None else real_radii.to(real.device)
    reach_fake = radii(fake, k=k)
    screen = Screen(real, fake)
    squared_real, squared_fake = reach_real.square().float(), reach_fake.square().float()
    rounding = 2 * torch.finfo(torch.float32).eps * max(squared_real.max().item(), squared_fake.max().item())
    near_real = torch.zeros(len(fake), dtype=torch.bool, device=fake.device)
    near_fake, covered = (torch.zeros(len(real), dtype=torch.bool, device=real.device) for _ in range(2))
    num_inside = 0
    for part, block in screen.blocks():
        slack, first = screen.slack[part] + rounding, part.start
        rows, columns = (block < (squared_real[part] + slack)[:, None]).nonzero(as_tuple=True)
        gaps = block[rows, columns] - squared_real[first + rows]
        inside = decide(screen, first + rows, columns, gaps=gaps, slack=slack[rows], reach=reach_real[first + rows])
        covered[first + rows[inside]] = True
        near_real[columns[inside]] = True
        num_inside += int(inside.sum())
        block.sub_(squared_fake)
        rows, columns = (block < slack[:, None]).nonzero(as_tuple=True)
        gaps = block[rows, columns]
        inside = decide(screen, first + rows, columns, gaps=gaps, slack=slack[rows], reach=reach_fake[columns])
        near_fake[first + rows[inside]] = True
    return {
        "precision": near_real.double().mean().item(),
        "recall": near_fake.double().mean().item(),
        "density": num_inside / (k * len(fake)),
        "coverage": covered.double().mean().item(),
    }


def decide(screen: Screen, rows: Tensor, columns: Tensor, *, gaps: Tensor, slack: Tensor, reach: Tensor) -> Tensor:
    """Whether pairs [P] of the screen are nearer than `reach`: bool [P].

    `gaps` are their float32 squared distances less reach^2; those within `slack` of 0 are looked at in float64.
    """
    inside = gaps < -slack
    unsure = (~inside).nonzero().squeeze(1)
    inside[unsure] = screen.distances(rows[unsure], columns[unsure]) < reach[unsure]
    return inside
