"""Everything that determines the rest of a training run, on disk: exact, durable, without pickle.

A checkpoint is a fresh folder: tensors.safetensors, state.json, and COMMITTED written last. The previous one is kept,
so that a kill while writing costs nothing. RNG needs no place here: every draw is re-derived from (seed, step).
"""

from __future__ import annotations

import copy
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ganline.devices import Compute
from ganline.errors import TrainingError
from ganline.files import atomic_folder, read_json, sha256_file, write_json
from ganline.models import Conditioning, ImageSpec
from ganline.training.config import AdamConfig, TrainConfig

COMMITTED = "COMMITTED"


@dataclass
class State:
    """Networks, optimizers and clocks. `step` counts steps, `draws` batches of real images taken."""

    G: nn.Module
    D: nn.Module
    G_ema: nn.Module
    optimizers: dict[str, torch.optim.Adam]
    step: int = 0
    draws: int = 0
    nimg: int = 0
    skipped: int = 0
    exact: bool = True
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {"G": self.G, "D": self.D, "G_ema": self.G_ema}


def make_adam(module: nn.Module, config: AdamConfig) -> torch.optim.Adam:
    """Fused Adam: one kernel for all parameters, and it skips an update on the device where `found_inf` is set."""
    parameters = list(module.parameters())
    return torch.optim.Adam(parameters, lr=config.lr.start, betas=config.betas, eps=config.eps, fused=True)


def make_state(config: TrainConfig, image: ImageSpec, conditioning: Conditioning, compute: Compute) -> State:
    """Fresh networks: their initial weights are a function of `config.seed` (drawn on the CPU)."""
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        G = config.model.build_generator(image, conditioning)
        D = config.model.build_discriminator(image, conditioning)
    G_ema = copy.deepcopy(G).eval().requires_grad_(False)
    G, D, G_ema = compute.place(G), compute.place(D), compute.place(G_ema)
    optimizers = {"G": make_adam(G, config.G_optimizer), "D": make_adam(D, config.D_optimizer)}
    return State(G, D, G_ema, optimizers)


def pack(state: State) -> dict[str, torch.Tensor]:
    """All tensors of a state under flat names: `G/…`, `opt_G/<index>/exp_avg`, …"""
    tensors = {
        f"{name}/{key}": tensor for name, net in state.networks.items() for key, tensor in net.state_dict().items()
    }
    for name, optimizer in state.optimizers.items():
        for index, slots in optimizer.state_dict()["state"].items():
            tensors |= {f"opt_{name}/{index}/{slot}": value for slot, value in slots.items()}
    return {name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}


def unpack(state: State, tensors: dict[str, torch.Tensor]) -> None:
    """The inverse of `pack`, into networks and optimizers of the same shapes."""
    grouped: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        owner, key = name.split("/", 1)
        grouped.setdefault(owner, {})[key] = tensor
    for name, net in state.networks.items():
        net.load_state_dict(grouped[name])
    for name, optimizer in state.optimizers.items():
        slots: dict[int, dict[str, torch.Tensor]] = {}
        parameters = optimizer.param_groups[0]["params"]
        for key, tensor in grouped.get(f"opt_{name}", {}).items():
            index, slot = int(key.split("/")[0]), key.split("/")[1]
            slots.setdefault(index, {})[slot] = in_format_of(parameters[index], tensor)
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": slots, "param_groups": groups})


def in_format_of(parameter: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """A moment in its parameter's memory format: fused kernels walk both as flat memory, whatever their strides."""
    if tensor.shape != parameter.shape:
        return tensor
    return torch.empty_like(parameter, device=tensor.device).detach().copy_(tensor)


def save_checkpoint(folder: Path, state: State, *, recipe: str, machine: dict[str, Any]) -> Path:
    """Write `folder/step-N` durably and remove all but it and the one before."""
    target = folder / f"step-{state.step:09d}"
    clocks = {"step": state.step, "draws": state.draws, "nimg": state.nimg, "skipped": state.skipped}
    with atomic_folder(target) as partial:
        save_file(pack(state), partial / "tensors.safetensors")
        meta = clocks | {"exact": state.exact, "recipe": recipe, "machine": machine, "extra": state.extra}
        write_json(partial / "state.json", meta | {"sha256": sha256_file(partial / "tensors.safetensors")})
        (partial / COMMITTED).touch()
    for old in checkpoints(folder)[:-2]:
        shutil.rmtree(old)
    return target


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(path.parent for path in folder.glob(f"step-*/{COMMITTED}"))


def resume(folder: Path, state: State, *, recipe: str, machine: dict[str, Any]) -> Path | None:
    """Load the newest whole checkpoint into `state` and return it; None if there is none.

    A damaged one is passed over for the one before. Raises TrainingError if all are damaged or the recipe differs.
    """
    for torn in folder.glob(".p*-step-*"):  # what a kill left of a checkpoint that was being written
        shutil.rmtree(torn)
    found = checkpoints(folder)
    for path in reversed(found):
        try:
            meta = read_json(path / "state.json")
            if sha256_file(path / "tensors.safetensors") != meta["sha256"]:
                continue
            tensors = load_file(path / "tensors.safetensors")
        except (OSError, ValueError, KeyError):
            continue
        if meta["recipe"] != recipe:
            raise TrainingError(f"{path} belongs to another recipe", remedy=f"remove {folder}")
        unpack(state, tensors)
        state.step, state.draws, state.nimg = meta["step"], meta["draws"], meta["nimg"]
        state.skipped, state.extra = meta["skipped"], meta["extra"]
        state.exact = meta["exact"] and meta["machine"] == machine
        return path
    if found:
        raise TrainingError(
            f"all {len(found)} checkpoints in {folder} are damaged",
            expected="files whose sha256 is that of state.json",
            remedy=f"remove {folder} to train from the start",
        )
    return None
