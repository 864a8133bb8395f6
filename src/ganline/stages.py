"""The stages: plain functions that read files, call the core and write files. Only they know file names.

dvc.yaml, the CLI and the tests use these functions; a test holds STAGES against dvc.yaml.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from ganline.config import Config
from ganline.errors import TrainingError
from ganline.files import fresh_folder, read_json, write_bytes, write_json
from ganline.home import home
from ganline.lineage import TRAINING_ROOMS, train_recipe

log = logging.getLogger(__name__)

DATA = "data"
MANIFEST = "artifacts/manifest"
VALIDATE = "artifacts/validate"
PREPARE = "artifacts/prepare"
EXTRACTOR = "artifacts/extractor"
REFERENCE = "artifacts/reference"
TRAIN = "artifacts/train"
CURVES, EVOLUTION = "curves.png", "evolution.png"
METRICS = "artifacts/evaluate/metrics.json"
SAMPLES = "artifacts/evaluate/samples.png"
NEIGHBOURS = "artifacts/evaluate/neighbours.png"
MODEL = "artifacts/model"
EXPECTATIONS = "expectations"
PREVIOUS_PROFILE = "expectations/previous.json"


def manifest(config: Config, root: Path) -> None:
    """Check every raw byte, then describe every image in a row."""
    from ganline.data.manifest import build_manifest, write_manifest

    rows, profile = build_manifest(config.data, config.manifest, root / DATA)
    fresh_folder(root / MANIFEST)
    write_manifest(rows, root / MANIFEST / "manifest.parquet")
    write_json(root / MANIFEST / "profile.json", profile)
    log.info("manifest: %d images, %d not decodable", len(rows), int(rows["error"].notna().sum()))


def validate(config: Config, root: Path) -> None:
    """Judge the manifest by the expectations; the report is written whatever the verdict."""
    from ganline.data.manifest import read_manifest
    from ganline.integrations.expectations import validate_to_folder

    verdict = validate_to_folder(
        read_manifest(root / MANIFEST / "manifest.parquet"),
        config=config.validate_,
        data=config.data,
        data_folder=root / DATA,
        suites=root / EXPECTATIONS,
        profile=read_json(root / MANIFEST / "profile.json"),
        previous_profile=read_json(root / PREVIOUS_PROFILE),
        out=root / VALIDATE,
    )
    log.info("validate: %s", verdict.message() or f"all expectations are met; see {root / VALIDATE / 'report.html'}")


def prepare(config: Config, root: Path) -> None:
    """Decode the accepted images into arrays."""
    from ganline.data.manifest import read_manifest
    from ganline.data.prepare import check_usable, read_quarantine
    from ganline.data.prepare import prepare as prepare_arrays

    rows = read_manifest(root / MANIFEST / "manifest.parquet")
    quarantined = read_quarantine(root / VALIDATE / "quarantine.csv")
    check_usable(rows, quarantined)
    counts = prepare_arrays(
        data=config.data,
        config=config.prepare,
        manifest=rows,
        quarantined=quarantined,
        folder=root / DATA,
        out_folder=fresh_folder(root / PREPARE),
    )
    log.info("prepare: %s", counts)


def extractor(config: Config, root: Path) -> None:
    """Train and freeze the feature extractor."""
    from ganline.data.loader import Prepared
    from ganline.devices import make_exact, pick
    from ganline.evaluation.extractor import train_extractor

    make_exact()
    meta = train_extractor(Prepared(root / PREPARE), config.extractor, root / EXTRACTOR, pick())
    log.info("extractor: %s", meta["name"])


def reference(config: Config, root: Path) -> None:
    """Features of the real images that generated ones are compared to."""
    from ganline.data.loader import Prepared
    from ganline.devices import make_exact, pick
    from ganline.evaluation.extractor import Extractor
    from ganline.evaluation.measure import random_rows

    make_exact()
    prepared = Prepared(root / PREPARE)
    extract = Extractor.load(root / EXTRACTOR, pick())
    split, train_split = prepared.split(config.reference.split), prepared.split("train")
    n = min(config.reference.n, len(split), len(train_split))
    chosen = {name: random_rows(len(part), n, name) for name, part in (("reference", split), ("floor", train_split))}
    fresh_folder(root / REFERENCE)
    np.save(root / REFERENCE / "reference.npy", extract.split_features(split)[chosen["reference"]])
    np.save(root / REFERENCE / "train.npy", extract.split_features(train_split))
    np.save(root / REFERENCE / "floor_rows.npy", chosen["floor"])
    meta = {"extractor": extract.name, "split": config.reference.split, "n": n, "num_train": len(train_split)}
    write_json(root / REFERENCE / "reference.json", meta)
    log.info("reference: %s", meta)


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
    from ganline.devices import machine, make_exact, pick
    from ganline.evaluation.extractor import Extractor
    from ganline.evaluation.probe import make_probe
    from ganline.images import png_bytes
    from ganline.integrations.curves import curves
    from ganline.integrations.evolution import strip_of
    from ganline.registry.bundle import DISCRIMINATOR, GENERATOR, ModelSpec, write_bundle
    from ganline.training.loop import Run
    from ganline.training.loop import train as run_training
    from ganline.training.tracker import read_lines

    make_exact()
    compute = pick(config.train.precision)
    prepared = Prepared(root / PREPARE)
    spec = ModelSpec(
        dataset=prepared.name,
        model=config.train.model,
        image={"resolution": prepared.resolution, "channels": prepared.channels},  # type: ignore[arg-type]
        labels=prepared.labels,
    )
    recipe = train_recipe(config, root / PREPARE, root / EXTRACTOR)
    work, here = work_folder(root, recipe), machine(compute, world_size=ranks.size())
    if config.train.compile:
        here["compiled"] = compute.can_compile()
    with only_writer(work) if ranks.is_first() else nullcontext():
        if ranks.is_first():
            write_json(work / "machine.json", here)
        probe = None
        if ranks.is_first():
            probe = make_probe(
                Extractor.load(root / EXTRACTOR, compute),
                prepared.split("val"),
                seed=config.train.seed,
                n=config.train.watch.n,
                num_classes=spec.conditioning.num_classes,
                compute=compute,
            )
            if probe is None:
                log.warning("train: too few validation images for the watchdog; it is off")
        state = run_training(
            config.train,
            prepared.split("train"),
            image=spec.image,
            conditioning=spec.conditioning,
            run=Run(work, recipe, here),
            compute=compute,
            initial=initial_networks(config, root),
            probe=probe,
        )
        if not ranks.is_first():
            return
        networks = {GENERATOR: state.G_ema.state_dict(), DISCRIMINATOR: state.D.state_dict()}
        write_bundle(root / TRAIN, spec, networks=networks)
        shutil.copyfile(work / "history.jsonl", root / TRAIN / "history.jsonl")
        write_bytes(root / TRAIN / CURVES, png_bytes(curves(read_lines(work / "history.jsonl"))))
        write_bytes(root / TRAIN / EVOLUTION, png_bytes(strip_of(work / "samples")))
        write_json(work / "outcome.json", {"exact": state.exact, "skipped": state.skipped, **state.extra})
    if state.skipped:
        log.warning("train: %d updates were masked because they were not finite", state.skipped)


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
    return {"G": bundle.state(GENERATOR), "D": bundle.state(DISCRIMINATOR)}


def evaluate(config: Config, root: Path) -> None:
    """Measure G_ema against the reference, and draw samples and nearest neighbours."""
    from ganline.data.loader import Prepared
    from ganline.devices import make_exact, pick
    from ganline.evaluation.extractor import Extractor
    from ganline.evaluation.measure import Reference
    from ganline.evaluation.report import measure, neighbours_picture, samples_picture
    from ganline.images import png_bytes
    from ganline.registry.bundle import open_bundle

    make_exact()
    compute = pick("fp32")
    prepared, extract = Prepared(root / PREPARE), Extractor.load(root / EXTRACTOR, compute)
    folder = root / REFERENCE
    meta = read_json(folder / "reference.json")
    arrays = (np.load(folder / f"{name}.npy") for name in ("reference", "train", "floor_rows"))
    real = Reference(meta["split"], *arrays)
    bundle = open_bundle(root / TRAIN)
    G, num_classes = compute.place(bundle.generator()), bundle.spec.conditioning.num_classes
    shared: dict[str, Any] = {"num_classes": num_classes, "compute": compute}
    against: dict[str, Any] = shared | {"prepared": prepared, "extract": extract, "real": real}
    write_json(root / METRICS, measure(G, config=config.evaluate, **against))
    write_bytes(root / SAMPLES, png_bytes(samples_picture(G, **shared)))
    count = config.evaluate.neighbours
    write_bytes(root / NEIGHBOURS, png_bytes(neighbours_picture(G, count=count, **against)))


def export(config: Config, root: Path) -> None:
    """The bundle with its card and samples: what is registered."""
    from ganline.registry.bundle import extend_bundle, open_bundle
    from ganline.registry.card import model_card

    metrics = read_json(root / METRICS)
    card = model_card(open_bundle(root / TRAIN).spec, metrics, config.train)
    extras = {"card.md": card.encode(), "samples.png": (root / SAMPLES).read_bytes()}
    extras |= {name: (root / TRAIN / name).read_bytes() for name in (CURVES, EVOLUTION)}
    digest = extend_bundle(root / TRAIN, root / MODEL, extras)
    log.info("export: bundle %s in %s", digest[:16], MODEL)


@dataclass(frozen=True)
class Stage:
    """A stage's function, and what dvc.yaml must say of it: params sections, inputs, outs, rooms of source code."""

    run: Callable[[Config, Path], None]
    sections: tuple[str, ...]
    inputs: tuple[str, ...]
    outs: tuple[str, ...]
    rooms: tuple[str, ...]


