"""Runs the plain DCGAN script of eriklindernoren/PyTorch-GAN, as it is, on given images, for a given time.

Started by versus_dcgan.py in a process of its own, with the environment that a user of that script has (none of
ganline's settings). The script's definitions and loop are executed from its own checkout; what is replaced is the data
set (our images take MNIST's place; its transform stays), the clock that ends the loop, and the printing of every step.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import chdir, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ganline.torchvision_shim import ensure_torchvision

SCRIPT = Path("implementations/dcgan/dcgan.py")
MARK = "# ----------\n#  Training\n# ----------"


class OutOfTime(Exception):
    """The script has had as long as it may."""


class Images:
    """Takes the place of torchvision's MNIST class: the script's own transform, on the images of a .npy file."""

    def __init__(self, pixels: np.ndarray, transform: Any):
        self.pixels, self.transform = pixels, transform

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.pixels[i][0])), 0


class Timed:
    """The script's data loader, until the time is up. Counts the images that it gave."""

    def __init__(self, loader: Any, seconds: float):
        self.loader, self.seconds, self.seen, self.started = loader, seconds, 0, time.monotonic()

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.loader:
            if time.monotonic() - self.started > self.seconds:
                raise OutOfTime
            self.seen += len(batch[0])
            yield batch


def paint(G: torch.nn.Module, *, n: int, seed: int) -> np.ndarray:
    """uint8 [n, 1, 32, 32] of G as it stands (train or eval mode)."""
    z = torch.randn(n, 100, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        images = torch.cat([G(part) for part in z.split(200)])
    return images.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).numpy()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repo", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--n", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    definitions, loop = (options.repo / SCRIPT).read_text().split(MARK)
    pixels = np.load(options.images)
    ensure_torchvision()
    import torchvision.datasets

    torchvision.datasets.MNIST = lambda *_, transform, **__: Images(pixels, transform)
    sys.argv = ["dcgan.py"]
    torch.manual_seed(options.seed)
    np.random.seed(options.seed)
    scope: dict[str, Any] = {"__name__": "dcgan", "print": lambda *_: None}
    with tempfile.TemporaryDirectory() as scratch, chdir(scratch):  # the script makes folders and pictures where it is
        work = Path("implementations/dcgan")  # it reaches for ../../data
        work.mkdir(parents=True)
        with chdir(work):
            exec(compile(definitions, "dcgan.py", "exec"), scope)
            timed = scope["dataloader"] = Timed(scope["dataloader"], options.seconds)
            with suppress(OutOfTime):
                exec(compile(loop, "dcgan.py", "exec"), scope)
    G = scope["generator"]
    modes = {mode: paint(G.train(mode == "train"), n=options.n, seed=options.seed + 1000) for mode in ("train", "eval")}
    np.savez(options.out, nimg=timed.seen, **modes)


if __name__ == "__main__":
    main()
