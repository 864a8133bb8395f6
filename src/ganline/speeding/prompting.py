"""The path from a prompt's text to pixels: the encoder's time and each form's, and how well prompts are kept to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganline.config import Config
from ganline.speeding.forms import forms
from ganline.stages.accelerating import TEACHER
from ganline.stages.places import CAPTIONS

if TYPE_CHECKING:
    from ganline.devices import Compute

TIME_SEED = 10_003
KINDS = {
    "held_out": "sentences never trained on",
    "train": "sentences of training",
    "other_nouns": "nouns never trained on",
    "other_adjectives": "adjectives never trained on",
}
PROMPT_ROUNDS = 200
TIMES_ALONE = "language model / GAN, with the encoder, times alone (quality of prompts differs)"


def prompt_path(
    config: Config, root: Path, compute: Compute, quality: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """From a prompt's text to pixels: the encoder's time, and each form's first pass with it, since the encoder leaves
    the form's caches cold; how well prompts are kept to. In a batch each prompt is encoded by itself. Compiled forms
    are left out: they would be compiled once more.

    Also what could not be timed, and why. Both empty where there are no prompts.
    """
    from ganline.acceleration.benchmark import drawing_inputs, measure_times
    from ganline.language.captions import Captions
    from ganline.language.encoder import find_encoder
    from ganline.language.prompts import UNSEEN

    opens = forms(config, root, compute, prompts=True)
    if len(opens) == 4 or not quality["adherence"]:
        return {}, {}
    opens = {name: start for name, start in opens.items() if "compiled" not in name}
    encoder, texts = find_encoder(config.captions.encoder), Captions(root / CAPTIONS).prompts.texts[UNSEEN]

    section = config.speedup
    clocked = measure_times(
        opens,
        threads=section.threads,
        rounds=section.rounds,
        seconds=section.seconds / 2,
        draw=drawing_inputs(seed=TIME_SEED, compute=compute, prompts=encoder(texts)),
        compute=compute,
        batch=section.batch,
    )
    alone = encoder_ms(encoder, list(texts))
    whole = {name: timing.first_ms + alone for name, timing in clocked.timings.items()}
    sides = [
        min((ms for name, ms in whole.items() if name.startswith(TEACHER) == of_teacher), default=None)
        for of_teacher in (True, False)
    ]
    ratio = {TIMES_ALONE: sides[0] / sides[1]} if sides[0] and sides[1] else {}
    told = ratio | {
        "encoder": {"name": encoder.name, "p50_ms": alone},
        "paths": {
            name: {
                "p50_ms": whole[name],
                "without_encoder_first_ms": timing.first_ms,
                "one_after_another_p50_ms": timing.p50_ms,
                "one_after_another_p95_ms": timing.p95_ms,
                f"images_per_second_at_batch_{section.batch}": 1000 / (alone + 1000 / timing.throughput),
            }
            for name, timing in clocked.timings.items()
        },
        "adherence": in_rows(quality["adherence"]),
    }
    return told, {f"prompts: {name}": why for name, why in clocked.failed.items()}


def in_rows(adherence: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Model -> kind -> figures, as one row each: shares of images, beside the extractor's own on real images."""
    rows = {}
    for model, kinds in adherence.items():
        for kind, words in KINDS.items():
            if kind not in kinds:
                continue
            found = kinds[kind]
            row = {"n": found["n"], "prompts": found["num_prompts"], "class right": found["class_share"]}
            row |= {"class right on real images": found["class_expected"], "ratio": found["class_ratio"]}
            sides = {f"{name} on the asked side": each["side_share"] for name, each in found["attributes"].items()}
            who = "language model" if model == TEACHER else model
            rows[f"{who}: {words}"] = row | sides | {"all of it right": found["whole_share"]}
    return rows


def encoder_ms(encoder: Any, texts: list[str]) -> float:
    """Median milliseconds of one prompt on one thread."""
    import statistics
    import time

    from ganline.acceleration.benchmark import torch_threads

    times = []
    with torch_threads(1):
        for number in range(PROMPT_ROUNDS):
            started = time.perf_counter()
            encoder([texts[number % len(texts)]])
            times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)
