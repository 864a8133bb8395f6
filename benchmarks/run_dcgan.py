"""Runs the plain DCGAN script of eriklindernoren/PyTorch-GAN, as it is, on given images, for a given time.

The script's definitions and loop are executed from its own checkout; what is replaced is the data set (our images take
MNIST's place; its transform stays), the clock that ends the loop, and the printing of every step. The script draws its
samples in train mode: fakes are written of G in train and in eval mode.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from contextlib import chdir, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from others import Images, OutOfTime, Timed, command_line, finish, paint

from ganline.torchvision_shim import ensure_torchvision

SCRIPT = Path("implementations/dcgan/dcgan.py")
MARK = "# ----------\n#  Training\n# ----------"


def main() -> None:
    options = command_line(__doc__)
    definitions, loop = (options.repo / SCRIPT).read_text().split(MARK)
    pixels = np.load(options.images)
    ensure_torchvision()
    import torchvision.datasets

    torchvision.datasets.MNIST = lambda *_, transform, **__: Images(pixels, transform=transform)
    sys.argv = ["dcgan.py"]
    torch.manual_seed(options.seed)
    np.random.seed(options.seed)
    scope: dict[str, Any] = {"__name__": "dcgan", "print": lambda *_: None}
    with tempfile.TemporaryDirectory() as scratch, chdir(scratch):  # the script makes folders and pictures where it is
        work = Path("implementations/dcgan")  # it reaches for ../../data
        work.mkdir(parents=True)
        with chdir(work):
            exec(compile(definitions, "dcgan.py", "exec"), scope)
            timed = scope["dataloader"] = Timed(scope["dataloader"], seconds=options.seconds)
            with suppress(OutOfTime):
                exec(compile(loop, "dcgan.py", "exec"), scope)
    G = scope["generator"].cpu()

    def draw() -> Mapping[str, np.ndarray]:
        seed = options.seed + 1000
        return {mode: paint(G.train(mode == "train"), n=options.n, z_dim=100, seed=seed) for mode in ("train", "eval")}

    finish(options, timed, draw)


if __name__ == "__main__":
    main()
