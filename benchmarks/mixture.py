"""What a mixture of trainings gains by the number of its members, on the validation split, by both extractors.

    python benchmarks/mixture.py --root .ganline/ws/speedup-fashion --way narrow --out benchmarks/results/mixture.json

Distances of each training alone and of the mixtures of the first two, three, …, N = 5,000, three seeds of noise,
float32. The test split, which the study measures on, is not read.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from validating import distances

from ganline.acceleration.mixture import mixture
from ganline.acceleration.runtime import eager_generator
from ganline.config import load_config
from ganline.devices import available_cores, cpu_model, make_exact, pick
from ganline.evaluation.uncertainty import spread
from ganline.files import write_json
from ganline.registry.bundle import open_bundle
from ganline.stages.places import STUDENTS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", type=Path, required=True, help="a workspace whose stage students is done")
    parser.add_argument("--way", default="narrow")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    make_exact()
    root, compute = arguments.root, pick("fp32")
    measured = distances(root, compute)
    members = {
        seed: eager_generator(open_bundle(root / STUDENTS / f"{arguments.way}-{seed}").generator(), compute)
        for seed in load_config(root).students.seeds_of(arguments.way)
    }
    every = {f"training {seed}": G for seed, G in members.items()}
    every |= {f"the first {k}": mixture([*members.values()][:k]) for k in range(2, len(members) + 1)}
    rows = {}
    for name, G in every.items():
        found = measured(compute.place(G))
        rows[name] = {key: spread(values) | {"seeds": values} for key, values in found.items()}
        print(name, ", ".join(f"{key} {each['value']:.3f}" for key, each in rows[name].items()), flush=True)
    if arguments.out:
        where = {"cpu": cpu_model(), "cores": available_cores()}
        write_json(arguments.out, {"machine": where, "way": arguments.way, "split": "val", "rows": rows})


if __name__ == "__main__":
    main()
