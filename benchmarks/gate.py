"""The gate on real models: itself, a better one, one that memorises, one that drops a class.

    python benchmarks/gate.py train                      # the models, once; kept under .ganline/gate
    python benchmarks/gate.py duels --out benchmarks/results/gate.json
    python benchmarks/gate.py itself --trials 200 --out benchmarks/results/gate_itself.json

Needs the outs up to `reference` (`dvc repro reference`). All are the default network with other data or another budget
(MODELS). `duels` scores all as `ganline promote` does and judges pairs by the rules in params.yaml. `itself` lets a
model challenge itself: each trial draws ten fresh seeds for either side, so that its latents differ and nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganline.environment import set_defaults

set_defaults()

import numpy as np

from ganline.config import Config, load_config
from ganline.data.loader import Prepared, Split
from ganline.devices import machine, make_exact, pick
from ganline.evaluation.features import FIRST, look
from ganline.evaluation.frechet import fit_gaussian, frechet_distance
from ganline.evaluation.panel import first_of, measure
from ganline.evaluation.reference import load_reference
from ganline.evaluation.uncertainty import paired_difference
from ganline.files import sha256_json
from ganline.models import Conditioning, ImageSpec
from ganline.models.sampling import sample
from ganline.overlay import merge
from ganline.registry.bundle import GENERATOR, ModelSpec, open_bundle, write_bundle
from ganline.registry.promotion import judge
from ganline.scoring import Scores, score
from ganline.stages.measuring import extractors
from ganline.stages.places import PREPARE, REFERENCE
from ganline.training.config import TrainConfig
from ganline.training.loop import Run, train

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Recipe:
    """How a model departs from params.yaml."""

    section: dict[str, Any]
    num_images: int | None = None
    """Training images that it sees, the first of a random order; None: all."""
    dropped: str | None = None
    """A class whose images are replaced by those of the next one: G is asked for it and paints something else."""


MODELS = {
    "early": Recipe({"total_kimg": 10}),
    "later": Recipe({"total_kimg": 60}),
    "memoriser": Recipe({"total_kimg": 150, "objective": {"r1_gamma": 0.02, "r2_gamma": 0.02}}, num_images=500),
    "dropper": Recipe({"total_kimg": 120}, dropped="Dress"),
}
# (champion, challenger, whether the rules should let it win)
DUELS = (
    ("early", "later", True),
    ("later", "early", False),
    ("early", "dropper", False),
    ("early", "memoriser", False),
)


class Part(Split):
    """Some of a split's images, in memory."""

    def __init__(self, images: np.ndarray, labels: np.ndarray):
        self.images, self.labels = images, labels


def images_for(recipe: Recipe, prepared: Prepared) -> Split:
    """The training images of a recipe."""
    split = prepared.split("train")
    rows = np.random.default_rng(0).permutation(len(split))[: recipe.num_images]
    images, labels = split.images[np.sort(rows)], split.labels[np.sort(rows)]
    if recipe.dropped is not None:
        gone = prepared.labels.index(recipe.dropped)
        others = np.flatnonzero(labels == (gone + 1) % len(prepared.labels))
        places = np.flatnonzero(labels == gone)
        images[places] = images[np.resize(others, len(places))]
    return Part(np.ascontiguousarray(images), labels)


def make(name: str, recipe: Recipe, prepared: Prepared, config: Config, folder: Path) -> None:
    """Train a model and write its bundle."""
    section = TrainConfig.model_validate(
        merge(config.train.model_dump(mode="json"), recipe.section | {"checkpoint_seconds": 60.0})
    )
    compute, labels = pick(section.precision), prepared.labels
    image = ImageSpec(resolution=prepared.resolution, channels=prepared.channels)  # type: ignore[arg-type]
    started = time.monotonic()
    work = folder.parent / "work" / name
    state = train(
        section,
        images_for(recipe, prepared),
        image=image,
        conditioning=Conditioning(labels=labels),
        run=Run(work, sha256_json([name, section.model_dump(mode="json")]), machine(compute)),
        compute=compute,
    )
    spec = ModelSpec(dataset=prepared.name, model=section.model, image=image, labels=labels)
    write_bundle(folder, spec, networks={GENERATOR: state.G_ema.state_dict()})
    print(f"{name}: {section.total_kimg:g} kimg in {time.monotonic() - started:.0f} s", flush=True)


KEYS = ("fd", "fd_second", "kid", "recall", "coverage", "class_coverage", "copied_share", "c_t")


