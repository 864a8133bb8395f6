"""The path from a prompt's text to pixels: the encoder's time and each form's, and how well prompts are kept to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ganline.config import Config
from ganline.models.spec import Generator
from ganline.speeding.forms import forms
from ganline.stages.accelerating import ENCODER, TEACHER
from ganline.stages.places import ACCELERATED, CAPTIONS

if TYPE_CHECKING:
    from ganline.acceleration.benchmark import Open
    from ganline.acceleration.study import Timing
    from ganline.devices import Compute
    from ganline.language.encoder import SentenceEncoder

TIME_SEED = 10_003
KINDS = {
    "held_out": "sentences never trained on",
    "train": "sentences of training",
    "other_nouns": "nouns never trained on",
    "other_adjectives": "adjectives never trained on",
}
PROMPT_ROUNDS = 200
TIMES_ALONE = "language model / GAN, with the encoder, times alone (quality of prompts differs): {}"


class FromText(Generator):
    """G behind its encoder: z [N, z_dim] and numbers of texts int64 [N] -> images [N, C, H, W]. Each text is encoded by
    itself, as different requests' are."""

    def __init__(self, G: Generator, encoder: SentenceEncoder, texts: Sequence[str]):
        super().__init__()
        self.G, self.encoder, self.texts = G, encoder, texts
        self.z_dim, self.num_classes = G.z_dim, len(texts)

    def forward(self, z: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        images: torch.Tensor = self.G(z, self.encoder([self.texts[number] for number in label.tolist()]).to(z))
        return images


def prompt_path(
    config: Config, root: Path, compute: Compute, quality: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """From a prompt's text to pixels: each form behind the encoder's, by the clock of all forms; the encoder alone; how
    well prompts are kept to. Compiled forms are left out: they would be compiled once more. An encoder that runs
    through transformers is torch's in every form; others read one text at a time, on one thread in ONNX Runtime.

    Also what could not be timed, and why. Both empty where there are no prompts.
    """
    from ganline.acceleration.benchmark import drawing_inputs, measure_times
    from ganline.acceleration.encoding import open_encoder
    from ganline.language.captions import Captions
    from ganline.language.encoder import find_encoder
    from ganline.language.prompts import UNSEEN

    opens = forms(config, root, compute, prompts=True)
    if len(opens) == 4 or not quality["adherence"]:
        return {}, {}
    plain, texts = find_encoder(config.captions.encoder), Captions(root / CAPTIONS).prompts.texts[UNSEEN]
    encoders = {"eager": plain}
    encoders |= {form: open_encoder(plain, root / ACCELERATED / ENCODER, form) for form in ("onnx", "int8")}

    def behind(form: str, start: Open) -> Open:
        return lambda threads: FromText(start(threads), encoders[form], texts)

    section = config.speedup
    clocked = measure_times(
        {name: behind(form, start) for name, start in opens.items() if (form := name.split()[1]) in encoders},
        threads=section.threads,
        rounds=section.rounds,
        seconds=section.seconds,
        draw=drawing_inputs(seed=TIME_SEED, compute=compute),
        compute=compute,
        batch=section.batch,
    )
    told = ratios(clocked.timings) | {
        "encoder": {"name": plain.name}
        | {
            f"{form}_ms": encoder_ms(each, texts) for form, each in encoders.items() if form == "eager" or each != plain
        },
        "paths": {
            name: {
                "p50_ms": timing.p50_ms,
                "p95_ms": timing.p95_ms,
                "first_ms": timing.first_ms,
                f"images_per_second_at_batch_{timing.batch}": timing.throughput,
                "rounds": timing.rounds,
                "rounds_of_batches": timing.batch_rounds,
            }
            for name, timing in clocked.timings.items()
        },
        "adherence": in_rows(quality["adherence"]),
    }
    return told, {f"prompts: {name}": why for name, why in clocked.failed.items()}


def ratios(timings: Mapping[str, Timing]) -> dict[str, float]:
    """What is compared -> how many times faster the GAN is, each side in its fastest of these forms; empty without two
    sides."""
    sides = [[each for name, each in timings.items() if name.startswith(TEACHER) == ours] for ours in (True, False)]
    if not all(sides):
        return {}
    asked: dict[str, Callable[[Timing], float]] = {
        "one image after another": lambda timing: timing.p50_ms,
        "after other work": lambda timing: timing.first_ms,
        "in batches, each text encoded by itself": lambda timing: 1 / timing.throughput,
    }
    return {
        TIMES_ALONE.format(words): min(map(cost, sides[0])) / min(map(cost, sides[1])) for words, cost in asked.items()
    }


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
            name, _, form = model.partition(" ")
            who = ("language model" if name == TEACHER else name) + (f" in {form}" if form else "")
            rows[f"{who}: {words}"] = row | sides | {"all of it right": found["whole_share"]}
    return rows


def encoder_ms(encoder: SentenceEncoder, texts: Sequence[str]) -> float:
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
