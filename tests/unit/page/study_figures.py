"""A study for tests: invented figures of the size that real ones have. Nothing of it stands anywhere but in tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from ganline.acceleration.ratios import verdict
from ganline.acceleration.study import SETTLED, Study, Timing, Variant
from ganline.evaluation.uncertainty import spread
from ganline.language.recording import Recording
from ganline.page.race import Painting
from ganline.speeding.prompting import in_rows
from tests.unit.evaluation.page_figures import FASHION, record

MACHINE = "Intel(R) Xeon(R) Processor"
EXTRACTOR = "classifier_fashion-mnist@be761274"

# model -> distance by the first extractor and by the second
QUALITY: Mapping[str, tuple[float, float]] = {
    "teacher": (1.13, 0.221),
    "s1": (0.981, 0.183),
    "s2": (1.262, 0.248),
    "s3": (1.004, 0.187),
    "s4": (1.027, 0.192),
}
# (teacher, student) of a form -> p50 in ms, images a second at batch 64, cold start in ms
TIMES: Mapping[tuple[bool, str], tuple[float, float, float]] = {
    (True, "eager"): (61.2, 402.0, 95.0),
    (True, "compiled"): (27.4, 493.0, 21_400.0),
    (True, "onnx"): (24.1, 655.0, 310.0),
    (True, "int8"): (19.8, 601.0, 290.0),
    (False, "eager"): (1.31, 1_420.0, 61.0),
    (False, "compiled"): (0.92, 2_180.0, 14_800.0),
    (False, "onnx"): (0.78, 1_460.0, 88.0),
    (False, "int8"): (0.27, 6_270.0, 74.0),
}


def quality(model: str, form: str) -> dict[str, Any]:
    """Records of a form's images: int8 is a little worse."""
    worse = 1.035 if form == "int8" else 1.0
    fd, second = (worse * each for each in QUALITY[model])
    return {
        "fd": record("fd", fd, std=0.033, floor=0.3029, better="lower"),
        "fd_second": record("fd_second", second, std=0.009, floor=0.0530, better="lower"),
        "recall": record("recall", 0.84 / worse, std=0.003, floor=0.9274),
        "coverage": record("coverage", 0.876 / worse, std=0.003, floor=0.97),
        "label_accuracy": record("label_accuracy", 0.914 / worse, std=0.003, floor=0.9235),
    }


def variant(model: str, form: str) -> Variant:
    teacher = model == "teacher"
    p50, throughput, cold = TIMES[teacher, form]
    nudge = 1 + 0.01 * ["teacher", "s1", "s2", "s3", "s4"].index(model)
    return Variant(
        model=model,
        kind="teacher" if teacher else "student",
        form=form,
        timing=Timing(
            *(share * p50 * nudge for share in (1.0, 1.08, 1.3, 1.02)),
            throughput / nudge,
            64,
            cold,
            rounds=40,
            batch_rounds=20,
        ),
        quality=quality(model, form),
        num_bytes=(3_640_000 if teacher else 1_560_000) // (4 if form == "int8" else 1),
        macs=44_800_000 if teacher else 13_900_000,
    )


def way(what: str, distances: Sequence[float], *, images_seen: int) -> dict[str, Any]:
    trainings = {str(seed): value for seed, value in enumerate(distances, start=1)}
    return {
        "what": what,
        "seeds": list(range(1, len(distances) + 1)),
        "fd": {"name": f"fd_{EXTRACTOR}_n10k", "per_seed": trainings, **spread(distances)},
        "label_accuracy": spread([0.914, 0.911, 0.917]),
        "images_seen": images_seen,
    }


