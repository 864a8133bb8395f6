"""`ganline speedup`'s last step: times of teacher and students on this machine, joined with their quality.

Outside the DAG, because it reads a clock: DVC would restore yesterday's times. It writes artifacts/speedup (no out of
any stage) and a new MLflow run each time.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from ganline.acceleration.study import EQUAL_PIXELS
from ganline.config import Config, load_config
from ganline.errors import GateError
from ganline.files import atomic_folder, read_json, write_json
from ganline.speeding.facts import ablation, bank_facts, described, language_facts
from ganline.speeding.forms import forms, sizes
from ganline.speeding.pages import PAGE, PICTURE, RACE, STUDY, rendered
from ganline.speeding.runs import log_study
from ganline.stages.accelerating import TEACHER
from ganline.stages.places import ACCELERATED, BANK, QUALITY, SPEEDUP, STUDENTS

if TYPE_CHECKING:
    import torch

    from ganline.acceleration.study import Study
    from ganline.devices import Compute

log = logging.getLogger(__name__)

FORM_OF_NUMBERS = {"eager": "float32", "compiled": "float32", "onnx": "float32", "int8": "int8"}
"""Form -> the one whose images were measured: float32 forms differ by rounding only (`Study.parity`)."""
TIME_SEED = 10_001


def study(root: Path) -> str:
    """Measure, write everything, log it to MLflow; says in words what was found. Raises GateError without stages."""
    from ganline.devices import make_exact, pick

    for needed in (QUALITY, ACCELERATED, BANK):
        if not (root / needed).exists():
            raise GateError(f"there is no {needed}", remedy="run `dvc repro quality`, or `ganline speedup`")
    config = load_config(root)
    make_exact()
    compute = pick("fp32")
    found = measured(config, root, compute)
    pages = rendered(config, root, compute, found)
    with atomic_folder(root / SPEEDUP) as partial_folder:
        write_json(partial_folder / STUDY, found.plain())
        for name, content in pages.items():
            (partial_folder / name).write_bytes(content)
    log_study(config, root, found)
    return str(found.verdict["words"])


def told(root: Path) -> str:
    """What the last study found, and where its pages are."""
    found = read_json(root / SPEEDUP / STUDY)
    places = {"report": PAGE, "race": RACE, "picture": PICTURE, "figures": STUDY}
    lines = [found["verdict"]["words"], ""] + [f"  {name:9} {root / SPEEDUP / file}" for name, file in places.items()]
    lines.append("  runs      make ui")
    own = load_config(root).captions.encoder
    encoder = ["--encoder", own.path] if own else []
    for file in sorted((root / STUDENTS).glob("*/prompts.json")):
        prompt = read_json(file)["texts"]["train"][0]
        options = ["--model", str(file.parent), *encoder, "--prompt", prompt, "-o", "images.png"]
        lines.append(f"  prompts   {shlex.join(['.venv/bin/ganline', 'generate', *options])}")
    return "\n".join(lines)


def measured(config: Config, root: Path, compute: Compute) -> Study:
    """Times of every form, beside the quality that the DAG found."""
    from ganline.acceleration.benchmark import BATCH_PASSES, PASSES, SETTLE_MS, drawing_inputs, measure_times
    from ganline.acceleration.ratios import verdict
    from ganline.acceleration.study import SETTLED, Study, Variant
    from ganline.speeding.prompting import prompt_path

    section, quality, load = config.speedup, read_json(root / QUALITY), psutil.getloadavg()[0]
    opens = forms(config, root, compute, prompts=False)
    clocked = measure_times(
        opens,
        threads=section.threads,
        rounds=section.rounds,
        seconds=section.seconds,
        draw=drawing_inputs(seed=TIME_SEED, compute=compute),
        compute=compute,
        batch=section.batch,
    )
    costs = sizes(config, root)
    variants = []
    for name, timing in clocked.timings.items():
        model, form = name.split()
        variants.append(
            Variant(
                model=model,
                kind="teacher" if model == TEACHER else "student",
                form=form,
                timing=timing,
                quality=quality["forms"][f"{model}/{FORM_OF_NUMBERS[form]}"],
                num_bytes=costs[model][1][form],
                macs=costs[model][0],
            )
        )
    fresh = {
        variant.name: quality["confirmation"].get(f"{variant.model}/{FORM_OF_NUMBERS[variant.form]}", {})
        for variant in variants
    }
    prompts, not_timed = prompt_path(config, root, compute, quality)
    return Study(
        dataset=quality["dataset"],
        labels=tuple(quality["labels"]),
        resolution=quality["resolution"],
        channels=quality["channels"],
        machine=described(compute) | {"load before": round(load, 1), "load after": round(psutil.getloadavg()[0], 1)},
        protocol=config.teacher.model_dump()
        | {
            "threads": section.threads,
            "rounds": max((v.timing.rounds for v in variants), default=0),
            "rounds of batches": max((v.timing.batch_rounds for v in variants), default=0),
            "passes a turn": [PASSES, BATCH_PASSES],
            SETTLED: SETTLE_MS,
            "batch": section.batch,
            "n": variants[0].quality["fd"]["n"] if variants else 0,
            "seeds": list(config.quality.seeds),
            "split": config.reference.split,
            "seed of times": TIME_SEED,
        },
        variants=tuple(variants),
        failed=clocked.failed | not_timed,
        ablation=ablation(config, root, quality["ablation"]),
        tokenizer=quality["tokenizer"],
        language=language_facts(config, root),
        likelihood=quality["likelihood"],
        bank=bank_facts(config, root),
        prompts=prompts,
        between=quality["between"],
        parity=with_pixels(quality["parity"], clocked.images),
        verdict=with_ceiling(verdict(variants, confirmation=fresh), quality["tokenizer"]),
    )


def with_pixels(parity: Mapping[str, Any], images: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Parity, with the share of pixels of each form here that are those of the model's eager form."""
    told = {model: {form: dict(each) for form, each in forms.items()} for model, forms in parity.items()}
    for name, made in images.items():
        model, form = name.split()
        if form != "eager" and f"{model} eager" in images:
            equal = float((made == images[f"{model} eager"]).double().mean())
            told.setdefault(model, {}).setdefault(form, {})[EQUAL_PIXELS] = equal
    return told


def with_ceiling(found: dict[str, Any], tokenizer: dict[str, Any]) -> dict[str, Any]:
    """The verdict, saying so where the student is nearer to real images than what the tokenizer makes of them."""
    chosen, best = found["equal"], tokenizer["reconstruction"].get("fd", {}).get("value")
    if chosen is None or best is None or chosen["student_distance"] >= best:
        return found
    words = (
        f"{found['words']} Reconstructions by the tokenizer score {best:.3f}: it may be what limits the language model."
    )
    return found | {"words": words}
