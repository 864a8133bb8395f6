"""A loaded generator and the files it can write: one door for the CLI, notebooks and the MLflow model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganline.devices import Compute, pick
from ganline.errors import ConfigError
from ganline.files import atomic_path, fresh_folder
from ganline.images import grid, save_png
from ganline.models.sampling import sample
from ganline.registry.bundle import Bundle, open_bundle


class Generator:
    """A model ready to paint. `sample` is deterministic: image i depends on (model, seed, i, label, truncation)."""

    def __init__(self, bundle: Bundle, *, compute: Compute | None = None):
        self.bundle = bundle
        self.compute = compute or pick("fp32")
        self.G = self.compute.place(bundle.generator())

    @classmethod
    def from_folder(cls, folder: Path) -> Generator:
        """Open and check a bundle folder."""
        return cls(open_bundle(folder))

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes that can be asked for; empty for an unconditional model."""
        return self.bundle.spec.conditioning.labels

    def sample_with_labels(
        self, n: int = 16, *, seed: int = 0, label: str | int | None = None, truncation: float = 1.0
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """uint8 [n, C, H, W] in 0..255, and the class of each image (int64 [n], None if unconditional).

        Raises ConfigError if n < 1, truncation is not in (0, 1], or the label is not one of `labels`.
        """
        if n < 1:
            raise ConfigError(f"n is {n}", expected="at least one image")
        if not 0.0 < truncation <= 1.0:
            raise ConfigError(f"truncation is {truncation}", expected="a value in (0, 1]; 1 is no truncation")
        index = None if label is None else find_label(label, self.labels)
        batches = list(
            sample(
                self.G,  # type: ignore[arg-type]
                n=n,
                seed=seed,
                num_classes=len(self.labels),
                compute=self.compute,
                label=index,
                truncation=truncation,
            )
        )
        images = torch.cat([images for images, _ in batches]).cpu().numpy()
        if not self.labels:
            return images, None
        return images, torch.cat([labels for _, labels in batches if labels is not None]).cpu().numpy()

    def sample(
        self, n: int = 16, *, seed: int = 0, label: str | int | None = None, truncation: float = 1.0
    ) -> np.ndarray:
        """uint8 [n, C, H, W] in 0..255: see `sample_with_labels`."""
        return self.sample_with_labels(n, seed=seed, label=label, truncation=truncation)[0]

    def picture(self, n: int = 16, *, columns: int | None = None, **options: Any) -> np.ndarray:
        """n samples as one picture, uint8 [H, W] (grey) or [H, W, 3]: ready for `plt.imshow`. Options: see `sample`."""
        sheet = grid(self.sample(n, **options), columns=columns)
        return sheet[0] if sheet.shape[0] == 1 else sheet.transpose(1, 2, 0)


def find_label(label: str | int, labels: tuple[str, ...]) -> int:
    """Index of a class given by index or by name, upper or lower case, whole or an unambiguous part."""
    if not labels:
        raise ConfigError(f"label {label!r} was asked of an unconditional model", remedy="leave the label out")
    if isinstance(label, int) or (str(label).isdigit() and str(label) not in labels):
        if 0 <= int(label) < len(labels):
            return int(label)
    else:
        wanted = str(label).casefold()
        names = [name.casefold() for name in labels]
        if wanted in names:
            return names.index(wanted)
        partial = [i for i, name in enumerate(names) if wanted and wanted in name]
        if len(partial) == 1:
            return partial[0]
    raise ConfigError(f"label {label!r} is not known to this model", expected="one of " + ", ".join(labels))


def save_images(images: np.ndarray, labels: np.ndarray | None, output: Path) -> str:
    """Write uint8 [n, C, H, W] as a grid (.png), as arrays (.npz) or as single files (a folder). Says what it did."""
    suffix = output.suffix.lower()
    if suffix == ".png":
        save_png(output, grid(images))
        return f"a grid of {len(images)} images in {output}"
    if suffix == ".npz":
        arrays = {"images": images} | ({} if labels is None else {"labels": labels})
        with atomic_path(output) as partial:
            np.savez_compressed(partial, **arrays)  # type: ignore[arg-type]
        return f"{len(images)} images (uint8 [N, C, H, W]) in {output}"
    if suffix:
        raise ConfigError(f"cannot write {output}", expected="a name ending in .png or .npz, or a folder")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(f"{output} exists and is not an empty folder", remedy="name a new folder")
    fresh_folder(output)
    for i, image in enumerate(images):
        save_png(output / f"{i:06d}.png", image)
    return f"{len(images)} PNG files in {output}"
