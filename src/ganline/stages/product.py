"""Stages that make what people get: the report and the bundle."""

from __future__ import annotations

import logging
from pathlib import Path

from ganline.config import Config
from ganline.files import read_json, write_bytes
from ganline.stages.places import CURVES, EVOLUTION, METRICS, MODEL, NEIGHBOURS, REPORT, SAMPLES, TRAIN, USEFULNESS

log = logging.getLogger(__name__)


def report(config: Config, root: Path) -> None:
    """Everything that was measured of the model on one page."""
    from ganline.page.render import render_report
    from ganline.registry.bundle import open_bundle

    spec = open_bundle(root / TRAIN).spec
    page = render_report(
        title=f"{spec.dataset}: {spec.model.name}",
        model=spec.facts()
        | {
            "Training": f"{config.train.total_kimg:g} kimg, {config.train.objective.adversarial} loss",
            "Batch": str(config.train.batch),
            "Seed": str(config.train.seed),
        },
        metrics=read_json(root / METRICS),
        usefulness=read_json(root / USEFULNESS),
        pictures={
            "samples": (root / SAMPLES).read_bytes(),
            "neighbours": (root / NEIGHBOURS).read_bytes(),
            "curves": (root / TRAIN / CURVES).read_bytes(),
            "evolution": (root / TRAIN / EVOLUTION).read_bytes(),
        },
    )
    write_bytes(root / REPORT, page.encode())


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
