"""The model bundle: a folder that is a model. What is registered, served, exported and started from.

    model.json                  architecture, image spec, labels, sha256 of every other file; content only
    generator.safetensors       G_ema; of a mixture generator-1.safetensors, … too, one network each
    discriminator.safetensors   D, for fine-tuning; serving never reads it
    prompts.json, .safetensors  what a model of prompts knows by name (language/prompts.py)
    card.md, samples.png        for people

The bundle's hash is that of model.json, and so names the model. Loading checks every file and never unpickles.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from ganline.acceleration.mixture import mixture
from ganline.errors import BundleError, get_again
from ganline.files import atomic_folder, read_json, sha256_file, write_json
from ganline.language.prompts import FILES as PROMPT_FILES
from ganline.language.prompts import JSON as PROMPTS
from ganline.language.prompts import Prompts, load_prompts
from ganline.models import Conditioning, ImageSpec, ModelConfig

FORMAT, MIXTURE_FORMAT = 1, 2
"""Of a bundle with one generator and with several: who knows the first alone must not paint with one of several."""
GENERATOR, DISCRIMINATOR = "generator.safetensors", "discriminator.safetensors"
MEMBER = re.compile(r"generator(-[0-9]+)?\.safetensors")


class ModelSpec(BaseModel):
    """What model.json says beside the hashes: enough to build G and D."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    dataset: str
    model: ModelConfig
    image: ImageSpec
    labels: tuple[str, ...] = ()

    @property
    def conditioning(self) -> Conditioning:
        """The labels if the model is class-conditional, else none."""
        return Conditioning(labels=self.labels if self.model.class_conditional else ())

    def facts(self) -> dict[str, str]:
        """What a page says of the model: heading -> text."""
        size, colour = self.image.resolution, "grey" if self.image.channels == 1 else "RGB"
        return {
            "Data": self.dataset,
            "Model": self.model.name,
            "Images": f"{size} x {size}, {colour}",
            "Classes": str(len(self.conditioning.labels) or "none: unconditional"),
        }

    def build_generator(self) -> nn.Module:
        return self.model.build_generator(self.image, self.conditioning)

    def build_discriminator(self) -> nn.Module:
        return self.model.build_discriminator(self.image, self.conditioning)


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose every byte was checked against model.json."""

    folder: Path
    spec: ModelSpec
    hash: str
    files: tuple[str, ...]

    def generator(self) -> Any:
        """G_ema in evaluation mode, on the CPU; the mixture of all where there are several. Raises BundleError if
        weights are not this architecture's."""
        return mixture(self.networks())

    def networks(self) -> list[Any]:
        """Every G_ema: one, or the members of a mixture."""
        return [self.network(name) for name in self.members]

    @property
    def members(self) -> list[str]:
        """The files of its generators, in their order."""
        return members_among(self.files)

    def network(self, name: str) -> Any:
        """One G_ema in evaluation mode, on the CPU."""
        G = self.spec.build_generator()
        try:
            G.load_state_dict(self.state(name))
        except RuntimeError as error:
            detail = " ".join(str(error).split("\n")[1:2]).strip()
            raise BundleError(
                f"{self.folder / name}: the weights do not fit the architecture in model.json: {detail}",
                remedy=get_again(self.folder),
            ) from error
        if getattr(G, "prompt_dim", 0):
            if self.prompts is None:
                raise BundleError(f"{self.folder} is a model of prompts without {PROMPTS}")
            G.tell = self.prompts.tell  # type: ignore[assignment]
        return G.eval().requires_grad_(False)

    @cached_property
    def prompts(self) -> Prompts | None:
        """The prompts that the model was trained on; None for a model that is told labels or nothing."""
        return load_prompts(self.folder) if (self.folder / PROMPTS).is_file() else None

    def state(self, name: str) -> dict[str, torch.Tensor]:
        """The tensors of one of the bundle's networks; empty if the bundle does not carry it."""
        path = self.folder / name
        try:
            return load_file(path) if path.exists() else {}
        except SafetensorError as error:
            raise BundleError(f"{path} is not a safetensors file: {error}", remedy=get_again(self.folder)) from error


def members_among(names: Iterable[str]) -> list[str]:
    """The files of generators among others, in their order."""
    return sorted(filter(MEMBER.fullmatch, names), key=lambda name: (len(name), name))


