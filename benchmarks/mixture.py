"""What a mixture of trainings gains by the number of its members, on the validation split, by both extractors.

    python benchmarks/mixture.py --root .ganline/ws/speedup-fashion --way narrow --out benchmarks/results/mixture.json

Distances of each training alone and of the mixtures of the first two, three, …, N = 5,000, three seeds of noise,
float32. The test split, which the study measures on, is not read.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ganline.acceleration.mixture import mixture
from ganline.acceleration.runtime import eager_generator
from ganline.config import load_config
from ganline.data.loader import Prepared
from ganline.devices import available_cores, cpu_model, make_exact, pick
from ganline.evaluation.extractor import Extractor
from ganline.evaluation.features import FIRST, SECOND, look, split_batches
from ganline.evaluation.frechet import fit_gaussian, frechet_distance
from ganline.evaluation.uncertainty import spread
from ganline.files import write_json
from ganline.models.sampling import sample
from ganline.models.spec import Generator
from ganline.registry.bundle import open_bundle
from ganline.stages.places import EXTRACTOR, JUDGE, PREPARE, STUDENTS

N, GENERATOR_SEEDS = 5_000, (13_001, 13_002, 13_003)  # of no bank and no measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", type=Path, required=True, help="a workspace whose stage students is done")
    parser.add_argument("--way", default="narrow")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    make_exact()
    root, compute = arguments.root, pick("fp32")
    seeds = load_config(root).students.seeds_of(arguments.way)
    prepared = Prepared(root / PREPARE)
    looking = {FIRST: Extractor.load(root / EXTRACTOR, compute), SECOND: Extractor.load(root / JUDGE, compute)}
    val = look(split_batches(prepared.split("val"), device=compute.device), looking, pixels=False)
    real = {role: fit_gaussian(features) for role, features in val.by.items()}
    members = {
        seed: eager_generator(open_bundle(root / STUDENTS / f"{arguments.way}-{seed}").generator(), compute)
        for seed in seeds
    }

    def measured(G: Generator) -> dict[str, Any]:
        found: dict[str, list[float]] = {}
        for seed in GENERATOR_SEEDS:
            images = sample(G, n=N, seed=seed, num_classes=G.num_classes, compute=compute)
            seen = look(images, looking, pixels=False)
            for role, extractor in looking.items():
                distance = frechet_distance(fit_gaussian(seen.by[role]), real[role])
                found.setdefault(f"fd_{extractor.name}_n{N}_val", []).append(distance)
        return {key: spread(values) | {"seeds": values} for key, values in found.items()}

    rows = {f"training {seed}": measured(G) for seed, G in members.items()}
    firsts = {f"the first {k}": mixture([*members.values()][:k]) for k in range(2, len(members) + 1)}
    rows |= {name: measured(compute.place(G)) for name, G in firsts.items()}
    for name, row in rows.items():
        print(name, ", ".join(f"{key} {each['value']:.3f}" for key, each in row.items()))
    if arguments.out:
        where = {"cpu": cpu_model(), "cores": available_cores()}
        write_json(arguments.out, {"machine": where, "way": arguments.way, "split": "val", "rows": rows})


if __name__ == "__main__":
    main()
