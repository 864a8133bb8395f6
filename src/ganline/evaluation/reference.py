"""Real images as generators are measured against them: the `reference` stage's artifact, opened in a moment.

It holds features, not images: of `n` images of the reference split in a random order (whose halves are disjoint), of
as many random training images, which stand for a generator of real images and give figures their floor, and of all
training and validation images for memorisation and classes. What depends on no generator is computed once and kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save

from ganline.data.loader import Prepared
from ganline.errors import BundleError
from ganline.evaluation.config import NEIGHBOURS
from ganline.evaluation.features import (
    FIRST,
    FeatureExtractor,
    Features,
    look,
    random_rows,
    split_batches,
)
from ganline.evaluation.kid import self_term
from ganline.evaluation.memorisation import centres_of
from ganline.evaluation.neighbours import nearest
from ganline.evaluation.prdc import radii
from ganline.files import fresh_folder, read_json, sha256_file, write_bytes, write_json
from ganline.models.sampling import label_histogram

PARTS = ("test", "floor", "train", "val")
FILE, META = "reference.safetensors", "reference.json"


@dataclass(frozen=True)
class Reference:
    """Real images of one data version under fixed extractors; tensors on the device."""

    split: str
    extractors: Mapping[str, str]
    """Role -> name."""
    labels: tuple[str, ...]
    test: Features
    """n images of the split."""
    floor: Features
    """n training images, drawn at random."""
    train: Features
    """All training images, under the first extractor alone."""
    val: Features
    """All validation images, under the first alone: what a generator that copies nothing would make."""
    radii: Mapping[str, torch.Tensor]
    """Role -> distance of each test image to its k-th neighbour among them, float64 [n]."""
    kernel_terms: Mapping[str, torch.Tensor]
    """Role -> the real part of KID: of all test images, of the first and of the second half, float64 [3]."""
    test_to_train: torch.Tensor
    """Distances of the test images to their two nearest training images, float64 [n, 2]."""
    val_to_train: torch.Tensor
    centres: torch.Tensor | None
    """Centres of cells of the training features, float32 [cells, F], where the first extractor tells no classes."""
    floors: Mapping[str, float]
    """Key of a figure -> what real images score."""
    sha256: str = ""
    """Of the file: what comparability hangs on."""

    @property
    def n(self) -> int:
        return len(self.test)

    @property
    def train_histogram(self) -> torch.Tensor:
        """How many training images each class has, int64 [K]."""
        assert self.train.labels is not None
        return label_histogram(self.train.labels, len(self.labels))


def build_reference(
    prepared: Prepared, extractors: Mapping[str, FeatureExtractor], *, split: str, n: int, device: torch.device
) -> Reference:
    """Look at real images once; n is the same for the split and for the floor, at most what both hold."""
    chosen, train, val = (prepared.split(name) for name in (split, "train", "val"))
    n = min(n, len(chosen), len(train))
    first = {FIRST: extractors[FIRST]}
    test = look(split_batches(chosen, random_rows(len(chosen), n, "reference"), device=device), extractors)
    floor = look(split_batches(train, random_rows(len(train), n, "floor"), device=device), extractors)
    trained = look(split_batches(train, device=device), first, pixels=False)
    held_out = look(split_batches(val, device=device), first, pixels=False)
    return Reference(
        split=split,
        extractors={role: extract.name for role, extract in extractors.items()},
        labels=prepared.labels,
        test=test,
        floor=floor,
        train=trained,
        val=held_out,
        radii=radii_of(test),
        kernel_terms=kernel_terms_of(test),
        test_to_train=nearest(test.by[FIRST], trained.by[FIRST], k=2)[0],
        val_to_train=nearest(held_out.by[FIRST], trained.by[FIRST], k=2)[0],
        centres=None if extractors[FIRST].classifies else centres_of(trained.by[FIRST]),
        floors={},
    )


def radii_of(test: Features) -> dict[str, torch.Tensor]:
    """Reference.radii of test images."""
    return {role: radii(features, k=NEIGHBOURS) for role, features in test.by.items()}


def kernel_terms_of(test: Features) -> dict[str, torch.Tensor]:
    """Reference.kernel_terms of test images."""
    parts = (test, *test.halves())
    return {role: torch.tensor([self_term(part.by[role]) for part in parts], dtype=torch.float64) for role in test.by}


def save_reference(reference: Reference, folder: Path, floors: Mapping[str, float]) -> dict[str, Any]:
    """Write the artifact; returns its description."""
    tensors = {f"radii/{role}": values for role, values in reference.radii.items()}
    tensors |= {f"kernel_terms/{role}": values for role, values in reference.kernel_terms.items()}
    tensors |= {"test_to_train": reference.test_to_train, "val_to_train": reference.val_to_train}
    tensors |= {} if reference.centres is None else {"centres": reference.centres}
    for part in PARTS:
        tensors |= {f"{part}/{name}": tensor for name, tensor in flatten(getattr(reference, part)).items()}
    meta = {
        "extractors": dict(reference.extractors),
        "split": reference.split,
        "n": reference.n,
        "num_train": len(reference.train),
        "num_val": len(reference.val),
        "labels": list(reference.labels),
        "floors": dict(floors),
    }
    fresh_folder(folder)
    write_bytes(folder / FILE, save({name: tensor.cpu().contiguous() for name, tensor in sorted(tensors.items())}))
    write_json(folder / META, meta)
    return meta


def load_reference(folder: Path, device: torch.device, extractors: Mapping[str, FeatureExtractor]) -> Reference:
    """Open the artifact. Raises BundleError if it was made with other extractors than those at hand."""
    meta = read_json(folder / META)
    names = {role: extract.name for role, extract in extractors.items()}
    if meta["extractors"] != names:
        raise BundleError(
            f"{folder} was made with {', '.join(meta['extractors'].values())}",
            expected=", ".join(names.values()),
            remedy="run `dvc repro reference`",
        )
    tensors = {name: tensor.to(device) for name, tensor in load_file(folder / FILE).items()}
    return Reference(
        split=meta["split"],
        extractors=meta["extractors"],
        labels=tuple(meta["labels"]),
        radii=below(tensors, "radii"),
        kernel_terms=below(tensors, "kernel_terms"),
        test_to_train=tensors["test_to_train"],
        val_to_train=tensors["val_to_train"],
        centres=tensors.get("centres"),
        floors=meta["floors"],
        sha256=sha256_file(folder / FILE),
        **{part: unflatten(below(tensors, part)) for part in PARTS},
    )


def flatten(features: Features) -> dict[str, torch.Tensor]:
    """Features as named tensors."""
    named = {f"by/{role}": values for role, values in features.by.items()}
    named |= {f"pixels/{name}": values for name, values in (features.pixels or {}).items()}
    told = {"classes": features.classes, "labels": features.labels}
    return named | {name: values for name, values in told.items() if values is not None}


def unflatten(named: Mapping[str, torch.Tensor]) -> Features:
    """What `flatten` was given."""
    return Features(below(named, "by"), named.get("classes"), named.get("labels"), below(named, "pixels") or None)


def below(named: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors below `prefix/`, without it."""
    return {name.removeprefix(f"{prefix}/"): tensor for name, tensor in named.items() if name.startswith(f"{prefix}/")}


def nearest_rows(features: torch.Tensor, reference: Reference) -> np.ndarray:
    """Row of the training split nearest to each of features [N, F] of the first extractor: int64 [N]."""
    return nearest(features, reference.train.by[FIRST], k=1)[1][:, 0].cpu().numpy()
