"""Several models under one protocol: the same seeds, halves, extractors and real images, on this machine, in one go.

What `ganline promote` decides by and `ganline compare` shows. The workspace's reference is the protocol: whatever a
model was measured with when it was registered, here all are measured alike.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganline.config import Config
from ganline.errors import GateError
from ganline.files import read_json, sha256_file, sha256_json
from ganline.lineage import code_hash
from ganline.registry.kind import Kind, differences
from ganline.stages.measuring import describe, extractors
from ganline.stages.places import EXTRACTOR, JUDGE, PREPARE, REFERENCE

log = logging.getLogger(__name__)

SCORING_ROOMS = (
    *("acceleration/benchmark.py", "data/loader.py", "devices.py", "evaluation", "images.py", "models"),
    *("registry/promotion.py", "scoring.py", "seeds.py"),
)
WARM_UP, ROUNDS, IMAGES = 5, 30, 5
"""Latency: passes before the clock, rounds over all models, passes of one model a round."""


@dataclass(frozen=True)
class Scores:
    """One model's records, as in metrics.json, and its latency."""

    figures: dict[str, Any]
    latency_ms: float
    """Median time of one image at batch 1 on one thread."""


def protocol(root: Path, config: Config) -> dict[str, Any]:
    """What decides whether two scores may be compared. Raises GateError where the workspace has no reference."""
    from ganline.devices import machine, pick
    from ganline.evaluation.reference import FILE, META

    for needed in (PREPARE, EXTRACTOR, JUDGE, REFERENCE):
        if not (root / needed).is_dir():
            raise GateError(
                f"there is no {needed} in {root.name}: nothing to measure with",
                expected="the outs of the stages up to reference",
                remedy="run `make run`, `dvc repro reference`, or `dvc pull` where a remote has them",
            )
    meta = read_json(root / REFERENCE / META)
    # A bound in milliseconds holds for one machine; elsewhere it is another question.
    here = machine(pick("fp32")) if config.promotion.floors.latency_ms_max is not None else None
    return {
        "extractors": meta["extractors"],
        "reference": sha256_file(root / REFERENCE / FILE),
        "floors": sha256_file(root / REFERENCE / META),
        "split": meta["split"],
        "n": config.promotion.n or meta["n"],
        "seeds": list(config.promotion.seeds),
        "memorisation_n": config.evaluate.memorisation_n,
        "modes_n": config.evaluate.modes_n,
        "machine": here,
        "code": sha256_json(code_hash(SCORING_ROOMS)),
    }


def score(root: Path, config: Config, bundles: Sequence[Path]) -> list[Scores]:
    """Scores of bundle folders, each by the promotion's seeds. Raises BundleError, GateError."""
    from ganline.data.loader import Prepared
    from ganline.devices import make_exact, pick
    from ganline.evaluation.panel import measure
    from ganline.evaluation.reference import load_reference
    from ganline.registry.bundle import open_bundle

    protocol(root, config)
    make_exact()
    compute, prepared = pick("fp32"), Prepared(root / PREPARE)
    opened = [open_bundle(folder) for folder in bundles]
    for bundle in opened:
        check_fits(bundle.spec, prepared)
    looking = extractors(config, root, compute)
    real = load_reference(root / REFERENCE, compute.device, looking)
    networks = [compute.place(bundle.generator()) for bundle in opened]
    figures = []
    for number, (G, bundle) in enumerate(zip(networks, opened, strict=True), start=1):
        log.info("scoring: model %d of %d, bundle %s", number, len(opened), bundle.hash[:16])
        records = measure(
            G,
            num_classes=bundle.spec.conditioning.num_classes,
            extractors=looking,
            real=real,
            seeds=config.promotion.seeds,
            n=config.promotion.n,
            memorisation_n=config.evaluate.memorisation_n,
            modes_n=config.evaluate.modes_n,
            whole_split=prepared.split(real.split),
            compute=compute,
        )
        told = {role: describe(extract) for role, extract in looking.items()}
        figures.append({"dataset": prepared.name, "extractors": told} | records)
    latencies = latencies_ms(networks, [bundle.spec.conditioning.num_classes for bundle in opened], compute)
    return [Scores(*each) for each in zip(figures, latencies, strict=True)]


def check_fits(spec: Any, prepared: Any, who: str = "the model") -> None:
    """Raise GateError for a model of other images than those that the workspace measures with."""
    made = Kind(spec.dataset, spec.image.resolution, spec.image.channels, spec.labels)
    data = Kind(prepared.name, prepared.resolution, prepared.channels, prepared.labels)
    if found := differences(made, data):
        raise GateError(
            f"{who} makes {made}: {'; '.join(found)}",
            expected=f"{data}, as the workspace's data",
            remedy="run in the workspace of that data set; to register models of other images there, "
            "give them a name of their own: register.name (NAME=…)",
        )


def latencies_ms(networks: Sequence[Any], num_classes: Sequence[int], compute: Any) -> list[float]:
    """Median milliseconds of one image at batch 1 on one thread, models taking turns: a busy moment meets them all."""
    from ganline.acceleration.benchmark import take_turns, torch_threads

    # Two threads on a batch of one wait for each other.
    with torch_threads(1):
        turns = take_turns(
            [still(G, classes, compute) for G, classes in zip(networks, num_classes, strict=True)],
            rounds=ROUNDS,
            passes=IMAGES,
            warm_up=WARM_UP,
            compute=compute,
        )
    return [statistics.median(own) for own in turns.ms]


def still(G: Any, num_classes: int, compute: Any) -> Any:
    """A pass of one image of the middle of G's latents."""
    import torch

    z = torch.zeros(1, G.z_dim, device=compute.device, dtype=compute.dtype)
    label = torch.zeros(1, dtype=torch.int64, device=compute.device) if num_classes else None
    return lambda number: G(z, label)
