"""What people see of a study: the page, the picture, and a race that was recorded here."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganline.config import Config
from ganline.speeding.forms import forms
from ganline.stages.places import QUALITY_PICTURES

if TYPE_CHECKING:
    import torch

    from ganline.acceleration.study import Study
    from ganline.devices import Compute
    from ganline.models.spec import Generator

RACE_SEED = 10_002
STUDY, PAGE, RACE, PICTURE = "study.json", "study.html", "race.html", "quality_against_latency.png"


def rendered(config: Config, root: Path, compute: Compute, found: Study) -> dict[str, bytes]:
    """The pages and the picture, by file name."""
    from ganline.page.pareto_png import quality_against_latency_png
    from ganline.page.study import render_study

    pictures = {path.stem: path.read_bytes() for path in sorted((root / QUALITY_PICTURES).glob("*.png"))}
    return {
        PAGE: render_study(found, pictures=pictures).encode(),
        PICTURE: quality_against_latency_png(found),
        RACE: race(config, root, compute, found).encode(),
    }


def race(config: Config, root: Path, compute: Compute, found: Study) -> str:
    """Both sides at batch 1 on one thread, recorded image by image: the teacher's fastest form that can be watched, and
    the headline's student; the page says whether it is of equal quality."""
    import time

    import torch

    from ganline.acceleration.benchmark import torch_threads
    from ganline.images import to_pixels
    from ganline.language.recording import record
    from ganline.page.pareto import form_name
    from ganline.page.race import Painting, render_race
    from ganline.page.study_tables import hardware

    chosen = found.headline
    opens = forms(config, root, compute, prompts=False)
    teachers = sorted((v for v in found.variants if v.kind == "teacher"), key=lambda v: v.timing.p50_ms)
    recorded = next(v for v in teachers if v.form != "compiled")
    recordings, paintings, captions = [], [], []
    with torch_threads(1), torch.inference_mode():
        teacher: Any = opens[recorded.name](1)
        for number in range(config.speedup.race):
            noise, label = race_inputs(teacher, number, compute)
            settle(teacher, number, compute)
            recordings.append(record(teacher, noise, label))
            captions.append(found.labels[int(label)] if label is not None else "")
        student = opens[chosen["student"]](1)
        for number in range(config.speedup.race):
            noise, told = race_inputs(student, number, compute)
            settle(student, number, compute)
            started = time.perf_counter()
            image = to_pixels(student(noise, told)).cpu()
            paintings.append(Painting(image[0].numpy(), 1000 * (time.perf_counter() - started)))
    quality = "NOT at equal quality: no GAN is surely as near to real images, all of them and each half"
    if found.verdict["nearer"]:
        quality = "at equal quality by the first extractor alone"
    if found.verdict["equal"]:
        quality = "at equal quality"
    note = f"This is {quality}. The language model plays in its form {recorded.form}, the GAN is {chosen['student']}; "
    distances = recorded.quality["fd"]["value"], chosen["student_distance"]
    note += f"{chosen['name']}: language model {distances[0]:.3f}, GAN {distances[1]:.3f}."
    if recorded != teachers[0]:
        note += f" Compiled, the language model is faster ({teachers[0].timing.p50_ms:.3g} ms) and cannot be watched."
    return render_race(
        recordings,
        paintings,
        dataset=found.dataset,
        teacher=f"{form_name(recorded.form)}, batch 1",
        student=f"{form_name(chosen['student'].split()[1])}, batch 1",
        machine=hardware(found),
        threads=1,
        captions=captions if any(captions) else (),
        notes=[note],
    )


def settle(G: Generator, number: int, compute: Compute) -> None:
    """Paint other images for as long as the study's clock lets a form settle: recording empties the caches."""
    from ganline.acceleration.benchmark import SETTLE_MS, pass_ms
    from ganline.images import to_pixels

    other, left = count(number + 1), SETTLE_MS
    while left > 0:
        left -= pass_ms(lambda at: to_pixels(G(*race_inputs(G, at, compute))).cpu(), next(other), compute)


def race_inputs(G: Generator, number: int, compute: Compute) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Noise [1, z_dim] of image `number`, and its class: all in turn."""
    import torch

    from ganline.seeds import generator

    z = torch.randn(1, G.z_dim, generator=generator(RACE_SEED, "z", number))
    label = torch.tensor([number % G.num_classes]).to(compute.device) if G.num_classes else None
    return z.to(compute.device), label
