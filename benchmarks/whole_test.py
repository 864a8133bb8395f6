"""Teacher and students on all test images: what the study's N is too small, or its halves too different, to tell.

    python benchmarks/whole_test.py --root .ganline/ws/speedup-fashion --out benchmarks/results/whole_test.json

Fréchet distances by both extractors, as many generated images as there are real ones, from noise of seeds that nothing
else uses; differences of each student form to the teacher's best form by that extractor, paired by seed, with 95 %
intervals over the seeds.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ganline.config import load_config
from ganline.data.loader import Prepared
from ganline.devices import available_cores, cpu_model, make_exact, pick
from ganline.evaluation.reference import load_reference
from ganline.evaluation.uncertainty import t_interval
from ganline.files import write_json
from ganline.stages.accelerating import TEACHER
from ganline.stages.measuring import extractors
from ganline.stages.places import PREPARE, REFERENCE
from ganline.stages.quality import Measuring

SEEDS = tuple(range(12_001, 12_011))


def compared(told: dict[str, Any], key: str) -> dict[str, Any]:
    """Student form -> its difference to the teacher's best form by this distance, and the interval over seeds."""
    teachers = [name for name in told if name.startswith(f"{TEACHER}/")]
    best = min(teachers, key=lambda name: told[name][key]["value"])
    rows = {}
    for name, records in told.items():
        if name not in teachers:
            pairs = zip(records[key]["per_seed"].values(), told[best][key]["per_seed"].values(), strict=True)
            differences = [student - teacher for student, teacher in pairs]
            mean, interval = sum(differences) / len(differences), t_interval(differences)
            rows[name] = {"teacher": best, "difference": mean, "interval": interval}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", type=Path, required=True, help="a workspace where `ganline speedup` ran")
    parser.add_argument("--ways", nargs="+", default=["wide", "narrow"])
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    make_exact()
    root, compute = arguments.root, pick("fp32")
    config = load_config(root)
    looking = extractors(config, root, compute)
    real = load_reference(root / REFERENCE, compute.device, looking)
    study = Measuring(config, root, compute, looking, real, Prepared(root / PREPARE).labels)
    study.n = real.n
    told = {}
    for name, G in study.forms().items():
        if name.split("/")[0] in (TEACHER, *arguments.ways):
            told[name] = study.distances(G, SEEDS[: arguments.seeds], [real.test])
            print(name, {key: f"{each['value']:.4f}" for key, each in told[name].items()}, flush=True)
    keys = next(iter(told.values()))
    differences = {key: compared(told, key) for key in keys}
    for key, rows in differences.items():
        for name, row in rows.items():
            print(
                f"{key}: {name} - {row['teacher']}: {row['difference']:+.4f}",
                "[{:+.4f}, {:+.4f}]".format(*row["interval"]),
            )
    if arguments.out:
        where = {"cpu": cpu_model(), "cores": available_cores()}
        floors = {key: real.floors.get(key) for key in keys}
        found = {"machine": where, "n": study.n, "split": real.split, "floors": floors}
        write_json(arguments.out, found | {"forms": told, "differences": differences})


if __name__ == "__main__":
    main()
