"""ganline's training step against the plain loop of the usual tutorial: equal networks, batch, threads and penalties.

    python benchmarks/loops.py --families dcgan sngan --seconds 20 --repeats 3 --out benchmarks/results/loops.json

The plain loop is eager fp32, as tutorials write it: a DataLoader over a tensor of normalised images, reals and fakes
through D apart, fresh fakes for each update, torch's own Adam, contiguous NCHW, and losses read every step. Both
take the penalties that the preset takes, equally often. Images are real images that D sees. The variants alternate,
each in a process of its own; the best of the repeats counts, and ratios are within one run of this script. Rows of
other families in the file stay. Needs artifacts/prepare (`dvc repro prepare`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ganline.environment import DEFAULTS, set_defaults

if "plain fp32" not in sys.argv:  # a tutorial's user has torch's own thread settings
    set_defaults()

import torch
from torch.utils.data import DataLoader, TensorDataset

from ganline.config import read_yaml
from ganline.data.loader import Batches, Prepared
from ganline.devices import Compute, device_memory_mb, machine, make_exact, pick
from ganline.images import to_network
from ganline.losses.adversarial import ADVERSARIAL
from ganline.losses.penalties import between, gradient_penalty, squared_gradient_norms
from ganline.models import Conditioning, ImageSpec
from ganline.overlay import merge
from ganline.schedules import value_at
from ganline.training.config import TrainConfig
from ganline.training.state import make_state
from ganline.training.step import run_step

ROOT = Path(__file__).parents[1]
VARIANTS = ("plain fp32", "ganline fp32", "ganline best")
WARM_UP = 4


def configured(preset: str, precision: str) -> TrainConfig:
    """The `train` section of a preset (or `default`), without augmentation, at its middle."""
    base = read_yaml(ROOT / "params.yaml")
    overlay = {} if preset == "default" else read_yaml(ROOT / "presets" / f"{preset}.yaml")
    section = merge(base, overlay)["train"] | {"precision": precision}
    return TrainConfig.model_validate(section)


class Plain:
    """The tutorial's loop, over the networks of a configuration."""

    def __init__(self, config: TrainConfig, prepared: Prepared, compute: Compute):
        self.config, self.compute, objective = config, compute, config.objective
        labels = prepared.labels if config.model.class_conditional else ()
        image = ImageSpec(resolution=prepared.resolution, channels=prepared.channels)  # type: ignore[arg-type]
        torch.manual_seed(config.seed)
        device = compute.device
        self.G = config.model.build_generator(image, Conditioning(labels=labels)).to(device)
        self.D = config.model.build_discriminator(image, Conditioning(labels=labels)).to(device)
        self.opt_G, self.opt_D = (
            torch.optim.Adam(net.parameters(), value_at(adam.lr, 0, 1), (adam.betas[0], value_at(adam.betas[1], 0, 1)))
            for net, adam in ((self.G, config.G_optimizer), (self.D, config.D_optimizer))
        )
        split = prepared.split("train")
        images = to_network(torch.from_numpy(split.images[:20_000].copy()))
        data = TensorDataset(images, torch.from_numpy(split.labels[:20_000].copy()))
        self.loader = DataLoader(data, batch_size=config.batch, shuffle=True, drop_last=True)
        self.iterator = iter(self.loader)
        self.loss, self.objective, self.count, self.log = ADVERSARIAL[objective.adversarial], objective, 0, []

    def batch(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        try:
            images, labels = next(self.iterator)
        except StopIteration:
            self.iterator = iter(self.loader)
            images, labels = next(self.iterator)
        known = labels.to(self.compute.device) if self.config.model.class_conditional else None
        return images.to(self.compute.device), known

    def fakes(self, label: torch.Tensor | None) -> torch.Tensor:
        return self.G(torch.randn(self.config.batch, self.config.model.z_dim, device=self.compute.device), label)

    def step(self) -> int:
        objective = self.objective
        lazy = self.count % objective.penalty_every == 0
        self.count += 1
        for _ in range(objective.n_critic):
            real, label = self.batch()
            fake = self.fakes(label).detach()
            real.requires_grad_(lazy and bool(objective.r1_gamma))
            fake.requires_grad_(lazy and bool(objective.r2_gamma))
            real_logits, fake_logits = self.D(real, label), self.D(fake, label)
            loss_D = self.loss.d_loss(real_logits, fake_logits)
            for gamma, logits, images in (
                (objective.r1_gamma, real_logits, real),
                (objective.r2_gamma, fake_logits, fake),
            ):
                if lazy and gamma:
                    norms = squared_gradient_norms(logits, images)
                    loss_D = loss_D + value_at(gamma, 0, 1) / 2 * objective.penalty_every * norms.mean()
            if lazy and objective.gp_weight:
                mixed = between(real, fake, torch.rand(len(real), device=real.device))
                weight = value_at(objective.gp_weight, 0, 1) * objective.penalty_every
                loss_D = loss_D + weight * gradient_penalty(self.D(mixed, label), mixed).mean()
            self.opt_D.zero_grad()
            loss_D.backward()
            self.opt_D.step()
            if objective.clip:
                for parameter in self.D.parameters():
                    parameter.data.clamp_(-objective.clip, objective.clip)
        real, label = self.batch()
        with torch.no_grad():
            real_logits = self.D(real, label) if objective.adversarial == "relativistic" else real.new_zeros(1)
        loss_G = self.loss.g_loss(real_logits, self.D(self.fakes(label), label))
        self.opt_G.zero_grad()
        loss_G.backward()
        self.opt_G.step()
        self.log.append((loss_D.item(), loss_G.item()))
        return self.config.step_nimg


class Ours:
    """ganline's own step."""

    def __init__(self, config: TrainConfig, prepared: Prepared, compute: Compute):
        make_exact()
        self.config, self.compute, self.phases = config, compute, config.objective.phases()
        labels = prepared.labels if config.model.class_conditional else ()
        image = ImageSpec(resolution=prepared.resolution, channels=prepared.channels)  # type: ignore[arg-type]
        self.state = make_state(config, image, Conditioning(labels=labels), compute)
        self.state.nimg = int(0.9 * config.total_nimg)  # a progressive pair at its full side, as the plain one
        split, device = prepared.split("train"), compute.device
        self.batches = Batches(split, batch=config.batch, seed=0, mirror=config.mirror, device=device)

    def step(self) -> int:
        run_step(self.state, config=self.config, phases=self.phases, batches=self.batches, compute=self.compute)
        return self.config.step_nimg


def measure(preset: str, variant: str, prepared: Path, seconds: float) -> dict[str, Any]:
    """Images a second of one variant in this process: whole cycles of lazy penalties after a warm-up."""
    config = configured(preset, "auto" if variant.endswith("best") else "fp32")
    compute = pick(config.precision)
    loop = (Plain if variant.startswith("plain") else Ours)(config, Prepared(prepared), compute)
    cycle = config.objective.penalty_every
    for _ in range(WARM_UP):
        loop.step()
    compute.synchronize()
    started, images = time.monotonic(), 0
    while time.monotonic() - started < seconds:
        images += sum(loop.step() for _ in range(cycle))
        compute.synchronize()
    rate = images / (time.monotonic() - started)
    return {"images_per_second": rate, "machine": machine(compute), "device_memory_mb": device_memory_mb(compute)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", nargs="+", default=["default"], help="presets, or `default`")
    parser.add_argument("--prepared", type=Path, default=ROOT / "artifacts" / "prepare")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--measure", nargs=2, metavar=("PRESET", "VARIANT"), help="measure in this process")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*options.measure, options.prepared, options.seconds)))
        return
    results: dict[str, Any] = json.loads(options.out.read_text()) if options.out and options.out.exists() else {}
    for preset in options.families:
        rates: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
        for _ in range(options.repeats):
            for variant in VARIANTS:
                command = [sys.executable, __file__, "--measure", preset, variant, "--prepared", str(options.prepared)]
                env = {k: v for k, v in os.environ.items() if k not in DEFAULTS}
                done = subprocess.run(
                    [*command, "--seconds", str(options.seconds)], env=env, capture_output=True, text=True, check=True
                )
                found = json.loads(done.stdout.splitlines()[-1])
                rates[variant].append(round(found["images_per_second"], 1))
        best = {variant: max(values) for variant, values in rates.items()}
        ratios = {variant: round(best[variant] / best[VARIANTS[0]], 2) for variant in VARIANTS[1:]}
        results[preset] = {"images_per_second": rates, "ratio_to_plain": ratios, "machine": found["machine"]}
        print(preset, best, ratios, flush=True)
        if options.out:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
