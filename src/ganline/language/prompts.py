"""What a model knows by name: concepts, the texts that call them, their embeddings; and how far a prompt is from them.

A concept is a class with a level of each attribute, "a dark sneaker"; level NONE leaves the attribute out of the text.
Concept number = label * 3^A + sum of level_a * 3^a. The same two files lie in the captions stage's folder and in the
bundle of every model that is told prompts, so that a bundle alone can be asked and measured:

    prompts.json           labels, attributes with thresholds, the encoder's identity, texts
    prompts.safetensors    their embeddings, one array a kind
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ganline.errors import BundleError, ConfigError, get_again
from ganline.files import read_json, write_bytes
from ganline.language.attributes import ATTRIBUTES, HIGH, LOW, NONE

JSON, TENSORS = "prompts.json", "prompts.safetensors"
FILES = (JSON, TENSORS)
TRAIN, UNSEEN, NOUNS, ADJECTIVES = "train", "held_out", "other_nouns", "other_adjectives"
KINDS = (TRAIN, UNSEEN, NOUNS, ADJECTIVES)
"""Texts that are trained on; sentences that never are; sentences that are, with nouns or adjectives that never are."""
SHOWN = 60


def number_of(label: int, levels: Sequence[int]) -> int:
    """A class and its levels [A] -> the concept's number."""
    return label * 3 ** len(levels) + sum(level * 3**a for a, level in enumerate(levels))


