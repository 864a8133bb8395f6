"""`ganline speedup`'s last step: times of teacher and students on this machine, joined with their quality.

Outside the DAG, because it reads a clock: DVC would restore yesterday's times. It writes artifacts/speedup (no out of
any stage) and a new MLflow run each time.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganline.config import Config, load_config
from ganline.errors import GateError
from ganline.files import atomic_folder, read_json, sha256_file, write_json
from ganline.home import home
from ganline.stages.accelerating import TEACHER, first_students, inputs_of
from ganline.stages.language import llm_recipe, load_teacher, student_recipe, student_section
from ganline.stages.places import ACCELERATED, BANK, CAPTIONS, LLM, QUALITY, QUALITY_PICTURES, SPEEDUP, TOKENIZER
from ganline.training.tracker import SYSTEM, read_lines

if TYPE_CHECKING:
    import torch

    from ganline.acceleration.benchmark import Open
    from ganline.acceleration.study import Study
    from ganline.devices import Compute
    from ganline.models.spec import Generator

log = logging.getLogger(__name__)

STUDY, PAGE, RACE, PICTURE = "study.json", "study.html", "race.html", "quality_against_latency.png"
FORM_OF_NUMBERS = {"eager": "eager", "compiled": "eager", "onnx": "eager", "int8": "int8"}
"""Form -> the one whose images were measured: float32 forms differ by rounding only (quality.json, `parity`)."""
TIME_SEED, RACE_SEED = 10_001, 10_002
PROMPT_ROUNDS = 200


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
    return "\n".join([*lines, "  runs      make ui"])


def measured(config: Config, root: Path, compute: Compute) -> Study:
    """Times of every form, beside the quality that the DAG found."""
    from ganline.acceleration.benchmark import drawing_inputs, measure_times
    from ganline.acceleration.ratios import verdict
    from ganline.acceleration.study import Study, Variant

    section, quality = config.speedup, read_json(root / QUALITY)
    opens = forms(config, root, compute, prompts=False)
    num_classes = len(quality["labels"]) if len(quality["labels"]) > 1 else 0
    timings, failed = measure_times(
        opens,
        threads=section.threads,
        rounds=section.rounds,
        seconds=section.seconds,
        draw=drawing_inputs(seed=TIME_SEED, compute=compute, num_classes=num_classes),
        compute=compute,
        batch=section.batch,
    )
    costs = sizes(config, root, compute)
    variants = []
    for name, timing in timings.items():
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
    widest = max((v.timing.throughput for v in variants if v.kind == "teacher"), default=None)
    bank = read_json(root / BANK / "bank.json")
    return Study(
        dataset=quality["dataset"],
        labels=tuple(quality["labels"]),
        resolution=quality["resolution"],
        channels=quality["channels"],
        machine=described(compute),
        protocol=config.teacher.model_dump()
        | {
            "threads": section.threads,
            "rounds": max((v.timing.rounds for v in variants), default=0),
            "batch": section.batch,
            "n": config.quality.n,
            "seeds": list(config.quality.seeds),
            "split": config.reference.split,
            "seed of times": TIME_SEED,
        },
        variants=tuple(variants),
        failed=failed,
        ablation=ablation(config, root, quality["ablation"]),
        tokenizer=read_json(root / TOKENIZER / "reconstruction.json"),
        language=language_facts(config, root),
        likelihood=quality["likelihood"],
        bank={"n": bank["n"]} | ({} if widest is None else {"seconds": bank["n"] / widest}),
        prompts=prompt_path(config, root, compute, quality),
        between=quality["between"],
        verdict=verdict(variants),
    )


def forms(config: Config, root: Path, compute: Compute, *, prompts: bool) -> dict[str, Open]:
    """`MODEL FORM` -> how it is opened from its files: the teacher, and first students of class or of prompt ways."""
    from ganline.acceleration.decoding_onnx import open_teacher
    from ganline.acceleration.runtime import compiled_generator, eager_generator, open_generator

    folder = root / ACCELERATED
    found: dict[str, Open] = {
        f"{TEACHER} eager": lambda _: load_teacher(config, root, compute),
        f"{TEACHER} compiled": lambda _: compiled(config, root, compute),
        f"{TEACHER} onnx": lambda threads: open_teacher(folder / TEACHER, "onnx", threads=threads),
        f"{TEACHER} int8": lambda threads: open_teacher(folder / TEACHER, "int8", threads=threads),
    }
    for name, bundle in first_students(config, root).items():
        if (bundle.prompts is not None) != prompts:
            continue
        found[f"{name} eager"] = lambda _, own=bundle: eager_generator(own.generator(), compute)
        found[f"{name} compiled"] = lambda _, own=bundle: compiled_generator(own.generator(), compute)
        for form in ("onnx", "int8"):
            path = folder / name / f"{form}.onnx"
            found[f"{name} {form}"] = lambda threads, own=path: open_generator(own, threads=threads)
    return found


def each_batch(make: Any, like: Generator) -> Generator:
    """A generator that is compiled anew for each size of batch."""
    from ganline.models.spec import Generator

    class EachBatch(Generator):
        def __init__(self) -> None:
            super().__init__()
            self.z_dim, self.num_classes, self.prompt_dim = like.z_dim, like.num_classes, like.prompt_dim
            self.made: dict[int, Generator] = {}

        def forward(self, z: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
            if len(z) not in self.made:
                self.made[len(z)] = make(batch=len(z))
            image: torch.Tensor = self.made[len(z)](z, condition)
            return image

    return EachBatch()


def compiled(config: Config, root: Path, compute: Compute) -> Generator:
    """The teacher through torch.compile."""
    from ganline.acceleration.decoding import compiled_teacher

    teacher = load_teacher(config, root, compute)
    return each_batch(partial(compiled_teacher, teacher, compute=compute), teacher)


def sizes(config: Config, root: Path, compute: Compute) -> dict[str, tuple[int, dict[str, int]]]:
    """Model -> (multiply-accumulates of an image, form -> bytes to ship)."""
    from ganline.acceleration.decoding_onnx import files_of
    from ganline.acceleration.fold import fold
    from ganline.acceleration.macs import bytes_of, macs_of

    folder, found = root / ACCELERATED, {}
    teacher = load_teacher(config, root, compute)
    networks: dict[str, Any] = {TEACHER: teacher} | {
        name: fold(bundle.generator()) for name, bundle in first_students(config, root).items()
    }
    for name, G in networks.items():
        if name == TEACHER:
            encoder = getattr(getattr(teacher.tokenizer, "net", None), "encoder", None)
            plain = bytes_of(teacher.llm) + bytes_of(teacher.tokenizer) - (bytes_of(encoder) if encoder else 0)
            onnx = {form: sum(map(bytes_of, files_of(folder / TEACHER, form))) for form in ("onnx", "int8")}  # type: ignore[arg-type]
        else:
            plain, onnx = bytes_of(G), {form: bytes_of(folder / name / f"{form}.onnx") for form in ("onnx", "int8")}
        z, told = inputs_of(G, 1)
        macs = macs_of(G, z.to(compute.device), None if told is None else told.to(compute.device))
        found[name] = macs, {"eager": plain, "compiled": plain} | onnx
    return found


def described(compute: Compute) -> dict[str, Any]:
    """The machine, as far as times hang on it."""
    import onnxruntime

    from ganline.devices import available_cores, machine

    return machine(compute) | {"cores": available_cores(), "onnxruntime": onnxruntime.__version__}


def train_seconds(root: Path, recipe: str) -> float | None:
    """How long a training of this recipe ran here, from its log; None where it came from a cache."""
    lines = read_lines(home(root) / "work" / recipe[:16] / SYSTEM)
    if not lines:
        return None
    before = [0, *(line["nimg"] for line in lines)]
    return float(sum((line["nimg"] - a) / line["images_per_second"] for a, line in zip(before, lines, strict=False)))


def language_facts(config: Config, root: Path) -> dict[str, Any]:
    """Likelihoods, and how long it was trained."""
    facts = read_json(root / LLM / "likelihood.json") | {"kimg": config.llm.total_kimg}
    baselines = facts.pop("baselines")
    facts["baselines"] = {
        name: {key: baselines[f"{name}_{key}"] for key in ("nats_per_token", "nats_per_dim")}
        for name in ("uniform", "unigram")
    }
    seconds = train_seconds(root, llm_recipe(config, root))
    return facts | ({} if seconds is None else {"train_seconds": seconds})


def ablation(config: Config, root: Path, found: Mapping[str, Any]) -> dict[str, Any]:
    """The ways, each with the seconds that all its trainings took here, where that is known."""
    told_ways = {}
    for name, record in found.items():
        trainings = [student_section(config, root, name, seed) for seed in record["seeds"]]
        way = config.students.ways[name]
        seconds = [train_seconds(root, student_recipe(section, way, root)) for section in trainings]
        known = [each for each in seconds if each is not None]
        told_ways[name] = record | ({"train_seconds": sum(known)} if len(known) == len(seconds) else {})
    return told_ways


def prompt_path(config: Config, root: Path, compute: Compute, quality: Mapping[str, Any]) -> dict[str, Any]:
    """From a prompt's text to pixels: the encoder's time, and each form's with it; how well prompts are kept to."""
    from ganline.acceleration.benchmark import measure_times
    from ganline.language.captions import Captions
    from ganline.language.encoder import find_encoder
    from ganline.language.prompts import UNSEEN

    opens = forms(config, root, compute, prompts=True)
    if len(opens) == 4 or not quality["adherence"]:
        return {}
    opens = {name: start for name, start in opens.items() if "compiled" not in name}
    encoder, texts = find_encoder(config.captions.encoder), Captions(root / CAPTIONS).prompts.texts[UNSEEN]

    def draw(G: Generator, batch: int, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        from ganline.seeds import generator

        z = torch.randn(batch, G.z_dim, generator=generator(TIME_SEED, f"prompt z {batch}", number))
        which = torch.randint(len(texts), (batch,), generator=generator(TIME_SEED, f"prompt {batch}", number))
        return z.to(compute.device), encoder([texts[i] for i in which]).to(compute.device)

    section = config.speedup
    timings, _ = measure_times(
        opens,
        threads=section.threads,
        rounds=section.rounds,
        seconds=section.seconds / 2,
        draw=draw,
        compute=compute,
        batch=section.batch,
    )
    alone = encoder_ms(encoder, list(texts))
    return {
        "encoder": {"name": encoder.name, "p50_ms": alone},
        "paths": {
            name: {"p50_ms": timing.p50_ms + alone, "without_encoder_ms": timing.p50_ms}
            for name, timing in timings.items()
        },
        "adherence": quality["adherence"],
    }


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
    """Both sides at their fastest at batch 1 and equal quality, recorded image by image on one thread."""
    import time

    import torch

    from ganline.acceleration.benchmark import torch_threads
    from ganline.images import to_pixels
    from ganline.language.recording import record
    from ganline.page.race import Painting, render_race

    chosen = found.verdict["equal"] or found.verdict["best"]
    opens = forms(config, root, compute, prompts=False)
    recorded = min(
        (v for v in found.variants if v.kind == "teacher" and v.form != "compiled"), key=lambda v: v.timing.p50_ms
    )
    recordings, paintings, captions = [], [], []
    with torch_threads(1), torch.inference_mode():
        teacher: Any = opens[recorded.name](1)
        student = opens[chosen["student"]](1)
        for number in range(-2, config.speedup.race):  # two images to warm up
            z, label = race_inputs(teacher, number), race_label(number, len(found.labels))
            recording = record(teacher, z, label)
            noise = race_inputs(student, number)
            started = time.perf_counter()
            image = to_pixels(student(noise.to(compute.device), label)).cpu()
            ms = 1000 * (time.perf_counter() - started)
            if number >= 0:
                recordings.append(recording)
                paintings.append(Painting(image[0].numpy(), ms))
                captions.append(found.labels[int(label)] if label is not None else "")
    note = f"The language model plays in its form {recorded.form}, the GAN is {chosen['student']}; "
    note += f"{chosen['name']}: {chosen['teacher_distance']:.3f} and {chosen['student_distance']:.3f}."
    return render_race(
        recordings,
        paintings,
        dataset=found.dataset,
        teacher=f"{recorded.form}, batch 1",
        student=f"{chosen['student'].split()[1]}, batch 1",
        machine=str(found.machine["device"]),
        threads=1,
        captions=captions if any(captions) else (),
        notes=[note],
    )


def race_inputs(G: Generator, number: int) -> torch.Tensor:
    import torch

    from ganline.seeds import generator

    return torch.randn(1, G.z_dim, generator=generator(RACE_SEED, "z", number))


def race_label(number: int, num_classes: int) -> torch.Tensor | None:
    """Classes in turn."""
    import torch

    return torch.tensor([number % num_classes]) if num_classes > 1 else None


def log_study(config: Config, root: Path, found: Study) -> None:
    """A run of its own in MLflow: every variant's figures, the ratios, the pages."""
    from ganline.files import sha256_json
    from ganline.integrations.mlflow_tracking import find_or_start_run, finish

    run_id = find_or_start_run(
        sha256_json([found.plain(), sha256_file(root / QUALITY)]),
        dict(found.machine),
        name=f"{config.register_.name}-speedup",
        params=config.model_dump(mode="json", by_alias=True),
    )
    figures: dict[str, Any] = {}
    for variant in found.variants:
        own = {"p50_ms": variant.timing.p50_ms, "p95_ms": variant.timing.p95_ms}
        own |= {"images_per_second": variant.timing.throughput, "cold_ms": variant.timing.cold_ms}
        own |= {"bytes": variant.num_bytes, "macs": variant.macs}
        name = variant.name.replace(" ", "/")
        figures |= {f"{name}/{key}": {"name": f"{name}/{key}", "value": value} for key, value in own.items()}
        figures |= {
            f"{name}/{key}": record | {"name": f"{name}/{record['name']}"}
            for key, record in variant.quality.items()
            if key in ("fd", "fd_second", "recall", "coverage", "label_accuracy")
        }
    for kind in ("equal", "best"):
        for key in ("latency_ratio", "throughput_ratio"):
            if found.verdict[kind]:
                name = f"{kind}_quality/{key}"
                figures[name] = {"name": name, "value": found.verdict[kind][key]}
    finish(run_id, metrics=figures, artifacts=[root / SPEEDUP / name for name in (STUDY, PAGE, RACE, PICTURE)])
