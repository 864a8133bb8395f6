"""Everything that determines the rest of a training run, on disk: exact, durable, without pickle.

A checkpoint is a fresh folder: tensors.safetensors, state.json, and COMMITTED written last. The previous one is kept,
so that a kill while writing costs nothing. RNG needs no place here: every draw is re-derived from (seed, step).
"""

from __future__ import annotations

import copy
import shutil
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ganline import ranks
from ganline.devices import Compute
from ganline.errors import TrainingError
from ganline.files import atomic_folder, read_json, sha256_file, write_json
from ganline.losses.config import AdaConfig
from ganline.models import Conditioning, ImageSpec
from ganline.models.spec import Discriminator, Generator
from ganline.schedules import value_at
from ganline.training.config import AdamConfig, TrainConfig

COMMITTED = "COMMITTED"
CLOCKS = ("step", "nimg", "skipped", "lr_scale", "exact", "extra")


@dataclass(kw_only=True)
class Resumable(ABC):
    """What a checkpoint is made of: networks, optimizers, device scalars, scalers, and the clocks (CLOCKS).

    `step` counts steps, `nimg` the real images seen; `memory` holds the device scalars that losses and augmentation
    keep; `lr_scale` is 1 until a roll-back lowers it; `extra` is what the watchdog remembers.
    """

    optimizers: dict[str, torch.optim.Adam]
    memory: dict[str, torch.Tensor] = field(default_factory=dict)
    scalers: dict[str, torch.amp.GradScaler] = field(default_factory=dict)
    step: int = 0
    nimg: int = 0
    skipped: int = 0
    lr_scale: float = 1.0
    exact: bool = True
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """By name."""


@dataclass
class State(Resumable):
    """A GAN while it learns."""

    G: Generator
    D: Discriminator
    G_ema: Generator

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {"G": self.G, "D": self.D, "G_ema": self.G_ema}


def make_adam(module: nn.Module, config: AdamConfig) -> torch.optim.Adam:
    """Fused Adam: one kernel for all parameters, and it skips an update on the device where `found_inf` is set."""
    parameters = list(module.parameters())
    betas = (config.betas[0], value_at(config.betas[1], 0, 1))
    return torch.optim.Adam(parameters, lr=value_at(config.lr, 0, 1), betas=betas, eps=config.eps, fused=True)


def make_state(config: TrainConfig, image: ImageSpec, conditioning: Conditioning, compute: Compute) -> State:
    """Fresh networks: their initial weights are a function of `config.seed` (drawn on the CPU)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        G = config.model.build_generator(image, conditioning)
        D = config.model.build_discriminator(image, conditioning)
    G_ema = copy.deepcopy(G).eval().requires_grad_(False)
    G, D, G_ema = compute.place(G), compute.place(D), compute.place(G_ema)
    optimizers = {"G": make_adam(G, config.G_optimizer), "D": make_adam(D, config.D_optimizer)}
    start = config.objective.fresh_memory()
    if isinstance(config.augment.p, AdaConfig):
        start |= {"augment_p": config.augment.p.start, "augment_signs": 0.0}
    memory = {name: torch.tensor(value, device=compute.device) for name, value in start.items()}
    scalers = {name: scaler for name in optimizers if (scaler := compute.scaler())}
    return State(G, D, G_ema, optimizers=optimizers, memory=memory, scalers=scalers)


def pack(state: Resumable) -> dict[str, torch.Tensor]:
    """All tensors of a state under flat names: `G/…`, `opt_G/<index>/exp_avg`, …"""
    tensors = {
        f"{name}/{key}": tensor for name, net in state.networks.items() for key, tensor in net.state_dict().items()
    }
    tensors |= {f"memory/{name}": value for name, value in state.memory.items()}
    for name, optimizer in state.optimizers.items():
        for index, slots in optimizer.state_dict()["state"].items():
            tensors |= {f"opt_{name}/{index}/{slot}": value for slot, value in slots.items()}
    return {name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}


def unpack(state: Resumable, tensors: dict[str, torch.Tensor]) -> None:
    """The inverse of `pack`, into networks and optimizers of the same shapes."""
    grouped = by_owner(tensors)
    for name, net in state.networks.items():
        net.load_state_dict(grouped[name])
    for name, value in grouped.get("memory", {}).items():
        state.memory[name].copy_(value)
    for name, optimizer in state.optimizers.items():
        slots: dict[int, dict[str, torch.Tensor]] = {}
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for key, tensor in grouped.get(f"opt_{name}", {}).items():
            index, slot = int(key.split("/")[0]), key.split("/")[1]
            slots.setdefault(index, {})[slot] = in_format_of(parameters[index], tensor)
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": slots, "param_groups": groups})


def by_owner(tensors: dict[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """`G/stem.weight` -> ["G"]["stem.weight"]."""
    grouped: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        owner, key = name.split("/", 1)
        grouped.setdefault(owner, {})[key] = tensor
    return grouped


def in_format_of(parameter: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """A moment in its parameter's memory format: fused kernels walk both as flat memory, whatever their strides."""
    if tensor.shape != parameter.shape:
        return tensor
    return torch.empty_like(parameter, device=tensor.device).detach().copy_(tensor)


