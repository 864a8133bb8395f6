"""The stage that trains, and where it keeps its state meanwhile."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from ganline.config import Config
from ganline.errors import TrainingError
from ganline.files import write_bytes, write_json
from ganline.home import home
from ganline.lineage import train_recipe
from ganline.stages.places import CURVES, EVOLUTION, EXTRACTOR, PREPARE, TRAIN

if TYPE_CHECKING:
    from ganline.data.loader import Prepared, Split
    from ganline.models import Conditioning, ImageSpec
    from ganline.registry.bundle import ModelSpec
    from ganline.training.config import TrainConfig
    from ganline.training.state import State

log = logging.getLogger(__name__)


def train(config: Config, root: Path) -> None:
    """Train the GAN: its state lies in the recipe's work folder while it runs, then a bundle with its history.

    Under torchrun every rank runs this; the first holds the work folder and writes the outs.
    """
    from ganline import ranks

    with ranks.joined():
        train_together(config, root)


def train_together(config: Config, root: Path) -> None:
    """What each rank of a training does."""
    from ganline import ranks
    from ganline.data.loader import Prepared
    from ganline.devices import make_exact

    make_exact()
    prepared = Prepared(root / PREPARE)
    spec = spec_of(config.train, prepared)
    with trained(
        config.train,
        root,
        recipe=train_recipe(config, root / PREPARE, root / EXTRACTOR),
        image=spec.image,
        conditioning=spec.conditioning,
        split=prepared.split("train"),
        watched=prepared.split("val"),
        initial=initial_networks(config, root),
    ) as (state, work):
        if ranks.is_first():
            write_training(root / TRAIN, spec, state, work)


def spec_of(section: TrainConfig, prepared: Prepared) -> ModelSpec:
    """What model.json will say of a training's result."""
    from ganline.registry.bundle import ModelSpec

    return ModelSpec(
        dataset=prepared.name,
        model=section.model,
        image={"resolution": prepared.resolution, "channels": prepared.channels},  # type: ignore[arg-type]
        labels=prepared.labels,
    )


@contextmanager
def trained(
    section: TrainConfig,
    root: Path,
    *,
    recipe: str,
    image: ImageSpec,
    conditioning: Conditioning,
    split: Split,
    watched: Split | None = None,
    **options: Any,
) -> Iterator[tuple[State, Path]]:
    """Train, or go on where a training of this recipe was; its end state and its work folder, which is held meanwhile.

    `watched` is the split that the watchdog looks at, None for no watchdog; `options` are those of training.loop.train.
    """
    from ganline import ranks
    from ganline.devices import machine, pick
    from ganline.evaluation.extractor import Extractor
    from ganline.evaluation.probe import make_probe
    from ganline.models.sampling import label_histogram
    from ganline.training.loop import Run
    from ganline.training.loop import train as run_training

    compute = pick(section.precision)
    work, here = work_folder(root, recipe), machine(compute, world_size=ranks.size())
    if section.compile:
        here["compiled"] = compute.can_compile()
    with only_writer(work) if ranks.is_first() else nullcontext():
        if ranks.is_first():
            write_json(work / "machine.json", here)
        probe, classes = None, conditioning.num_classes
        if ranks.is_first() and watched is not None:
            probe = make_probe(
                Extractor.load(root / EXTRACTOR, compute),
                watched,
                seed=section.seed,
                n=section.watch.n,
                label_weights=label_histogram(split.labels, classes) if classes else None,
                compute=compute,
            )
            if probe is None:
                log.warning("train: too few validation images for the watchdog; it is off")
        state = run_training(
            section,
            split,
            image=image,
            conditioning=conditioning,
            run=Run(work, recipe, here),
            compute=compute,
            probe=probe,
            **options,
        )
        yield state, work
        if ranks.is_first():
            write_json(work / "outcome.json", {"exact": state.exact, "skipped": state.skipped, **state.extra})
    if state.skipped:
        log.warning("train: %d updates were masked because they were not finite", state.skipped)


def write_training(
    folder: Path, spec: ModelSpec, state: State, work: Path, extras: dict[str, bytes] | None = None
) -> None:
    """A training's outs: the bundle, its history, its curves and how its samples evolved."""
    from ganline.images import png_bytes
    from ganline.integrations.curves import curves
    from ganline.integrations.evolution import strip_of
    from ganline.registry.bundle import DISCRIMINATOR, GENERATOR, write_bundle
    from ganline.training.tracker import read_lines

    networks = {GENERATOR: state.G_ema.state_dict(), DISCRIMINATOR: state.D.state_dict()}
    write_bundle(folder, spec, networks=networks, extras=extras)
    shutil.copyfile(work / "history.jsonl", folder / "history.jsonl")
    write_bytes(folder / CURVES, png_bytes(curves(read_lines(work / "history.jsonl"))))
    write_bytes(folder / EVOLUTION, png_bytes(strip_of(work / "samples")))


def work_folder(root: Path, recipe: str) -> Path:
    """Where a training of this recipe keeps its state and its logs."""
    folder = home(root) / "work" / recipe[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def only_writer(work: Path) -> Iterator[None]:
    """Hold a work folder, or say that another process does. Raises TrainingError."""
    lock = FileLock(work / ".lock")
    try:
        lock.acquire(timeout=5)
    except Timeout as error:
        raise TrainingError(
            f"another process trains this recipe in {work}", remedy="wait for it, or stop it and run again"
        ) from error
    try:
        yield
    finally:
        lock.release()


def initial_networks(config: Config, root: Path) -> Mapping[str, dict[str, Any]]:
    """Tensors of `train.init_from`, from the bundle that fetch pinned by hash."""
    from ganline.registry.bundle import DISCRIMINATOR, GENERATOR, open_bundle

    init = config.train.init_from
    if init is None:
        return {}
    folder = home(root) / "bundles" / str(init.bundle)
    if init.bundle is None or not folder.is_dir():
        raise TrainingError(
            f"train.init_from: the bundle of {init.model} is not here",
            expected=f"its hash in train.init_from.bundle and its files in {folder}",
            remedy="run `ganline fetch`, which gets and pins it",
        )
    bundle = open_bundle(folder)
    if len(bundle.members) > 1:
        raise TrainingError(f"train.init_from: {init.model} is a mixture", expected="a bundle of one training")
    return {"G": bundle.state(GENERATOR), "D": bundle.state(DISCRIMINATOR)}
