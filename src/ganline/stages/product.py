"""Stages that make what people get: the report and the bundle."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from ganline.config import Config
from ganline.files import read_json, write_bytes
from ganline.stages.places import CURVES, EVOLUTION, METRICS, MODEL, NEIGHBOURS, REPORT, SAMPLES, TRAIN, USEFULNESS

if TYPE_CHECKING:
    from ganline.registry.bundle import ModelSpec
    from ganline.training.config import TrainConfig

log = logging.getLogger(__name__)


def report(config: Config, root: Path) -> None:
    """Everything that was measured of the model on one page."""
    from ganline.evaluation.page.render import render_report
    from ganline.registry.bundle import open_bundle

    spec = open_bundle(root / TRAIN).spec
    page = render_report(
        title=f"{spec.dataset}: {spec.model.name}",
        model=model_facts(spec, config.train),
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


def model_facts(spec: ModelSpec, train: TrainConfig) -> dict[str, str]:
    """The head of a report: what the model is, content only."""
    size, colour = spec.image.resolution, "grey" if spec.image.channels == 1 else "RGB"
    return {
        "Data": spec.dataset,
        "Model": spec.model.name,
        "Images": f"{size} x {size}, {colour}",
        "Classes": str(len(spec.conditioning.labels) or "none: unconditional"),
        "Training": f"{train.total_kimg:g} kimg, {train.objective.adversarial} loss, batch {train.batch}",
        "Seed": str(train.seed),
    }


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