@cache
def whole() -> Study:
    """A study with all its parts."""
    reconstruction = record("fd", 0.6412, std=0.0, floor=0.3029, better="lower") | {"interval": None, "per_seed": None}
    made = Study(
        dataset="fashion-mnist",
        labels=FASHION,
        resolution=28,
        channels=1,
        machine={"torch": "2.13.0+cpu", "arch": "x86_64", "device": MACHINE, "cpu_capability": "AVX512", "threads": 1},
        protocol={
            "threads": 1,
            "rounds": 40,
            SETTLED: 10.0,
            "batch": 64,
            "temperature": 1.0,
            "top_k": None,
            "guidance": 1.0,
            "n": 10_000,
            "seeds": list(range(1001, 1011)),
            "split": "test",
            "versions": {"torch": "2.13.0", "onnxruntime": "1.30.0"},
        },
        variants=tuple(
            variant(model, form)
            for model in QUALITY
            for form in ("eager", "compiled", "onnx", "int8")
            if (model, form) != ("s2", "compiled")
        ),
        failed={"s2 compiled": "no C++ compiler was found while it was measured"},
        ablation={
            "s1": way("GAN on real data", [0.981, 1.012, 0.968], images_seen=600_000),
            "s2": way("GAN on the bank alone", [1.262, 1.241, 1.301], images_seen=600_000),
            "s3": way("bank and real data in the discriminator", [1.004, 0.977, 1.023], images_seen=600_000),
            "s4": way("paired regression, decaying, and adversarial", [1.027, 1.044, 1.001], images_seen=600_000),
        },
        tokenizer={
            "name": "kmeans",
            "num_tokens": 49,
            "vocab": 512,
            "reconstruction": {
                "fd": reconstruction,
                "fd_second": reconstruction | {"name": "fd_rotation_n10k", "value": 0.131, "floor": 0.053},
            },
        },
        language={
            "parameters": 912_384,
            "kimg": 3_000.0,
            "nats_per_token": 2.214,
            "nats_per_dim": 0.1384,
            "baselines": {
                "uniform over codes": {"nats_per_token": 6.238, "nats_per_dim": 0.3899},
                "frequencies of codes": {"nats_per_token": 4.871, "nats_per_dim": 0.3044},
            },
        },
        likelihood={
            "s1": {"nats_per_token": 2.402, "class_entropy": 2.3003},
            "s3": {"nats_per_token": 2.377, "class_entropy": 2.3009},
            "teacher": {"nats_per_token": 2.201, "class_entropy": 2.2998},
            "real": {"nats_per_token": 2.214, "class_entropy": 2.3026},
        },
        bank={"n": 60_000, "seconds": 91.6, "variant": "teacher onnx"},
        prompts={
            "encoder": {"name": "all-MiniLM-L6-v2", "eager_ms": 4.21, "int8_ms": 0.9},
            "paths": {
                "teacher int8": {"p50_ms": 24.0, "p95_ms": 25.7, "first_ms": 31.2, "rounds": 40},
                "s3 int8": {"p50_ms": 4.49, "p95_ms": 4.9, "first_ms": 5.5, "rounds": 40},
            },
            "adherence": in_rows(
                {"teacher": {"held_out": adherence(0.871)}, "s3 int8": {"held_out": adherence(0.884)}}
            ),
        },
        between={
            "s2": {"fd": record("fd", 0.412, floor=0.3029, better="lower") | {"name": f"fd_{EXTRACTOR}_teacher_n10k"}},
            "s3": {"fd": record("fd", 0.671, floor=0.3029, better="lower") | {"name": f"fd_{EXTRACTOR}_teacher_n10k"}},
        },
        parity={
            model: {form: {"equal_pixels": 0.9987 if form != "int8" else 0.41} for form in ("compiled", "onnx", "int8")}
            for model in QUALITY
        },
    )
    return replace(made, verdict=verdict(made.variants))


def adherence(share: float) -> dict[str, Any]:
    """As language/adherence.py measures it, of one kind of text."""
    real = 0.9235
    told = {"n": 2000, "num_prompts": 120, "class_share": share, "class_expected": real, "class_ratio": share / real}
    return told | {"whole_share": 0.8 * share, "attributes": {"brightness": {"side_share": 0.9}}}


def study(**changed: Any) -> Study:
    return replace(whole(), **changed)


def empty() -> Study:
    """Nothing was measured."""
    return Study("mnist", (), 28, 1, {}, {}, (), {}, {}, {}, {}, {}, {}, {}, {})


def shapes(num: int, *, channels: int = 1, size: int = 28) -> np.ndarray:
    """uint8 [N, C, size, size]: discs of many sizes with a soft edge."""
    y, x = np.mgrid[:size, :size]
    centres = np.random.default_rng(0).uniform(0.3, 0.7, (num, 3)) * size
    far = np.hypot(y - centres[:, :1, None], x - centres[:, 1:2, None])
    grey = np.clip(255 * (centres[:, 2:, None] * 0.7 - far) / 4, 0, 255).astype(np.uint8)
    return np.repeat(grey[:, None], channels, axis=1)


def recordings(num: int = 24, *, tokens: int = 49, channels: int = 1, size: int = 28) -> list[Recording]:
    """Images that come about patch by patch, each token after about half a millisecond."""
    side = int(tokens**0.5)
    patch = size // side
    made = []
    for k, image in enumerate(shapes(num, channels=channels, size=size)):
        parts = np.full((tokens, channels, size, size), 128, dtype=np.uint8)
        for i in range(tokens):
            top, left = (i // side) * patch, (i % side) * patch
            parts[i:, :, top : top + patch, left : left + patch] = image[:, top : top + patch, left : left + patch]
        gaps = 0.4 + 0.02 * np.random.default_rng(k).uniform(size=tokens)
        times = tuple(np.cumsum(gaps).tolist())
        made.append(Recording(times, times[-1] + 0.05, parts))
    return made


def paintings(num: int = 24, *, channels: int = 1, size: int = 28) -> list[Painting]:
    return [Painting(image, 0.27 + 0.001 * k) for k, image in enumerate(shapes(num, channels=channels, size=size))]
