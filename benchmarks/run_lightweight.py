"""Runs lucidrains/lightweight-gan on given images, for a given time.

What runs is the function behind its command line, as with `--new --image-size 32 --greyscale --attn-res-layers []`;
everything else is its default: batches of 10, gradients of 4 batches a step, Adam at 2e-4 with betas (0.5, 0.9),
translation and cutout with the probability that it sets for a data set of this size, samples every 100 steps. (Its
default attention at 32 px would act on the pixels here, after a norm over channels that makes one channel constant: it
only costs time.) Trainer, loader and step are its own; the images are PNG files in a folder, which is what it reads.
Replaced are
- the clock that ends the loop: its data loader raises between two steps;
- where there is no GPU, the device: it insists on CUDA when imported, and asks for it by name;
- its progress bar and printing.
Images are counted as D sees them: 40 real images an update. Its command line draws G and G's moving average in eval
mode: fakes are written of both, [N, 1, 32, 32]; of G alone before step 20,000, where the average begins.
Needs what its setup.py lists: adabelief-pytorch, einops, fire, kornia, retry, tqdm.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import chdir, redirect_stdout, suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from others import SIDE, OutOfTime, Timed, command_line, finish, paint
from PIL import Image

from ganline.torchvision_shim import ensure_torchvision

EMA_BEGINS = 20_000


class OnCpu(ModuleType):
    """torch, except that the device is the CPU whichever is asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def device(*_: object) -> torch.device:
        return torch.device("cpu")


def import_lightweight(repo: Path) -> tuple[Any, Any]:
    """The package's two modules from its checkout: networks and trainer, command line."""
    ensure_torchvision()
    sys.path.insert(0, str(repo))
    gpu = torch.cuda.is_available()
    with patch("torch.cuda.is_available", return_value=True):
        from lightweight_gan import cli, lightweight_gan
    if not gpu:
        lightweight_gan.torch = OnCpu("torch")
        torch.Tensor.cuda = torch.nn.Module.cuda = lambda self, *_: self  # type: ignore[assignment]
    return lightweight_gan, cli


def main() -> None:
    options = command_line(__doc__)
    lightweight, cli = import_lightweight(options.repo)
    pixels = np.load(options.images, mmap_mode="r")
    made: dict[str, Any] = {}

    class Trainer(cli.Trainer):  # to keep hold of it
        def __init__(self, *args: Any, **kwargs: Any):
            super().__init__(*args, **kwargs)
            made["trainer"] = self

    plain_cycle = lightweight.cycle

    def cycle(loader: Any) -> Iterator[Any]:
        every = made["trainer"].gradient_accumulate_every
        made["timed"] = Timed(loader, seconds=options.seconds, batches=every)
        return plain_cycle(made["timed"])

    lightweight.cycle, cli.Trainer, cli.tqdm = cycle, Trainer, partial(cli.tqdm, disable=True)
    cli.set_seed(options.seed)
    with tempfile.TemporaryDirectory() as scratch, chdir(scratch):
        folder = Path("images")
        folder.mkdir()
        for i, image in enumerate(pixels):
            Image.fromarray(image[0]).save(folder / f"{i:06d}.png")
        with Path(os.devnull).open("w") as silence, redirect_stdout(silence), suppress(OutOfTime):
            cli.train_from_folder(data=str(folder), new=True, image_size=SIDE, greyscale=True, attn_res_layers=[])
    trainer = made["trainer"]
    trainer.GAN.eval()

    def draw() -> Mapping[str, np.ndarray]:
        size, seed = trainer.GAN.latent_dim, options.seed + 1000
        networks = {"default": trainer.GAN.G} | ({"ema": trainer.GAN.GE} if trainer.steps > EMA_BEGINS else {})
        return {
            mode: paint(
                lambda z, G=G: trainer.generate_(G, z.cuda()).cpu(), n=options.n, z_dim=size, seed=seed, scale=(0, 1)
            )
            for mode, G in networks.items()
        }

    finish(options, made["timed"], draw)


if __name__ == "__main__":
    main()