def parts_of(concept: int, num_attributes: int) -> tuple[int, tuple[int, ...]]:
    """A concept's number -> its class and levels [A]."""
    label, code = divmod(concept, 3**num_attributes)
    return label, tuple(code // 3**a % 3 for a in range(num_attributes))


def concepts_of(labels: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """The fullest true concept of each image, int64 [N], of labels [N] and levels [N, A]."""
    powers = 3 ** torch.arange(levels.shape[1])
    return labels * 3 ** levels.shape[1] + (levels * powers).sum(1)


def true_concepts(num_classes: int, num_attributes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """All that may be said of an image whose fullest concept is c: (int64 [C, 2^A], how many of them count [C]).

    The class alone, or with any of its named levels. What does not count is filled with zeros.
    """
    rows, counts = [], []
    for concept in range(num_classes * 3**num_attributes):
        label, levels = parts_of(concept, num_attributes)
        choices = [(NONE,) if level == NONE else (NONE, level) for level in levels]
        own = [number_of(label, chosen) for chosen in product(*choices)]
        rows.append(own + [0] * (2**num_attributes - len(own)))
        counts.append(len(own))
    return torch.tensor(rows), torch.tensor(counts)


@dataclass(frozen=True)
class Prompts:
    """The known prompts. `texts` and `concepts` say of each kind what is written and what is meant; `embeddings`
    float32 [n, E] of length 1 in the same order. Those of TRAIN are ordered by concept, as many of each.

    `marks` float64 [K, A, 3] are the attributes' thresholds by class, `counts` int64 [C] the training images whose
    fullest concept is c, `least_similarity` what prompts that mean something known have at least.
    """

    labels: tuple[str, ...]
    attributes: tuple[str, ...]
    encoder: Mapping[str, Any]
    marks: torch.Tensor
    counts: torch.Tensor
    texts: Mapping[str, tuple[str, ...]]
    concepts: Mapping[str, torch.Tensor]
    embeddings: Mapping[str, torch.Tensor]
    least_similarity: float

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.embeddings[TRAIN].shape[1]

    @property
    def num_phrasings(self) -> int:
        """Texts of each concept that are trained on."""
        return len(self.texts[TRAIN]) // len(self.counts)

    @cached_property
    def true(self) -> tuple[torch.Tensor, torch.Tensor]:
        return true_concepts(len(self.labels), len(self.attributes))

    @cached_property
    def support(self) -> torch.Tensor:
        """Training images that each concept is true of, int64 [C]: 0 for what no image shows."""
        rows, counts = self.true
        filled = torch.arange(rows.shape[1]) < counts[:, None]
        return torch.zeros_like(self.counts).index_add_(0, rows[filled], self.counts[:, None].expand_as(rows)[filled])

    @cached_property
    def fullest(self) -> torch.Tensor:
        """Cumulative shares of a class's fullest concepts among its training images, float64 [K, 3^A]."""
        weights = self.counts.double().view(len(self.labels), -1).clone()
        weights[weights.sum(1) == 0, 0] = 1.0  # a class without training images is called by its name
        return (weights / weights.sum(1, keepdim=True)).cumsum(1)

    def draw(self, fullest: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """A caption that is true of each image: (embeddings float32 [B, E], what they say int64 [B]).

        `fullest` int64 [B] are the images' fullest concepts. First what is said of it, then in which words, each as
        likely as the others. Two uniform numbers an image.
        """
        rows, counts = self.true
        what, words = torch.rand(len(fullest), 2, generator=generator, dtype=torch.float64).unbind(1)
        said = rows[fullest, (what * counts[fullest]).long()]
        return self.embeddings[TRAIN][said * self.num_phrasings + (words * self.num_phrasings).long()], said

    def prompts_for(self, labels: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """A caption for each class asked for, int64 [B]: (embeddings float32 [B, E], what they say int64 [B]).

        Captions are as frequent as in training, so that a perfect model told them paints the class as it is.
        """
        labels = labels.cpu()
        which = torch.rand(len(labels), 1, generator=generator, dtype=torch.float64)
        code = torch.searchsorted(self.fullest[labels], which, right=True)[:, 0].clamp(max=self.fullest.shape[1] - 1)
        return self.draw(labels * self.fullest.shape[1] + code, generator)

    def tell(self, labels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """`prompts_for` without what the captions say."""
        return self.prompts_for(labels, generator)[0]

    def of_kind(self, kind: str) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
        """A kind's prompts whose concept some training image shows: embeddings [n, E], concepts int64 [n], texts."""
        known = self.support[self.concepts[kind]] > 0
        texts = [text for text, own in zip(self.texts[kind], known.tolist(), strict=True) if own]
        return self.embeddings[kind][known], self.concepts[kind][known], texts

    def nearest(self, embedding: torch.Tensor) -> tuple[str, float]:
        """The known text that an embedding [E] is most similar to, and their cosine in [-1, 1]."""
        similarity, at = (self.embeddings[TRAIN] @ embedding).max(0)
        return self.texts[TRAIN][int(at)], float(similarity)

    def warning(self, text: str, embedding: torch.Tensor) -> str | None:
        """What to tell the author of a prompt that is far from every known one; None if it is not."""
        known, similarity = self.nearest(embedding)
        if similarity >= self.least_similarity:
            return None
        shown = text if len(text) <= SHOWN else f"{text[:SHOWN]} …"
        return (
            f"{shown!r} is far from every prompt that this model knows (similarity {similarity:.2f}); "
            f"the nearest is {known!r}"
        )

    def check_encoder(self, identity: Mapping[str, Any]) -> None:
        """Raise ConfigError if another encoder than the model's would speak to it."""
        if identity["sha256"] != self.encoder["sha256"]:
            raise ConfigError(
                f"the sentence encoder is {identity['name']} ({identity['sha256'][:8]})",
                expected=f"{self.encoder['name']} ({self.encoder['sha256'][:8]}), which the model was trained with",
                remedy="name the folder of that encoder",
            )


def files_of(prompts: Prompts) -> dict[str, bytes]:
    """File name -> content: what a bundle carries as extras."""
    plain = {
        "labels": list(prompts.labels),
        "attributes": [
            {
                "name": name,
                "low": ATTRIBUTES[name].words(LOW)[0],
                "high": ATTRIBUTES[name].words(HIGH)[0],
                "thresholds": [None if math.isnan(row[0]) else row for row in prompts.marks[:, a].tolist()],
            }
            for a, name in enumerate(prompts.attributes)
        ],
        "encoder": dict(prompts.encoder),
        "counts": prompts.counts.tolist(),
        "least_similarity": prompts.least_similarity,
        "texts": {kind: list(prompts.texts[kind]) for kind in KINDS},
        "concepts": {kind: prompts.concepts[kind].tolist() for kind in KINDS},
    }
    tensors = {kind: prompts.embeddings[kind].contiguous() for kind in KINDS}
    text = json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    return {JSON: text.encode(), TENSORS: save(tensors)}


def save_prompts(prompts: Prompts, folder: Path) -> None:
    """Write both files."""
    for name, content in files_of(prompts).items():
        write_bytes(folder / name, content)


def load_prompts(folder: Path) -> Prompts:
    """Read both files. Raises BundleError if one is missing or they do not belong together."""
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise BundleError(f"{folder} holds no {missing[0]}", expected="the prompts that the model was trained on")
    try:
        plain, tensors = read_json(folder / JSON), load_file(folder / TENSORS)
        labels, attributes = tuple(plain["labels"]), plain["attributes"]
        marks = torch.full((len(labels), len(attributes), 3), torch.nan, dtype=torch.float64)
        for a, attribute in enumerate(attributes):
            for label, row in enumerate(attribute["thresholds"]):
                if row is not None:
                    marks[label, a] = torch.tensor(row, dtype=torch.float64)
        prompts = Prompts(
            labels=labels,
            attributes=tuple(attribute["name"] for attribute in attributes),
            encoder=plain["encoder"],
            marks=marks,
            counts=torch.tensor(plain["counts"]),
            texts={kind: tuple(plain["texts"][kind]) for kind in KINDS},
            concepts={kind: torch.tensor(plain["concepts"][kind], dtype=torch.int64) for kind in KINDS},
            embeddings={kind: tensors[kind] for kind in KINDS},
            least_similarity=plain["least_similarity"],
        )
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise BundleError(f"{folder / JSON} is damaged: {error!r}", remedy=get_again(folder)) from error
    if any(len(prompts.texts[kind]) != len(prompts.embeddings[kind]) for kind in KINDS):
        raise BundleError(f"{folder}: texts and embeddings differ in number", remedy=get_again(folder))
    return prompts
