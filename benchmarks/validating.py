"""Distances to the validation split by both extractors: what recipes are chosen by. The test split is not read.

Classes are drawn as often as training images have them. Rows of ways.jsonl and mixture.json before the tenth study drew
them uniformly: the same seeds gave other images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ganline.data.loader import Prepared
from ganline.devices import Compute
from ganline.evaluation.extractor import Extractor
from ganline.evaluation.features import FIRST, SECOND, look, split_batches
from ganline.evaluation.frechet import fit_gaussian, frechet_distance
from ganline.models.sampling import label_histogram, sample
from ganline.models.spec import Generator
from ganline.stages.places import EXTRACTOR, JUDGE, PREPARE

SEEDS = (13_001, 13_002, 13_003)
"""Of noise: of no bank and no measure."""
Figures = dict[str, list[float]]
"""Name -> the figure of each seed."""


def distances(
    root: Path, compute: Compute, *, n: int = 5_000, seeds: Sequence[int] = SEEDS
) -> Callable[[Generator], Figures]:
    """G -> its distances, and the share of right classes where it is told classes, from `n` images of each seed."""
    prepared = Prepared(root / PREPARE)
    looking = {FIRST: Extractor.load(root / EXTRACTOR, compute), SECOND: Extractor.load(root / JUDGE, compute)}
    val = look(split_batches(prepared.split("val"), device=compute.device), looking, pixels=False)
    real = {role: fit_gaussian(features) for role, features in val.by.items()}
    weights = None
    if prepared.labels:
        weights = label_histogram(prepared.split("train").labels, len(prepared.labels))

    def measured(G: Generator) -> Figures:
        found: Figures = {}
        told: dict[str, Any] = {"num_classes": G.num_classes, "label_weights": weights if G.num_classes else None}
        for seed in seeds:
            seen = look(sample(G, n=n, seed=seed, compute=compute, **told), looking, pixels=False)
            for role, extractor in looking.items():
                distance = frechet_distance(fit_gaussian(seen.by[role]), real[role])
                found.setdefault(f"fd_{extractor.name}_n{n}_val", []).append(distance)
            if seen.classes is not None and seen.labels is not None:
                right = float((seen.classes == seen.labels).double().mean())
                found.setdefault("label_accuracy", []).append(right)
        return found

    return measured
