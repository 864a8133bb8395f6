"""A loaded generator and the files it can write: one door for the CLI, notebooks and the MLflow model."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganline.devices import Compute, pick
from ganline.errors import ConfigError
from ganline.files import atomic_path, fresh_folder
from ganline.images import grid, save_png
from ganline.language.encoder import SentenceEncoder, checked, find_encoder
from ganline.language.prompts import Prompts
from ganline.models.sampling import sample
from ganline.models.spec import Tell
from ganline.outputs import check_output, written
from ganline.registry.bundle import Bundle, open_bundle

log = logging.getLogger(__name__)


class Generator:
    """A model ready to paint. Image i depends on model, seed, i, label or prompt, truncation: on nothing else."""

    def __init__(
        self,
        G: Any,
        *,
        labels: tuple[str, ...],
        prompts: Prompts | None,
        compute: Compute,
        bundle: Bundle | None = None,
    ):
        self.G, self.compute, self.prompts = G, compute, prompts
        self.bundle = bundle
        """The folder that the model was opened from, with its description; None where it is not of a bundle."""
        self.labels = labels
        """Names of the classes that can be asked for; empty for an unconditional model."""
        self._encoder: tuple[Path | None, SentenceEncoder] | None = None

    @classmethod
    def from_folder(cls, folder: Path) -> Generator:
        """Open and check a bundle folder."""
        bundle, compute = open_bundle(folder), pick("fp32")
        G = compute.place(bundle.generator())
        labels = bundle.spec.conditioning.labels
        return cls(G, labels=labels, prompts=bundle.prompts, compute=compute, bundle=bundle)

    def sample_with_labels(
        self,
        n: int = 16,
        *,
        seed: int = 0,
        label: str | int | None = None,
        prompt: str | None = None,
        encoder: Path | None = None,
        truncation: float = 1.0,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """uint8 [n, C, H, W] in 0..255, and the class of each image (int64 [n], None if unconditional or by prompt).

        `prompt` says in words what to paint; a prompt far from all that the model knows is logged as a warning.
        `encoder` is the folder of the sentence encoder where it is not the packaged one. Raises ConfigError if n < 1,
        truncation is not in (0, 1], the label is not one of `labels`, or the model does not take prompts.
        """
        if n < 1:
            raise ConfigError(f"n is {n}", expected="at least one image")
        if encoder is not None and prompt is None:
            raise ConfigError("an encoder was given without a prompt", remedy="give --prompt, or leave --encoder out")
        if not 0.0 < truncation <= 1.0:
            raise ConfigError(f"truncation is {truncation}", expected="a value in (0, 1]; 1 is no truncation")
        index = None if label is None else find_label(label, self.labels)
        tell = None
        if prompt is not None:
            if label is not None:
                raise ConfigError("both a label and a prompt were given", expected="one of them")
            tell = self.told_of(prompt, encoder)
        batches = sample(
            self.G,
            n=n,
            seed=seed,
            num_classes=len(self.labels),
            compute=self.compute,
            label=index,
            truncation=truncation,
            tell=tell,
        )
        images, classes, done = np.empty(0), np.empty(0, dtype=np.int64), 0
        for made, drawn in batches:
            if not done:
                check_memory(n, made[0].numel())
                images, classes = np.empty((n, *made.shape[1:]), dtype=np.uint8), np.empty(n, dtype=np.int64)
            images[done : done + len(made)] = made.cpu().numpy()
            if drawn is not None:
                classes[done : done + len(made)] = drawn.cpu().numpy()
            done += len(made)
        return images, classes if self.labels and tell is None else None

    def told_of(self, prompt: str, encoder: Path | None = None) -> Tell:
        """What a sampler tells G of a prompt. Raises ConfigError for an empty prompt or a model that takes none."""
        known = self.prompts
        if known is None:
            by = "label" if self.labels else "seed"
            raise ConfigError("a prompt was asked of a model that takes none", remedy=f"ask by {by}")
        text = checked(prompt)
        embedding = self.encoded(known, text, encoder)
        if warning := known.warning(text, embedding):
            log.warning("%s", warning)
        return lambda labels, _: embedding.expand(len(labels), -1)

    def encoded(self, known: Prompts, text: str, encoder: Path | None = None) -> torch.Tensor:
        """A prompt's embedding float32 [E], by the encoder that the model was trained with; it is opened once."""
        if self._encoder is None or self._encoder[0] != encoder:
            opened = SentenceEncoder(encoder) if encoder else find_encoder()
            known.check_encoder(opened.identity)
            self._encoder = (encoder, opened)
        return self._encoder[1]([text])[0]

    def sample(self, n: int = 16, **options: Any) -> np.ndarray:
        """uint8 [n, C, H, W] in 0..255. Options: see `sample_with_labels`."""
        return self.sample_with_labels(n, **options)[0]

    def picture(self, n: int = 16, *, columns: int | None = None, **options: Any) -> np.ndarray:
        """n samples as one picture, uint8 [H, W] (grey) or [H, W, 3]: ready for `plt.imshow`. Options: see `sample`."""
        sheet = grid(self.sample(n, **options), columns=columns)
        return sheet[0] if sheet.shape[0] == 1 else sheet.transpose(1, 2, 0)


def check_memory(n: int, size: int) -> None:
    """Raise ConfigError where n images of `size` bytes, and a grid of them, do not fit into this machine's memory."""
    import psutil

    free = psutil.virtual_memory().available
    if 2 * n * size > free:
        raise ConfigError(
            f"{n:,} images need {2 * n * size / 2**30:,.0f} GiB of memory, and {free / 2**30:,.0f} GiB are free",
            expected="images that fit into memory at once",
            remedy="ask for fewer at a time, with another --seed each time",
        )


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
    """Write uint8 [n, C, H, W] as a grid (.png), as arrays (.npz) or as single files (a folder). Says what it did.

    Raises ConfigError where `output` cannot be written.
    """
    check_images_output(output)
    with written(output):
        return write_images(images, labels, output)


def check_images_output(output: Path) -> None:
    """Raise ConfigError where images cannot be written to `output`: to be asked before they are made."""
    check_output(output, suffixes=(".png", ".npz"), folder=True)


def write_images(images: np.ndarray, labels: np.ndarray | None, output: Path) -> str:
    suffix = output.suffix.lower()
    if suffix == ".png":
        save_png(output, grid(images))
        return f"a grid of {len(images)} images in {output}"
    if suffix == ".npz":
        arrays = {"images": images} | ({} if labels is None else {"labels": labels})
        with atomic_path(output) as partial:
            np.savez_compressed(partial, **arrays)  # type: ignore[arg-type]
        return f"{len(images)} images (uint8 [N, C, H, W]) in {output}"
    fresh_folder(output)
    for i, image in enumerate(images):
        save_png(output / f"{i:06d}.png", image)
    return f"{len(images)} PNG files in {output}"
