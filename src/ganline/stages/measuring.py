"""Stages that measure: extractors, the reference, the panel of figures, the worth as training data."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganline.config import Config
from ganline.files import write_bytes, write_json
from ganline.stages.places import EXTRACTOR, JUDGE, METRICS, NEIGHBOURS, PREPARE, REFERENCE, SAMPLES, TRAIN, USEFULNESS

if TYPE_CHECKING:
    from ganline.devices import Compute
    from ganline.evaluation.config import ExtractorConfig
    from ganline.evaluation.features import FeatureExtractor

log = logging.getLogger(__name__)


def extractor(config: Config, root: Path) -> None:
    """Train and freeze the feature extractor."""
    freeze_extractor("extractor", config.extractor, root / PREPARE, root / EXTRACTOR)


def judge(config: Config, root: Path) -> None:
    """Train and freeze a second extractor, which nothing but evaluation ever reads."""
    freeze_extractor("judge", config.judge, root / PREPARE, root / JUDGE)


def freeze_extractor(section: str, config: ExtractorConfig, prepared: Path, out: Path) -> None:
    """What the stages extractor and judge do."""
    from ganline.data.loader import Prepared
    from ganline.devices import make_exact, pick
    from ganline.evaluation.extractor import train_extractor

    make_exact()
    meta = train_extractor(Prepared(prepared), config, out, pick(), section=section)
    log.info("%s: %s", section, meta["name"])


def extractors(config: Config, root: Path, compute: Compute) -> dict[str, FeatureExtractor]:
    """Role -> extractor: the data set's own, the judge, and published ones that params name."""
    from ganline.evaluation.extractor import Extractor
    from ganline.evaluation.features import FIRST, SECOND
    from ganline.evaluation.pretrained import load_pretrained

    own = {FIRST: Extractor.load(root / EXTRACTOR, compute), SECOND: Extractor.load(root / JUDGE, compute)}
    return own | {each.name: load_pretrained(each, compute) for each in config.reference.pretrained}


def reference(config: Config, root: Path) -> None:
    """What extractors see of the real images that generated ones are compared to, and what real images score."""
    from ganline.data.loader import Prepared
    from ganline.devices import make_exact, pick
    from ganline.evaluation.panel import floor_figures
    from ganline.evaluation.reference import build_reference, save_reference

    make_exact()
    compute, section = pick("fp32"), config.reference
    real = build_reference(
        Prepared(root / PREPARE),
        extractors(config, root, compute),
        split=section.split,
        n=section.n,
        device=compute.device,
    )
    meta = save_reference(real, root / REFERENCE, floor_figures(real))
    log.info("reference: %d images of the %s split, %d training images", meta["n"], meta["split"], meta["num_train"])


def evaluate(config: Config, root: Path) -> None:
    """Measure G_ema against the reference, and draw samples and nearest neighbours."""
    from ganline.data.loader import Prepared
    from ganline.devices import make_exact, pick
    from ganline.evaluation.features import FIRST
    from ganline.evaluation.panel import measure
    from ganline.evaluation.pictures import neighbours_picture, samples_picture
    from ganline.evaluation.reference import load_reference
    from ganline.images import png_bytes
    from ganline.registry.bundle import open_bundle

    make_exact()
    compute, section = pick("fp32"), config.evaluate
    prepared, looking = Prepared(root / PREPARE), extractors(config, root, compute)
    real = load_reference(root / REFERENCE, compute.device, looking)
    bundle = open_bundle(root / TRAIN)
    G, num_classes = compute.place(bundle.generator()), bundle.spec.conditioning.num_classes
    shared: dict[str, Any] = {"num_classes": num_classes, "compute": compute}
    records = measure(
        G,
        extractors=looking,
        real=real,
        seeds=section.seeds,
        n=section.n,
        memorisation_n=section.memorisation_n,
        modes_n=section.modes_n,
        whole_split=prepared.split(real.split),
        **shared,
    )
    told = {role: describe(extract) for role, extract in looking.items()}
    write_json(root / METRICS, {"dataset": prepared.name, "extractors": told} | records)
    write_bytes(root / SAMPLES, png_bytes(samples_picture(G, **shared)))
    sheet = neighbours_picture(
        G, extract=looking[FIRST], real=real, train=prepared.split("train"), count=section.neighbours, **shared
    )
    write_bytes(root / NEIGHBOURS, png_bytes(sheet))


def describe(extract: FeatureExtractor) -> dict[str, Any]:
    """What a report says of an extractor."""
    meta = getattr(extract, "meta", None)
    if meta is None:
        return {"name": extract.name} | {key: getattr(extract, key) for key in ("preprocessing", "layer")}
    told = {key: meta[key] for key in ("name", "task", "validation_accuracy", "preprocessing", "layer")}
    return told | {"feature_dim": meta["net"]["feature_dim"]}


def usefulness(config: Config, root: Path) -> None:
    """What generated images are worth as training data for a classifier."""
    from ganline.data.loader import Prepared
    from ganline.devices import make_exact, pick
    from ganline.evaluation.usefulness import measure_usefulness
    from ganline.registry.bundle import open_bundle

    make_exact()
    compute, bundle = pick(), open_bundle(root / TRAIN)
    records, reason = measure_usefulness(
        compute.place(bundle.generator()),
        num_classes=bundle.spec.conditioning.num_classes,
        prepared=Prepared(root / PREPARE),
        split=config.reference.split,
        config=config.usefulness,
        compute=compute,
    )
    if reason:
        log.info("usefulness: not measured: %s", reason)
    write_json(root / USEFULNESS, records | ({"not_measured": reason} if reason else {}))