def save_checkpoint(folder: Path, state: Resumable, *, recipe: str, machine: dict[str, Any]) -> Path:
    """Write `folder/step-N` durably and remove all but it and the one before.

    Later ones go too: after a roll-back they belong to a future that will not be.
    """
    target = folder / f"step-{state.step:09d}"
    write_state(target, state, recipe=recipe, machine=machine)
    found = checkpoints(folder)
    here = found.index(target)
    for other in found[: max(here - 1, 0)] + found[here + 1 :]:
        (other / COMMITTED).unlink()  # killed half-way, it must not count as whole
        shutil.rmtree(other)
    return target


def write_state(target: Path, state: Resumable, *, recipe: str, machine: dict[str, Any]) -> None:
    """Write one checkpoint folder durably, in the place of an older one of that name."""
    with atomic_folder(target) as partial:
        save_file(pack(state), partial / "tensors.safetensors")
        meta = clocks(state) | {"recipe": recipe, "machine": machine}
        write_json(partial / "state.json", meta | {"sha256": sha256_file(partial / "tensors.safetensors")})
        (partial / COMMITTED).touch()


def clocks(state: Resumable) -> dict[str, Any]:
    """What a state holds beside tensors, for JSON."""
    plain = {name: getattr(state, name) for name in CLOCKS}
    return plain | {"scalers": {name: scaler.state_dict() for name, scaler in state.scalers.items()}}


def set_clocks(state: Resumable, meta: dict[str, Any]) -> None:
    """The inverse of `clocks`."""
    for name in CLOCKS:
        setattr(state, name, meta[name])
    for name, scaler in state.scalers.items():
        scaler.load_state_dict(meta["scalers"][name])


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(path.parent for path in folder.glob(f"step-*/{COMMITTED}"))


def resume(folder: Path, state: Resumable, *, recipe: str, machine: dict[str, Any]) -> Path | None:
    """Load the newest whole checkpoint into `state` and return it; None if there is none.

    A damaged one is passed over for the one before. Raises TrainingError if all are damaged or the recipe differs.
    """
    for torn in folder.glob(".p*-step-*"):  # what a kill left of a checkpoint that was being written
        shutil.rmtree(torn)
    found = checkpoints(folder)
    for path in reversed(found):
        meta = load_state(path, state, recipe=recipe)
        if meta is not None:
            state.exact = meta["exact"] and meta["machine"] == machine
            return path
    if found:
        raise TrainingError(
            f"all {len(found)} checkpoints in {folder} are damaged",
            expected="files whose sha256 is that of state.json",
            remedy=f"remove {folder} to train from the start",
        )
    return None


def load_state(path: Path, state: Resumable, *, recipe: str) -> dict[str, Any] | None:
    """Load one checkpoint folder into `state`; its meta data, or None if it is damaged. Raises for another recipe."""
    try:
        meta = read_json(path / "state.json")
        if sha256_file(path / "tensors.safetensors") != meta["sha256"]:
            return None
        tensors = load_file(path / "tensors.safetensors")
    except (OSError, ValueError, KeyError):
        return None
    if meta["recipe"] != recipe:
        raise TrainingError(f"{path} belongs to another recipe", remedy=f"remove {path.parent}")
    unpack(state, tensors)
    set_clocks(state, meta)
    return meta


def share_state(state: Resumable) -> None:
    """Give every rank the state of the first: only its files are read and written, wherever the others run."""
    if ranks.size() == 1:
        return
    tensors = ranks.spread(pack(state) if ranks.is_first() else {})
    meta = ranks.from_first(clocks(state))
    if not ranks.is_first():
        unpack(state, tensors)
        set_clocks(state, meta)
