"""Random numbers inside a pass (dropout, noise, augmentation), one row a sample of the global batch.

They are re-derived from (seed, stream, index), so resuming is re-running; every rank draws for the whole batch and
keeps its own rows, so they do not depend on the number of ranks.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ganline import ranks
from ganline.seeds import derive


class Draws:
    """Numbers for `batch` samples, of which this rank holds `ranks.rows(batch)`. Successive calls draw afresh.

    The numbers come from the device's own generator: equal on one type of device, not across types.
    """

    def __init__(self, seed: int, stream: str, index: int, *, batch: int, device: torch.device):
        self.batch, self.rows = batch, ranks.rows(batch)
        self.step = 1
        self.generator = torch.Generator(device).manual_seed(derive(seed, stream, index))

    def uniform(self, n: int, *shape: int) -> torch.Tensor:
        """float32 [n, *shape] in [0, 1); see `normal`."""
        return self._draw(torch.rand, n, shape)

    def normal(self, n: int, *shape: int) -> torch.Tensor:
        """float32 [n, *shape]. `n` is a multiple k of this rank's share: k groups, such as reals before fakes."""
        return self._draw(torch.randn, n, shape)

    def every(self, step: int) -> Draws:
        """From now on numbers for each step-th sample only, as `rows[::step]`; a share must be a multiple of step."""
        self.step = step
        return self

    def _draw(self, draw: Callable[..., torch.Tensor], n: int, shape: tuple[int, ...]) -> torch.Tensor:
        own = range(self.batch)[self.rows][:: self.step]
        groups, rest = divmod(n, len(own))
        assert not rest, f"{n} rows for a share of {own}"
        numbers = draw(groups, self.batch, *shape, generator=self.generator, device=self.generator.device)
        return numbers[:, own.start : own.stop : own.step].flatten(0, 1)