def duel(
    champion: str, challenger: str, expected: bool, *, scores: dict[str, Scores], config: Config
) -> dict[str, Any]:
    """Judge one pair."""
    old, new = scores[champion], scores[challenger]
    verdict = judge(old, new, config.promotion)
    figures = {
        key: [old.figures[key]["value"], new.figures[key]["value"]]
        for key in KEYS
        if key in old.figures and key in new.figures
    }
    difference = paired_difference("fd", old.figures["fd"], new.figures["fd"])
    print(f"{champion} <- {challenger}: {verdict}\n{verdict.table()}\n", flush=True)
    return {
        "champion": champion,
        "challenger": challenger,
        "should_win": expected,
        "wins": verdict.passed,
        "refused": list(verdict.refused),
        "figures": figures,
        "fd_difference": [difference.value, difference.low, difference.high],
    }


def itself(root: Path, bundle: Path, config: Config, *, trials: int, n: int) -> dict[str, Any]:
    """How often a model beats itself with other latents. A trial whose distance is not surely lower is refused by that
    rule alone, so the other figures are measured only where it passes."""
    compute = pick("fp32")
    looking = extractors(config, root, compute)
    real = first_of(load_reference(root / REFERENCE, compute.device, looking), n)
    opened = open_bundle(bundle)
    G, num_classes = compute.place(opened.generator()), opened.spec.conditioning.num_classes
    weights = real.train_histogram if num_classes else None
    names = [str(seed) for seed in config.promotion.seeds]
    targets = [fit_gaussian(half.by[FIRST]) for half in real.test.halves()]

    def seeds_of(trial: int, side: int) -> list[int]:
        return [1_000_000 + 1000 * trial + 500 * side + i for i in range(len(names))]

    def distance(trial: int, side: int) -> dict[str, Any]:
        halves = {}
        for name, seed in zip(names, seeds_of(trial, side), strict=True):
            batches = sample(G, n=n, seed=seed, num_classes=num_classes, label_weights=weights, compute=compute)
            made = look(batches, {FIRST: looking[FIRST]}, pixels=False)
            parts = zip(made.halves(), targets, strict=True)
            halves[name] = [frechet_distance(fit_gaussian(fake.by[FIRST]), target) for fake, target in parts]
        value = float(np.mean(list(halves.values())))
        common = {"name": "fd", "n": n, "split": real.split, "seeds": names, "value": value}
        return common | {"per_half": halves, "per_seed": {name: float(np.mean(own)) for name, own in halves.items()}}

    def scores(trial: int, side: int) -> Scores:
        own = seeds_of(trial, side)
        records = measure(
            G,
            num_classes=num_classes,
            extractors=looking,
            real=real,
            seeds=own,
            memorisation_n=n,
            compute=compute,
        )
        told = dict(zip(map(str, own), names, strict=True))
        for record in records.values():  # paired with the other side's by position
            record["seeds"] = names
            for part in ("per_seed", "per_half"):
                if part in record:
                    record[part] = {told[seed]: value for seed, value in record[part].items()}
        return Scores(records, 1.0)

    promoted, lower, started = 0, 0, time.monotonic()
    for trial in range(trials):
        pair = paired_difference("fd", distance(trial, 0), distance(trial, 1))
        assert pair.halves is not None
        if pair.high < 0.0 and max(pair.halves) < 0.0:
            lower += 1
            promoted += judge(scores(trial, 0), scores(trial, 1), config.promotion).passed
        if (trial + 1) % 10 == 0:
            told = f"{trial + 1} trials: promoted {promoted}, distance surely lower {lower}"
            print(f"{told}; {time.monotonic() - started:.0f} s", flush=True)
    return {"trials": trials, "n": n, "promoted": promoted, "distance_surely_lower": lower, "model": bundle.name}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["train", "duels", "itself"])
    parser.add_argument("--root", type=Path, default=ROOT, help="a checkout or workspace with artifacts")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--n", type=int, default=600, help="images of each seed in `itself`")
    parser.add_argument("--model", default="later", help="which one challenges itself")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    make_exact()
    logging_quietly()
    config, models = load_config(options.root), options.root / ".ganline" / "gate"
    result: dict[str, Any] = {"command": f"python benchmarks/gate.py {options.what}", "machine": machine(pick("fp32"))}
    if options.what == "train":
        prepared = Prepared(options.root / PREPARE)
        for name, recipe in MODELS.items():
            if not (models / name).is_dir():
                make(name, recipe, prepared, config, models / name)
        return
    if options.what == "duels":
        scores = dict(zip(MODELS, score(options.root, config, [models / name for name in MODELS]), strict=True))
        result["duels"] = [duel(*each, scores=scores, config=config) for each in DUELS]
    else:
        result |= itself(options.root, models / options.model, config, trials=options.trials, n=options.n)
        print(json.dumps(result))
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")


def logging_quietly() -> None:
    """One line a seed is too much of four thousand."""
    import logging

    logging.getLogger("ganline").setLevel(logging.WARNING)


if __name__ == "__main__":
    os.environ.setdefault("GANLINE_HOME", str(ROOT / ".ganline"))
    main()
