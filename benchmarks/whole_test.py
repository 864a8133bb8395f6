"""Teacher and students on all test images: what the study's N is too small, or its halves too different, to tell.

    python benchmarks/whole_test.py --root .ganline/ws/speedup-fashion --out benchmarks/results/whole_test.json

Fréchet distances by both extractors, as many generated images as there are real ones, from noise of seeds that nothing
else uses; differences of each form to those of the teacher, paired by seed, with 95 % intervals over the seeds. With
`--guidance S` the teacher is also drawn with classifier-free guidance (two passes a token), otherwise as configured
(benchmarks/int8_turns.py times it). `--known FILE` takes the distances of forms that an earlier run measured from its
file:

    python benchmarks/whole_test.py --root .ganline/ws/speedup-fashion --guidance 1.25 --ways narrow \\
        --known benchmarks/results/whole_test.json --out benchmarks/results/whole_test_guided.json
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from ganline.acceleration.decoding_onnx import export_teacher, open_teacher
from ganline.config import Config, load_config
from ganline.data.loader import Prepared
from ganline.devices import available_cores, cpu_model, host, make_exact, pick
from ganline.evaluation.reference import load_reference
from ganline.evaluation.uncertainty import paired_difference
from ganline.files import read_json, write_json
from ganline.language.teacher import Teacher
from ganline.stages.accelerating import TEACHER, inputs_of
from ganline.stages.language import load_teacher
from ganline.stages.measuring import extractors
from ganline.stages.places import PREPARE, REFERENCE
from ganline.stages.quality import Measuring

SEEDS = tuple(range(12_001, 12_011))


def compared(told: dict[str, Any], key: str) -> dict[str, dict[str, Any]]:
    """Teacher's form, guided or not -> every other form's difference to it by this distance."""
    return {
        teacher: {
            name: {"difference": found.value, "interval": [found.low, found.high]}
            for name, records in told.items()
            if name != teacher
            for found in [paired_difference(key, told[teacher][key], records[key])]
        }
        for teacher in told
        if teacher.startswith(TEACHER)
    }


def export_guided(config: Config, root: Path, guidance: float, folder: Path) -> None:
    """The workspace's language model, drawn with guidance and otherwise as configured, as float32 and int8 files."""
    base = load_teacher(config, root, host())
    teacher = Teacher(base.llm, base.tokenizer, config.teacher.model_copy(update={"guidance": guidance}))
    export_teacher(teacher, folder, calibration=inputs_of(teacher, config.accelerate.calibration))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", type=Path, required=True, help="a workspace where `ganline speedup` ran")
    parser.add_argument("--ways", nargs="+", default=["narrow"])
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--guidance", type=float, help="draw the teacher with this guidance, too")
    parser.add_argument("--known", type=Path, help="an earlier output, of the same workspace and seeds")
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
    known = read_json(arguments.known)["forms"] if arguments.known else {}
    models = (TEACHER, *arguments.ways)
    with tempfile.TemporaryDirectory() as scratch:
        forms = {name: G for name, G in study.forms().items() if name.split("/")[0] in models}
        if arguments.guidance is not None:
            name, folder = f"{TEACHER} with guidance {arguments.guidance}", Path(scratch)
            export_guided(config, root, arguments.guidance, folder)
            for form, file in (("float32", "onnx"), ("int8", "int8")):
                forms[f"{name}/{form}"] = open_teacher(folder, file, threads=study.threads())  # type: ignore[arg-type]
        for name, G in forms.items():
            told[name] = known.get(name) or study.distances(G, SEEDS[: arguments.seeds], [real.test])
            print(name, {key: f"{each['value']:.4f}" for key, each in told[name].items()}, flush=True)
    keys = next(iter(told.values()))
    differences = {key: compared(told, key) for key in keys}
    for key, teachers in differences.items():
        for teacher, rows in teachers.items():
            for name, row in rows.items():
                low, high = row["interval"]
                print(f"{key}: {name} - {teacher}: {row['difference']:+.4f} [{low:+.4f}, {high:+.4f}]")
    if arguments.out:
        where = {"cpu": cpu_model(), "cores": available_cores()}
        floors = {key: real.floors.get(key) for key in keys}
        found = {"machine": where, "n": study.n, "split": real.split, "floors": floors}
        write_json(arguments.out, found | {"forms": told, "differences": differences})


if __name__ == "__main__":
    main()
