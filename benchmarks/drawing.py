"""How the teacher's tokens are best drawn: distances of temperatures, top-k and guidance to the validation split.

    python benchmarks/drawing.py --root .ganline/ws/speedup-fashion --out benchmarks/results/drawing.json

A language model drawn from badly is a straw man, so of one pass a token no choice here is surely better than `teacher:`
of the presets; the test split, which the study measures on, is not read. ONNX Runtime in float32 decodes: its tokens
are torch's. Every choice draws by the same seeds, so `against` holds paired differences to the workspace's own
settings, with their intervals.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from validating import Figures, distances

from ganline.acceleration.decoding_onnx import export_teacher, open_teacher
from ganline.config import load_config
from ganline.devices import available_cores, cpu_model, make_exact, pick
from ganline.evaluation.uncertainty import spread, t_interval
from ganline.files import write_json
from ganline.language.sections import DrawingConfig
from ganline.language.teacher import Teacher
from ganline.stages.language import load_teacher

CHOICES = [
    {"temperature": 1.1},
    {"temperature": 1.075},
    {"temperature": 1.05},
    {"temperature": 1.025},
    {"temperature": 1.0125},
    {"temperature": 1.0},
    {"temperature": 0.9875},
    {"temperature": 0.975},
    {"temperature": 0.9625},
    {"temperature": 0.95},
    {"temperature": 0.9},
    {"top_k": 100},
    {"temperature": 1.05, "guidance": 1.1},
    {"temperature": 1.05, "guidance": 1.25},
    {"guidance": 1.1},
    {"guidance": 1.25},
    {"guidance": 1.5},
]
SEEDS = [11_001, 11_002, 11_003, 11_004, 11_005]  # of no bank and no measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", type=Path, required=True, help="a workspace whose stage llm is done")
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--temperatures", type=float, nargs="+", help="these alone, in place of all choices")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    make_exact()
    root, compute = arguments.root, pick("fp32")
    config, measured = load_config(root), distances(root, compute, n=arguments.n, seeds=arguments.seeds)
    base = load_teacher(config, root, compute)

    def drawn(choice: dict[str, float]) -> Figures:
        teacher = Teacher(base.llm, base.tokenizer, DrawingConfig.model_validate(choice))
        with tempfile.TemporaryDirectory() as folder:
            export_teacher(teacher, Path(folder))
            return measured(open_teacher(Path(folder), "onnx", threads=torch.get_num_threads()))

    own = {key: value for key, value in config.teacher.model_dump().items() if value is not None}
    reference, rows = drawn(own), []
    for choice in [{"temperature": each} for each in arguments.temperatures or ()] or CHOICES:
        figures = reference if DrawingConfig.model_validate(choice) == config.teacher else drawn(choice)
        differences = {key: np.subtract(values, reference[key]) for key, values in figures.items()}
        rows.append(
            choice
            | {key: spread(values) | {"seeds": values} for key, values in figures.items()}
            | {"against": {key: spread(values) for key, values in differences.items()}}
        )
        told = ", ".join(
            f"{key} {np.mean(values):.3f} ({differences[key].mean():+.3f} {np.round(t_interval(differences[key]), 3)})"
            for key, values in figures.items()
        )
        print(choice, told, flush=True)
    if arguments.out:
        where = {"cpu": cpu_model(), "cores": available_cores(), "torch": torch.__version__}
        about = {"machine": where, "n": arguments.n, "seeds": arguments.seeds, "split": "val", "own": own}
        write_json(arguments.out, about | {"rows": rows})


if __name__ == "__main__":
    main()
