"""The stages: plain functions that read files, call the core and write files. Only they know file names.

dvc.yaml, the CLI and the tests use this table; a test holds it against dvc.yaml.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ganline.config import Config
from ganline.lineage import TRAINING_ROOMS
from ganline.stages.accelerating import accelerate
from ganline.stages.captions import captions
from ganline.stages.data import manifest, prepare, validate
from ganline.stages.language import bank, llm, tokenizer
from ganline.stages.measuring import evaluate, extractor, judge, reference, usefulness
from ganline.stages.places import (
    ACCELERATED,
    BANK,
    CAPTIONS,
    DATA,
    EXPECTATIONS,
    EXTRACTOR,
    JUDGE,
    LLM,
    MANIFEST,
    METRICS,
    MODEL,
    NEIGHBOURS,
    PREPARE,
    QUALITY,
    QUALITY_PICTURES,
    REFERENCE,
    REPORT,
    SAMPLES,
    STUDENTS,
    TOKENIZER,
    TRAIN,
    USEFULNESS,
    VALIDATE,
)
from ganline.stages.product import export, report
from ganline.stages.quality import quality
from ganline.stages.students import students
from ganline.stages.training import train


@dataclass(frozen=True)
class Stage:
    """A stage's function, and what dvc.yaml must say of it: params sections, inputs, outs, rooms of source code."""

    run: Callable[[Config, Path], None]
    sections: tuple[str, ...]
    inputs: tuple[str, ...]
    outs: tuple[str, ...]
    rooms: tuple[str, ...]
    extra: str | None = None
    """The extra of pyproject whose packages the stage's branch of the DAG reads: its first stage asks for all of it."""


CORE = ("devices.py", "files.py", "images.py", "ranks.py", "seeds.py")
MEASURING = "stages/measuring.py"
SPEAKING, ACCELERATING = "stages/language.py", "stages/accelerating.py"
TRAINING_ROOMS_AND_BUNDLE = tuple(
    dict.fromkeys((*TRAINING_ROOMS, "files.py", "registry/bundle.py", "stages/training.py"))
)
LOOKING = ("data/loader.py", "evaluation/extractor.py", "evaluation/config.py", MEASURING, *CORE)

STAGES: Mapping[str, Stage] = {
    "manifest": Stage(
        manifest, ("data.source", "manifest"), (DATA,), (MANIFEST,), ("data", "stages/data.py", "files.py")
    ),
    "validate": Stage(
        validate,
        ("data.source", "validate"),
        (DATA, MANIFEST, EXPECTATIONS),
        (VALIDATE,),
        (
            "data",
            "integrations/expectations.py",
            "integrations/expectations_report.py",
            "integrations/report.html.j2",
            "files.py",
            "stages/data.py",
            "images.py",
        ),
    ),
    "prepare": Stage(
        prepare,
        ("data.source", "prepare"),
        (DATA, MANIFEST, VALIDATE),
        (PREPARE,),
        ("data", "stages/data.py", "files.py"),
    ),
    "extractor": Stage(extractor, ("extractor",), (PREPARE,), (EXTRACTOR,), LOOKING),
    "judge": Stage(judge, ("judge",), (PREPARE,), (JUDGE,), LOOKING),
    "reference": Stage(
        reference,
        ("reference",),
        (PREPARE, EXTRACTOR, JUDGE),
        (REFERENCE,),
        ("data/loader.py", "evaluation", "models", MEASURING, *CORE),
    ),
    "train": Stage(
        train,
        ("train",),
        (PREPARE, EXTRACTOR),
        (TRAIN,),
        (
            *TRAINING_ROOMS,
            "files.py",
            "integrations/curves.py",
            "integrations/evolution.py",
            "registry/bundle.py",
            "stages/training.py",
        ),
    ),
    "evaluate": Stage(
        evaluate,
        ("evaluate", "reference"),
        (PREPARE, EXTRACTOR, JUDGE, REFERENCE, TRAIN),
        (METRICS, SAMPLES, NEIGHBOURS),
        ("data/loader.py", "draws.py", "evaluation", "models", "registry/bundle.py", MEASURING, *CORE),
    ),
    "usefulness": Stage(
        usefulness,
        ("usefulness", "reference.split"),
        (PREPARE, TRAIN),
        (USEFULNESS,),
        (
            "data/loader.py",
            "draws.py",
            "evaluation/config.py",
            "evaluation/uncertainty.py",
            "evaluation/usefulness.py",
            "models",
            "registry/bundle.py",
            MEASURING,
            *CORE,
        ),
    ),
    "report": Stage(
        report,
        ("train",),
        (METRICS, SAMPLES, NEIGHBOURS, USEFULNESS, TRAIN),
        (REPORT,),
        ("page", "evaluation/uncertainty.py", "registry/bundle.py", "stages/product.py", "files.py", "images.py"),
    ),
    "export": Stage(
        export,
        ("train",),
        (TRAIN, METRICS, SAMPLES),
        (MODEL,),
        ("registry/bundle.py", "registry/card.py", "stages/product.py", "files.py"),
    ),
    "captions": Stage(
        captions,
        ("captions",),
        (PREPARE,),
        (CAPTIONS,),
        ("data/loader.py", "language", "stages/captions.py", *CORE),
        extra="study",
    ),
    "tokenizer": Stage(
        tokenizer,
        ("tokenizer",),
        (PREPARE,),
        (TOKENIZER,),
        (*TRAINING_ROOMS_AND_BUNDLE, "language", "lineage.py", SPEAKING),
        extra="study",
    ),
    "llm": Stage(
        llm,
        ("llm",),
        (PREPARE, TOKENIZER, CAPTIONS),
        (LLM,),
        (*TRAINING_ROOMS_AND_BUNDLE, "language", "lineage.py", SPEAKING),
        extra="study",
    ),
    "bank": Stage(
        bank,
        ("bank", "teacher"),
        (PREPARE, TOKENIZER, LLM),
        (BANK,),
        ("data/loader.py", "draws.py", "language", "models", SPEAKING, *CORE),
        extra="study",
    ),
    "students": Stage(
        students,
        ("students",),
        (PREPARE, EXTRACTOR, CAPTIONS, TOKENIZER, BANK),
        (STUDENTS,),
        (
            *TRAINING_ROOMS_AND_BUNDLE,
            "integrations/curves.py",
            "integrations/evolution.py",
            "language",
            "lineage.py",
            "side_by_side.py",
            SPEAKING,
            "stages/students.py",
        ),
        extra="study",
    ),
    "accelerate": Stage(
        accelerate,
        ("captions", "accelerate", "teacher", "students"),
        (PREPARE, TOKENIZER, LLM, STUDENTS),
        (ACCELERATED,),
        ("acceleration", "language", "models", "registry/bundle.py", ACCELERATING, SPEAKING, *CORE),
        extra="study",
    ),
    "quality": Stage(
        quality,
        ("captions", "quality", "teacher", "students", "reference"),
        (PREPARE, EXTRACTOR, JUDGE, REFERENCE, CAPTIONS, TOKENIZER, LLM, STUDENTS, ACCELERATED),
        (QUALITY, QUALITY_PICTURES),
        (
            *("acceleration", "data/loader.py", "draws.py", "evaluation", "language", "models", "registry/bundle.py"),
            *(ACCELERATING, "stages/quality.py", "stages/prompted.py", SPEAKING, MEASURING),
            *CORE,
        ),
        extra="study",
    ),
}

GOALS: Mapping[str, tuple[str, ...]] = {"model": ("report", "export"), "speedup": ("quality",)}
"""What a flow walks the DAG for: the stages that these need."""
