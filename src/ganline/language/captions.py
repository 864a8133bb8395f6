"""The captions of a data set: what may be truly said of each image, in words that are embedded once.

An image's class and measured levels make its concept (prompts.py). In training each image gets a caption that is true
of it, drawn afresh every time: its class alone or with any of its named levels, in any of the phrasings. Beside
prompts.json and prompts.safetensors the folder holds SPLIT_concepts.npy, int64 [N], in the order of `prepare`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganline.data.loader import Prepared
from ganline.files import atomic_path
from ganline.language.attributes import ATTRIBUTES, NONE, attributes_of, levels, measured, thresholds
from ganline.language.phrasing import HELD_OUT, OTHER_WORDS, SYNONYMS, TRAINED, nouns, sentence
from ganline.language.prompts import (
    ADJECTIVES,
    KINDS,
    NOUNS,
    TRAIN,
    UNSEEN,
    Prompts,
    concepts_of,
    load_prompts,
    parts_of,
    save_prompts,
)

SPLITS = ("train", "val", "test")
UNLABELLED = "thing"
FAR_SHARE = 0.01
JITTER = 0.5
"""Length of the noise on an embedding of length 1 in training: a hundred texts fix a direction in 384 dimensions badly,
and noise keeps a model from reading phrasings where it should read meanings (as a ridge does for a linear model)."""
CHUNK = 4096

Encode = Callable[[Sequence[str]], torch.Tensor]
"""Texts -> float32 [n, E] of length 1."""


def texts_of(
    labels: Sequence[str], attributes: Sequence[str]
) -> tuple[dict[str, tuple[str, ...]], dict[str, torch.Tensor]]:
    """Every kind's texts, and the concept int64 [n] that each calls."""
    named = nouns(labels)
    texts: dict[str, list[str]] = {kind: [] for kind in KINDS}
    concepts: dict[str, list[int]] = {kind: [] for kind in KINDS}

    def add(kind: str, concept: int, template: tuple[str, str], noun: str, adjectives: Sequence[str]) -> None:
        texts[kind].append(sentence(template, noun, adjectives))
        concepts[kind].append(concept)

    for concept in range(len(labels) * 3 ** len(attributes)):
        label, own = parts_of(concept, len(attributes))
        noun = named[label]
        told = [(ATTRIBUTES[name], level) for name, level in zip(attributes, own, strict=True) if level != NONE]
        first, second, unseen = ([of.words(level)[word] for of, level in told] for word in range(3))
        for i, template in enumerate(TRAINED):
            add(TRAIN, concept, template, noun, second if i % 2 else first)
        for i, template in enumerate(HELD_OUT):
            add(UNSEEN, concept, template, noun, second if i % 2 else first)
        for template in OTHER_WORDS:
            if noun in SYNONYMS:
                add(NOUNS, concept, template, SYNONYMS[noun], first)
            if told:
                add(ADJECTIVES, concept, template, noun, unseen)
    return (
        {kind: tuple(own) for kind, own in texts.items()},
        {kind: torch.tensor(own, dtype=torch.int64) for kind, own in concepts.items()},
    )


def measured_split(prepared: Prepared, name: str, attributes: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Attributes float64 [N, A] and labels int64 [N] of a split; unlabelled images are of class 0."""
    split = prepared.split(name)
    parts = [
        measured(attributes, torch.from_numpy(np.array(split.images[start : start + CHUNK])))
        for start in range(0, len(split), CHUNK)
    ]
    return torch.cat(parts), torch.from_numpy(split.labels).clamp(min=0)


def describe_images(prepared: Prepared, attributes: Sequence[str]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """(thresholds [K, A, 3] of the training split, the fullest concept int64 [N] of each image by split)."""
    num_classes = max(len(prepared.labels), 1)
    found = {name: measured_split(prepared, name, attributes) for name in SPLITS}
    marks = thresholds(*found[TRAIN], num_classes)
    return marks, {name: concepts_of(labels, levels(values, labels, marks)) for name, (values, labels) in found.items()}


def build_prompts(
    prepared: Prepared, *, encode: Encode, identity: dict[str, Any], chosen: Sequence[str] | None = None
) -> tuple[Prompts, dict[str, torch.Tensor]]:
    """The prompts of a data set, and the fullest concept int64 [N] of each image by split.

    `chosen` attributes, or those that suit the data set.
    """
    attributes = attributes_of(prepared.name, prepared.channels, chosen)
    marks, images = describe_images(prepared, attributes)
    labels = prepared.labels or (UNLABELLED,)
    texts, concepts = texts_of(labels, attributes)
    embeddings = {kind: encode(texts[kind]) for kind in KINDS}
    return (
        Prompts(
            labels=labels,
            attributes=attributes,
            encoder=identity,
            marks=marks,
            counts=torch.bincount(images[TRAIN], minlength=len(labels) * 3 ** len(attributes)),
            texts=texts,
            concepts=concepts,
            embeddings=embeddings,
            least_similarity=least_similarity(embeddings),
        ),
        images,
    )


def least_similarity(embeddings: dict[str, torch.Tensor]) -> float:
    """The cosine below which a prompt is called far: what 99 % of unseen sentences about known concepts have at least.

    Theirs to the nearest text that is trained on.
    """
    nearest = (embeddings[UNSEEN] @ embeddings[TRAIN].T).max(1).values
    return float(torch.quantile(nearest.double(), FAR_SHARE))


def save_captions(folder: Path, prompts: Prompts, images: dict[str, torch.Tensor]) -> None:
    """Write the prompts and each split's concepts into an existing folder."""
    save_prompts(prompts, folder)
    for name, concepts in images.items():
        with atomic_path(folder / f"{name}_concepts.npy") as partial:
            np.save(partial, concepts.numpy())


class Captions:
    """The captions stage's folder: `prompts`, and the fullest concept int64 [N] of each image of a split."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.prompts = load_prompts(folder)
        self._concepts: dict[str, torch.Tensor] = {}

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.prompts.dim

    def concepts(self, split: str) -> torch.Tensor:
        if split not in self._concepts:
            self._concepts[split] = torch.from_numpy(np.load(self.folder / f"{split}_concepts.npy"))
        return self._concepts[split]

    def draw(self, rows: torch.Tensor, *, split: str, generator: torch.Generator) -> torch.Tensor:
        """A true caption's embedding for each image of a batch, float32 [B, E] on the CPU; rows int64 [B].

        Jittered by JITTER, and of length 1 again. A pure function of rows and generator. Under ranks: draw for the
        whole batch, then take this rank's share.
        """
        told = self.prompts.draw(self.concepts(split)[rows], generator)[0]
        noise = torch.randn(told.shape, generator=generator) * (JITTER / told.shape[1] ** 0.5)
        return torch.nn.functional.normalize(told + noise)
