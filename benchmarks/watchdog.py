"""Controls for the watchdog: runs that are made to collapse trip it, healthy ones do not.

    python benchmarks/watchdog.py --seeds 0 1 2 3 4 --out benchmarks/results/watchdog.json

`collapse`: a least-squares DCGAN whose G learns 250 times as fast as its D and so finds the few images that please it
most. `within`: R3GAN told the class, whose G learns twice as fast as its D and so paints one image a class.
`healthy`: the default recipe with a quarter of its budget. Thresholds are WatchConfig's defaults; the action is
`stop`. Needs artifacts/prepare and artifacts/extractor (`dvc repro extractor`). A line a run; writes JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from ganline.environment import set_defaults

set_defaults()

from ganline.config import read_yaml
from ganline.data.loader import Prepared
from ganline.devices import machine, make_exact, pick
from ganline.errors import TrainingError
from ganline.evaluation.extractor import Extractor
from ganline.evaluation.probe import make_probe
from ganline.models import Conditioning, ImageSpec
from ganline.models.sampling import label_histogram
from ganline.overlay import merge
from ganline.training.config import TrainConfig
from ganline.training.loop import Run, train

ROOT = Path(__file__).parents[1]
STOP = {"watch": {"action": "stop"}, "checkpoint_seconds": 1e9}
RECIPES: dict[str, dict[str, Any]] = {
    "collapse": {
        "total_kimg": 30,
        "batch": 64,
        "model": {"name": "dcgan", "g_width": 128, "d_width": 32},
        "objective": {"adversarial": "least_squares", "r1_gamma": 0.0, "r2_gamma": 0.0},
        "G_optimizer": {"lr": 5e-3, "betas": [0.5, 0.999]},
        "D_optimizer": {"lr": 2e-5, "betas": [0.5, 0.999]},
    },
    "within": {
        "total_kimg": 40,
        "batch": 32,
        "model": {"name": "r3gan", "width": 64, "widest_side": 8, "blocks": 1, "class_conditional": True},
        "G_optimizer": {"lr": {"start": 2e-3, "end": 2e-4}, "betas": [0.0, 0.99]},
        "D_optimizer": {"lr": {"start": 1e-3, "end": 1e-4}, "betas": [0.0, 0.99]},
    },
    "healthy": {"total_kimg": 62.5},
}


def run(kind: str, seed: int, artifacts: Path) -> dict[str, Any]:
    """Train one control; what the watchdog said, when, and the last look."""
    section = merge(read_yaml(ROOT / "params.yaml")["train"], RECIPES[kind] | STOP | {"seed": seed})
    config, prepared = TrainConfig.model_validate(section), Prepared(artifacts / "prepare")
    compute = pick(config.precision)
    labels = prepared.labels if config.model.class_conditional else ()
    probe = make_probe(
        Extractor.load(artifacts / "extractor", compute),
        prepared.split("val"),
        seed=seed,
        n=config.watch.n,
        label_weights=label_histogram(prepared.split("train").labels, len(labels)) if labels else None,
        compute=compute,
    )
    image = ImageSpec(resolution=prepared.resolution, channels=prepared.channels)  # type: ignore[arg-type]
    split, started, alarm, looks = prepared.split("train"), time.monotonic(), None, []

    def watched(G):
        assert probe is not None
        looks.append(probe(G))
        return looks[-1]

    with tempfile.TemporaryDirectory() as work:
        where = Run(Path(work), f"{kind}-{seed}", machine(compute))
        try:
            train(
                config,
                split,
                image=image,
                conditioning=Conditioning(labels=labels),
                run=where,
                compute=compute,
                probe=watched,
            )
        except TrainingError as error:
            alarm = error.found
    last = {name: round(value, 3) for name, value in looks[-1].items()}
    return {"kind": kind, "seed": seed, "alarm": alarm, "last_look": last, "seconds": round(time.monotonic() - started)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--artifacts", type=Path, default=ROOT / "artifacts")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    make_exact()
    rows = []
    for kind in options.kinds:
        for seed in options.seeds:
            rows.append(run(kind, seed, options.artifacts))
            print(json.dumps(rows[-1]), flush=True)
            if options.out:
                result = {"machine": machine(pick()), "recipes": RECIPES, "runs": rows}
                options.out.parent.mkdir(parents=True, exist_ok=True)
                options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
