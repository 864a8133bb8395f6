"""What the scripts that run another project's own code share: the command line, the data's new place, the clock.

Each run_*.py is started by versus_others.py in a process of its own, with the environment that a user of that project
has (none of ganline's settings). It replaces data, clock and printing, and what else its docstring names; the rest is
the project's own code from a checkout outside this repository. Alone, without --out, it measures speed: it prints
images of D updates, seconds, this process's CPU seconds (far fewer than threads x seconds: the machine was shared, or
the loop waits) and images a second as JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

SIDE = 32


class OutOfTime(Exception):
    """The other project's loop has had as long as it may."""


def command_line(doc: str, *, labels: bool = False) -> argparse.Namespace:
    """The options of every run_*.py; `labels` adds --labels."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--repo", type=Path, required=True, help="a checkout of the other project")
    parser.add_argument("--images", type=Path, required=True, help=".npy of uint8 [N, 1, H, W]")
    parser.add_argument("--seconds", type=float, required=True, help="how long its loop may run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="torch's threads (default: what torch chooses)")
    parser.add_argument("--n", type=int, default=10_000, help="fakes to write")
    parser.add_argument("--out", type=Path, help=".npz for the fakes; without it only the speed is measured")
    if labels:
        parser.add_argument("--labels", type=Path, help=".npy of int64 [N]: train the class-conditional model")
    options = parser.parse_args()
    for name in ("repo", "images", "out", "labels"):  # the projects' loops run in a scratch folder
        if path := getattr(options, name, None):
            setattr(options, name, path.resolve())
    if options.threads:
        torch.set_num_threads(options.threads)
    return options


def to_side(images: np.ndarray) -> np.ndarray:
    """uint8 [N, 1, H, W] -> [N, 1, 32, 32], by the bilinear resize that torchvision's transform does."""
    return np.stack(
        [np.asarray(Image.fromarray(i[0]).resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for i in images]
    )[:, None]


class Images:
    """Takes the place of a torchvision data set: its user's own transform, on uint8 [N, 1, H, W] pixels.

    Items are (transform(picture in `mode`, "L" or "RGB"), label), the label 0 where there are none.
    """

    def __init__(self, pixels: np.ndarray, *, transform: Any, mode: str = "L", labels: np.ndarray | None = None):
        self.pixels, self.transform, self.mode, self.labels = pixels, transform, mode, labels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        label = 0 if self.labels is None else int(self.labels[i])
        return self.transform(Image.fromarray(self.pixels[i][0]).convert(self.mode)), label


class Timed:
    """A data loader until the time is up. Counts the real images that it gave, all of them to updates of D.

    It looks at the clock between steps only, a step being `batches` batches, so that every image given was used.
    """

    def __init__(self, loader: Any, *, seconds: float, batches: int = 1):
        self.loader, self.seconds, self.batches = loader, seconds, batches
        self.given, self.nimg, self.elapsed, self.cpu = 0, 0, 0.0, 0.0
        self.started: tuple[float, float] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        self.started = self.started or (time.monotonic(), time.process_time())
        for batch in self.loader:
            if self.given % self.batches == 0:
                self.elapsed, self.cpu = time.monotonic() - self.started[0], time.process_time() - self.started[1]
                if self.elapsed >= self.seconds:
                    raise OutOfTime
            self.given += 1
            self.nimg += len(batch if isinstance(batch, torch.Tensor) else batch[0])
            yield batch


Painter = Callable[[torch.Tensor], torch.Tensor]


@torch.no_grad()
def paint(G: Painter, *, n: int, z_dim: int, seed: int, scale: tuple[float, float] = (-1.0, 1.0)) -> np.ndarray:
    """uint8 [n, C, H, W] of G as it stands, from float images in the range `scale`; z ~ N(0, 1), [n, z_dim]."""
    z = torch.randn(n, z_dim, generator=torch.Generator().manual_seed(seed))
    images = torch.cat([G(part) for part in z.split(200)])
    low, high = scale
    return images.sub(low).mul(255 / (high - low)).round().clamp(0, 255).to(torch.uint8).numpy()


def finish(options: argparse.Namespace, timed: Timed, draw: Callable[[], Mapping[str, np.ndarray]]) -> None:
    """Print the speed; with --out, write the fakes by mode beside nimg (real images of D updates) and both times."""
    speed = {"nimg": timed.nimg, "seconds": timed.elapsed, "cpu_seconds": timed.cpu}
    print(json.dumps(speed | {"images_per_second": timed.nimg / timed.elapsed}))
    if options.out:
        np.savez(options.out, **speed, **draw())
