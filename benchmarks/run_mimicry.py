"""Runs kwotsin/mimicry's SNGAN for 32 px images (with --labels its cGAN-PD) on given images, for a given time.

Networks, optimizers, data set, loader and trainer are put together as the project's README does: batch 64, n_dis 5,
Adam at 2e-4 with betas (0, 0.9), a learning rate that falls linearly over 100,000 steps (in minutes hardly at all),
four loader processes. Its own Trainer.train() is the loop. Replaced are
- the data set: our images take CIFAR-10's place inside its own load_dataset, resized to 32 px, grey repeated to three
  channels, because the networks know no other number; its transform stays;
- the clock that ends the loop, and the printing of every step;
- two imports that training does not use: its metrics (they need TensorFlow) and scikit-image.
Images are counted as D sees them: n_dis batches of real images an update of G. Fakes are drawn in eval mode, as its
metrics do, and written as [N, 3, 32, 32].
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stdout, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from others import Images, OutOfTime, Timed, command_line, finish, paint, to_side

from ganline.torchvision_shim import ensure_torchvision

N_DIS, NUM_STEPS = 5, 100_000


def import_mimicry(repo: Path) -> Any:
    """The package from its checkout, without its metrics and without scikit-image."""
    ensure_torchvision()
    sys.path.insert(0, str(repo))
    unused = {name: ModuleType(name) for name in ("torch_mimicry.metrics", "skimage", "skimage.io")}
    vars(unused["skimage"])["io"] = unused["skimage.io"]
    sys.modules |= unused
    import torch_mimicry

    return torch_mimicry


def main() -> None:
    options = command_line(__doc__, labels=True)
    mimicry = import_mimicry(options.repo)
    import torchvision.datasets

    torch.manual_seed(options.seed)
    np.random.seed(options.seed)
    pixels = to_side(np.load(options.images, mmap_mode="r"))
    labels = np.load(options.labels) if options.labels else None
    torchvision.datasets.CIFAR10 = lambda *_, transform, **__: Images(
        pixels, transform=transform, mode="RGB", labels=labels
    )
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    nets: Any = mimicry.nets
    if labels is None:
        G, D = nets.sngan.SNGANGenerator32(), nets.sngan.SNGANDiscriminator32()
    else:
        classes = int(labels.max()) + 1
        G, D = nets.cgan_pd.CGANPDGenerator32(classes), nets.cgan_pd.CGANPDDiscriminator32(classes)
    G, D = G.to(device), D.to(device)
    with tempfile.TemporaryDirectory() as scratch, Path(os.devnull).open("w") as silence, redirect_stdout(silence):
        dataset = mimicry.datasets.load_dataset(root=scratch, name="cifar10")
        loader = torch.utils.data.DataLoader(dataset, batch_size=64, shuffle=True, num_workers=4)
        timed = Timed(loader, seconds=options.seconds, batches=N_DIS)
        trainer = mimicry.training.Trainer(
            netD=D,
            netG=G,
            optD=torch.optim.Adam(D.parameters(), 2e-4, betas=(0.0, 0.9)),
            optG=torch.optim.Adam(G.parameters(), 2e-4, betas=(0.0, 0.9)),
            n_dis=N_DIS,
            num_steps=NUM_STEPS,
            lr_decay="linear",
            dataloader=timed,
            log_dir=f"{scratch}/log",
            device=device,
        )
        with suppress(OutOfTime):
            trainer.train()
    G = G.cpu()

    def draw() -> Mapping[str, np.ndarray]:
        torch.manual_seed(options.seed + 1000)  # cGAN-PD draws the classes itself, all alike
        return {"eval": paint(G.eval(), n=options.n, z_dim=G.nz, seed=options.seed + 1000)}

    finish(options, timed, draw)


if __name__ == "__main__":
    main()
