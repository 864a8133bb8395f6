"""The stage that makes ONNX forms of teacher and students."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganline.config import Config
from ganline.files import fresh_folder, write_json
from ganline.stages.language import load_teacher
from ganline.stages.places import ACCELERATED, STUDENTS

if TYPE_CHECKING:
    import torch

    from ganline.language.prompts import Prompts
    from ganline.models.spec import Generator
    from ganline.registry.bundle import Bundle

log = logging.getLogger(__name__)

TEACHER, ENCODER = "teacher", "encoder"
CALIBRATION_SEED = 5001


def accelerate(config: Config, root: Path) -> None:
    """Teacher, the student of each way, and the encoder that prompts come through as ONNX files, float32 and int8, with
    how far they are from torch."""
    import torch

    from ganline.acceleration.decoding_onnx import export_teacher, open_teacher
    from ganline.acceleration.export import export_generator
    from ganline.acceleration.fold import fold
    from ganline.acceleration.mixture import mixture
    from ganline.acceleration.quantize import quantize_generator
    from ganline.acceleration.runtime import open_generators
    from ganline.devices import host, make_exact
    from ganline.images import to_pixels

    make_exact()
    compute, folder, n = host(), fresh_folder(root / ACCELERATED), config.accelerate.calibration
    teacher, found = load_teacher(config, root, compute), studied(config, root)
    z, told = inputs_of(teacher, n)
    export_teacher(teacher, folder / TEACHER, calibration=(z, told))
    parity: dict[str, Any] = {TEACHER: {}}
    with torch.inference_mode():
        tokens = teacher.tokens(z[:64], None if told is None else told[:64])
        for form in ("onnx", "int8"):
            other = open_teacher(folder / TEACHER, form, threads=1).tokens(z[:64], None if told is None else told[:64])
            parity[TEACHER][form] = {"equal_tokens": float((other == tokens).double().mean())}
        for name, bundle in found.items():
            networks = [fold(network) for network in bundle.networks()]
            (folder / name).mkdir(parents=True)
            for number, G in enumerate(networks):
                plain, small = (folder / name / f"{form}-{number:02}.onnx" for form in ("onnx", "int8"))
                z, told = inputs_of(G, n)
                shape = {"prompt_dim": G.prompt_dim} if G.prompt_dim else {"num_classes": G.num_classes}
                export_generator(G, plain, **shape)
                quantize_generator(plain, small, z=z, condition=told)
            z, told = inputs_of(mixture(networks), n)
            image = to_pixels(mixture(networks)(z, told)).float()
            parity[name] = {
                form: {"mean_error_levels": float((open_generators(folder / name, form)(z, told) - image).abs().mean())}
                for form in ("onnx", "int8")
            }
    for prompts in [bundle.prompts for bundle in found.values() if bundle.prompts is not None][:1]:
        parity |= accelerate_encoder(config, folder / ENCODER, prompts)
    write_json(folder / "parity.json", parity)
    log.info("accelerate: %s", ", ".join(parity))


def accelerate_encoder(config: Config, folder: Path, prompts: Prompts) -> dict[str, Any]:
    """Form -> how near its embeddings are to torch's; nothing for encoders that run through transformers."""
    from ganline.acceleration.encoding import export_encoder, open_encoder
    from ganline.language.encoder import find_encoder
    from ganline.language.prompts import UNSEEN

    encoder, texts = find_encoder(config.captions.encoder), prompts.texts[UNSEEN]
    prompts.check_encoder(encoder.identity)
    if not encoder.is_plain:
        log.info("accelerate: %s is no plain BERT and stays in torch in every form", encoder.name)
        return {}
    export_encoder(encoder, folder)
    plain, told = encoder(texts), {}
    for form in ("onnx", "int8"):
        cosines = (open_encoder(encoder, folder, form)(texts) * plain).sum(1)
        told[form] = {"mean_cosine": float(cosines.mean()), "least_cosine": float(cosines.min())}
    return {ENCODER: told}


def inputs_of(G: Generator, n: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Noise [n, z_dim] and what G is told, for calibration and comparison, on the CPU."""
    import torch

    from ganline.models.sampling import CHUNK, latents, random_labels
    from ganline.seeds import generator

    chunks = range(-(-n // CHUNK))
    z = torch.cat([latents(CALIBRATION_SEED, chunk, G.z_dim) for chunk in chunks])[:n]
    if not G.num_classes:
        labels = torch.zeros(n, dtype=torch.int64)
    else:
        labels = torch.cat([random_labels(CALIBRATION_SEED, chunk, G.num_classes) for chunk in chunks])[:n]
    if G.tell is not None:
        return z, G.tell(labels, generator(CALIBRATION_SEED, "prompt"))
    return z, labels if G.num_classes else None


def studied(config: Config, root: Path) -> dict[str, Bundle]:
    """Way -> the student that goes through the study: its first training, or the mixture of all."""
    from ganline.registry.bundle import open_bundle

    section = config.students
    return {
        name: open_bundle(root / STUDENTS / (name if way.mixture else f"{name}-{section.seeds_of(name)[0]}"))
        for name, way in section.ways.items()
    }
