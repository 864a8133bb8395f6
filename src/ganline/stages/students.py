"""The stage of the GANs in the language model's place: every way at every seed, side by side."""

from __future__ import annotations

import logging
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ganline.config import Config
from ganline.files import read_json
from ganline.lineage import TRAINING_ROOMS, recipe_of
from ganline.side_by_side import side_by_side
from ganline.stages.language import WORDS
from ganline.stages.places import BANK, CAPTIONS, EXTRACTOR, PREPARE, STUDENTS, TOKENIZER
from ganline.stages.training import spec_of, trained, write_training

if TYPE_CHECKING:
    from ganline.data.loader import Pairs, Prepared, Split
    from ganline.language.config import WayConfig
    from ganline.training.config import TrainConfig

log = logging.getLogger(__name__)


def students(config: Config, root: Path) -> None:
    """Train every way at every seed; each is a bundle, and so is a mixture of a way's seeds. A student that is done is
    not trained again.

    `students.at_once` of them learn side by side, the longest first, on one thread each: networks this small gain a
    third from a second thread at most, and pay for it with half as much processor time again. So their bits depend on
    neither the cores nor how many learn at once.
    """
    from ganline.devices import available_cores, host, pick
    from ganline.registry.bundle import write_mixture

    section = config.students
    wanted = [(name, seed) for name in section.ways for seed in section.seeds_of(name)]
    wanted.sort(key=lambda each: -section.training(*each).total_nimg)
    fitting = available_cores() if pick().device == host().device else 1  # they would share another device's memory
    at_once = min(section.at_once or fitting, len(wanted))
    work = {f"{name}-{seed}": partial(student, config, root, name=name, seed=seed) for name, seed in wanted}
    side_by_side(work, at_once=at_once)
    mixtures = [name for name, way in section.ways.items() if way.mixture]
    for name in mixtures:
        write_mixture(root / STUDENTS / name, [root / STUDENTS / f"{name}-{seed}" for seed in section.seeds_of(name)])
    for other in (root / STUDENTS).iterdir():
        if other.name not in (*work, *mixtures):
            shutil.rmtree(other)


def student(config: Config, root: Path, *, name: str, seed: int) -> None:
    """Train one way at one seed: the bundle NAME-SEED."""
    from ganline.data.loader import Prepared, Split
    from ganline.devices import make_exact
    from ganline.language.captions import Captions
    from ganline.language.prompts import files_of
    from ganline.models.spec import Words

    make_exact(threads=1)
    prepared, captions, made = Prepared(root / PREPARE), Captions(root / CAPTIONS), Split(root / BANK, "bank")
    way, section, words = config.students.ways[name], student_section(config, root, name, seed), None
    if way.prompts:
        words = Words(lambda rows, draws: captions.draw(rows, split="train", generator=draws), captions.prompts.tell)
    spec = spec_of(section, prepared)
    log.info("students: %s, seed %d", name, seed)
    with trained(
        section,
        root,
        recipe=student_recipe(section, way, root),
        image=spec.image,
        conditioning=spec.conditioning,
        split=reals_of(way, prepared, made),
        watched=None if way.reals == "bank" else prepared.split("val"),  # data-free: not even watched
        pairs=pairs_of(way, section, made, root),
        words=words,
    ) as (state, work):
        extras = files_of(captions.prompts) if way.prompts else None
        write_training(root / STUDENTS / f"{name}-{seed}", spec, state, work, extras=extras)


def student_section(config: Config, root: Path, name: str, seed: int) -> TrainConfig:
    """The `train` section of one student, sizes that follow from tokenizer and captions filled in."""
    from ganline.language.captions import Captions

    tokens = read_json(root / TOKENIZER / "tokenizer.json")["num_tokens"]
    return config.students.training(name, seed, z_dim=tokens, prompt_dim=Captions(root / CAPTIONS).dim)


def student_recipe(section: TrainConfig, way: WayConfig, root: Path) -> str:
    """What decides a student's weights."""
    return recipe_of(section, inputs_of(way, root), (*TRAINING_ROOMS, *(WORDS if way.prompts else ())), way=way)


def inputs_of(way: WayConfig, root: Path) -> list[Path]:
    """What decides a student beside its section: nothing that it does not read, so that it need not learn again."""
    inputs = [root / PREPARE, root / EXTRACTOR]
    if way.reals != "data" or uses_pairs(way):
        inputs.append(root / BANK)
    return [*inputs, root / CAPTIONS] if way.prompts else inputs


def uses_pairs(way: WayConfig) -> bool:
    from ganline.schedules import is_on

    return is_on(way.pair_weight)


def reals_of(way: WayConfig, prepared: Prepared, made: Split) -> Split:
    """What D takes for real."""
    from ganline.data.loader import joined

    train = prepared.split("train")
    return {"data": lambda: train, "bank": lambda: made, "both": lambda: joined(train, made)}[way.reals]()


def pairs_of(way: WayConfig, section: TrainConfig, made: Split, root: Path) -> Pairs | None:
    """The teacher's noise and images, for ways that regress to them."""
    import numpy as np

    from ganline.data.loader import Batches, Pairs
    from ganline.devices import pick

    if not uses_pairs(way):
        return None
    device = pick(section.precision).device
    batches = Batches(made, batch=section.batch, seed=section.seed + 1, mirror=False, device=device)
    return Pairs(batches, np.load(root / BANK / "bank_z.npy"))