def write_bundle(
    folder: Path,
    spec: ModelSpec,
    *,
    networks: dict[str, dict[str, torch.Tensor]],
    extras: dict[str, bytes] | None = None,
) -> str:
    """Write a bundle atomically; `networks` maps file names to state dicts. Returns the bundle's hash."""
    files = {name: save(contiguous(state)) for name, state in networks.items()} | (extras or {})
    listing = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    with atomic_folder(folder) as partial:
        for name, content in files.items():
            (partial / name).write_bytes(content)
        written = MIXTURE_FORMAT if len(members_among(files)) > 1 else FORMAT
        write_json(partial / "model.json", {"format": written, **spec.model_dump(mode="json"), "files": listing})
    return sha256_file(folder / "model.json")


def extend_bundle(source: Path, folder: Path, extras: dict[str, bytes]) -> str:
    """Write a bundle with the networks and prompts of `source` and other extras. Returns the new bundle's hash."""
    bundle = open_bundle(source)
    networks = {name: bundle.state(name) for name in (*bundle.members, DISCRIMINATOR) if name in bundle.files}
    known = {name: path.read_bytes() for name in PROMPT_FILES if (path := source / name).is_file()}
    return write_bundle(folder, bundle.spec, networks=networks, extras=known | extras)


def copy_bundle(source: Path, folder: Path) -> Bundle:
    """Copy a checked bundle's own files, and nothing else that lies beside them."""
    names = ["model.json", *read_model_json(source)["files"]]
    open_bundle(source)
    with atomic_folder(folder) as partial:
        for name in names:
            shutil.copyfile(source / name, partial / name)
    return open_bundle(folder)


def write_mixture(folder: Path, members: Sequence[Path]) -> str:
    """Write the bundle whose generator is the mixture of some bundles' of one architecture. Returns its hash."""
    bundles = [open_bundle(member) for member in members]
    names = [GENERATOR, *(f"generator-{number}.safetensors" for number in range(1, len(bundles)))]
    networks = {name: bundle.state(GENERATOR) for name, bundle in zip(names, bundles, strict=True)}
    known = {name: path.read_bytes() for name in PROMPT_FILES if (path := members[0] / name).is_file()}
    return write_bundle(folder, bundles[0].spec, networks=networks, extras=known)


def contiguous(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """State on the CPU, in the plain memory format: equal weights give equal files, whatever trained them."""
    return {name: tensor.detach().cpu().contiguous(memory_format=torch.contiguous_format)
            for name, tensor in state.items()}  # fmt: skip


def read_model_json(folder: Path) -> dict[str, Any]:
    """model.json as it stands. Raises BundleError if there is none or it is of another format."""
    path = folder / "model.json"
    if not path.is_file():
        raise BundleError(
            f"{folder} holds no model.json",
            expected="a bundle folder (model.json, generator.safetensors, …)",
            remedy="name a bundle folder, such as artifacts/model, or models:/NAME@champion",
        )
    try:
        content = read_json(path)
    except ValueError as error:
        raise BundleError(f"{path} is not JSON: {error}", remedy=get_again(folder)) from error
    if not isinstance(content, dict) or content.get("format") not in (FORMAT, MIXTURE_FORMAT):
        raise BundleError(f"{path} is of another format", expected=f"format {FORMAT} or {MIXTURE_FORMAT}")
    return content


def open_bundle(folder: Path) -> Bundle:
    """Check every file of a bundle and return it. Raises BundleError naming the first file that is wrong."""
    content = read_model_json(folder)
    files = content.get("files")
    if not isinstance(files, dict) or GENERATOR not in files:
        raise BundleError(f"{folder / 'model.json'} lists no {GENERATOR}", expected="a complete bundle")
    for name, expected in files.items():
        path = folder / name
        if Path(name).name != name:
            raise BundleError(f"{folder / 'model.json'} names a file outside the bundle: {name!r}")
        if not path.is_file():
            raise BundleError(f"{path} is missing", expected=f"sha256 {expected}", remedy=get_again(folder))
        if (found := sha256_file(path)) != expected:
            raise BundleError(
                f"{path} is damaged: sha256 {found}",
                expected=f"sha256 {expected}",
                remedy=get_again(folder),
            )
    try:
        spec = ModelSpec.model_validate({k: v for k, v in content.items() if k not in ("format", "files")})
    except ValidationError as error:
        raise BundleError(f"{folder / 'model.json'} is not a model: {error}") from error
    return Bundle(folder, spec, sha256_file(folder / "model.json"), tuple(files))
