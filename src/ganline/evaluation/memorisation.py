"""Does the generator repeat its training images? Two tests on distances to them, in the features of an extractor.

A copied image is one whose nearest training image is far nearer than the second nearest (`copied_share`); a generator
that leans on its training set is, cell by cell, nearer to it than held-out real images are (`c_t`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ganline.evaluation.config import LEAST_IN_CELL

COPY_RATIO = 1 / 3
NUM_CELLS = 10


def copied_share(distances: Tensor) -> float:
    """Share of images whose nearest training image is less than a third as far as their second nearest.

    `distances` [N, 2] from `nearest(fake, train, k=2)`. The rule of Yoon et al. 2023 (Diffusion probabilistic models
    generalize when they fail to memorize, ICML workshop SPIGM) and of Gu et al. 2023 (arXiv 2310.02664), who take it in
    pixels. A training image that is stored twice hides its own copies: both neighbours are equally near.
    """
    return (distances[:, 0] < COPY_RATIO * distances[:, 1]).double().mean().item()


@dataclass(frozen=True)
class CopyTest:
    """`value` is C_T, a z-score, None where no cell is large enough; `left_out` the share of the real images whose
    cells were too small."""

    value: float | None
    left_out: float


def c_t(*, fake: Tensor, real: Tensor, fake_cells: Tensor, real_cells: Tensor) -> CopyTest:
    """C_T of Meehan, Chaudhuri, Dasgupta 2020 (arXiv 2004.05675), sec. 3: are samples nearer to the training set than
    held-out real images of the same cell?

    `fake` [N] and `real` [M] are distances to the nearest training image, `*_cells` int64 the cell of each. In every
    cell with at least LEAST_IN_CELL of both: the z-score of the Mann-Whitney U of fake against real (variance corrected
    for ties, no continuity correction); the mean over those cells, weighted by their real images. Under -3: copies;
    about 0: like held-out images; over 3: farther from the training set than real images are.
    """
    total, weight = 0.0, 0
    for cell in real_cells.unique():
        ours, theirs = fake[fake_cells == cell], real[real_cells == cell]
        if min(len(ours), len(theirs)) >= LEAST_IN_CELL:
            total += len(theirs) * mann_whitney_z(ours.cpu().numpy(), theirs.cpu().numpy())
            weight += len(theirs)
    return CopyTest(total / weight if weight else None, 1.0 - weight / len(real))


def mann_whitney_z(a: np.ndarray, b: np.ndarray) -> float:
    """z-score of the number of pairs with a > b (ties count half) of samples [n], [m]; 0 where all are equal."""
    from scipy.stats import rankdata, tiecorrect

    n, m = len(a), len(b)
    ranks = rankdata(np.concatenate([a, b]))
    larger = ranks[:n].sum() - n * (n + 1) / 2
    variance = n * m * (n + m + 1) / 12 * tiecorrect(ranks)
    return float((larger - n * m / 2) / np.sqrt(variance)) if variance > 0 else 0.0


def centres_of(train: Tensor, *, num_cells: int = NUM_CELLS, seed: int = 0) -> Tensor:
    """k-means centres of the training features [L, F], float32 [cells, F]: cells for images without labels."""
    from sklearn.cluster import KMeans

    means = KMeans(min(num_cells, len(train)), n_init=1, random_state=seed).fit(train.double().cpu().numpy())
    return torch.from_numpy(means.cluster_centers_).float().to(train.device)