CORE = ("devices.py", "files.py", "images.py", "ranks.py", "seeds.py")

STAGES: Mapping[str, Stage] = {
    "manifest": Stage(manifest, ("data.source", "manifest"), (DATA,), (MANIFEST,), ("data", "files.py")),
    "validate": Stage(
        validate,
        ("data.source", "validate"),
        (DATA, MANIFEST, EXPECTATIONS),
        (VALIDATE,),
        (
            "data",
            "integrations/expectations.py",
            "integrations/expectations_report.py",
            "integrations/report.html.j2",
            "files.py",
            "images.py",
        ),
    ),
    "prepare": Stage(prepare, ("data.source", "prepare"), (DATA, MANIFEST, VALIDATE), (PREPARE,), ("data", "files.py")),
    "extractor": Stage(extractor, ("extractor",), (PREPARE,), (EXTRACTOR,), ("data/loader.py", "evaluation", *CORE)),
    "reference": Stage(
        reference, ("reference",), (PREPARE, EXTRACTOR), (REFERENCE,), ("data/loader.py", "evaluation", *CORE)
    ),
    "train": Stage(
        train,
        ("train",),
        (PREPARE, EXTRACTOR),
        (TRAIN,),
        (
            *TRAINING_ROOMS,
            "files.py",
            "integrations/curves.py",
            "integrations/evolution.py",
            "registry/bundle.py",
        ),
    ),
    "evaluate": Stage(
        evaluate,
        ("evaluate",),
        (PREPARE, EXTRACTOR, REFERENCE, TRAIN),
        (METRICS, SAMPLES, NEIGHBOURS),
        ("data/loader.py", "draws.py", "evaluation", "models", "registry/bundle.py", *CORE),
    ),
    "export": Stage(
        export,
        ("train",),
        (TRAIN, METRICS, SAMPLES),
        (MODEL,),
        ("registry/bundle.py", "registry/card.py"),
    ),
}
