"""The forms that are timed: how each is opened from its files, and what each weighs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganline.config import Config
from ganline.stages.accelerating import TEACHER, inputs_of, studied
from ganline.stages.language import load_teacher
from ganline.stages.places import ACCELERATED

if TYPE_CHECKING:
    from ganline.acceleration.benchmark import Open
    from ganline.devices import Compute
    from ganline.registry.bundle import Bundle


def forms(config: Config, root: Path, compute: Compute, *, prompts: bool) -> dict[str, Open]:
    """`MODEL FORM` -> how it is opened from its files: the teacher, and students of class or of prompt ways."""
    from ganline.acceleration.decoding import compiled_teacher
    from ganline.acceleration.decoding_onnx import open_teacher

    folder = root / ACCELERATED
    found: dict[str, Open] = {
        f"{TEACHER} eager": lambda _: load_teacher(config, root, compute),
        f"{TEACHER} compiled": lambda _: compiled_teacher(load_teacher(config, root, compute), compute=compute),
        f"{TEACHER} onnx": lambda threads: open_teacher(folder / TEACHER, "onnx", threads=threads),
        f"{TEACHER} int8": lambda threads: open_teacher(folder / TEACHER, "int8", threads=threads),
    }
    for name, bundle in studied(config, root).items():
        if (bundle.prompts is not None) == prompts:
            found |= {f"{name} {form}": start for form, start in of_student(bundle, folder / name, compute).items()}
    return found


def of_student(bundle: Bundle, folder: Path, compute: Compute) -> dict[str, Open]:
    """Form -> how a student is opened."""
    from ganline.acceleration.runtime import compiled_generator, eager_generator, open_generators

    return {
        "eager": lambda _: eager_generator(bundle.generator(), compute),
        "compiled": lambda _: compiled_generator(bundle.generator(), compute),
        "onnx": lambda threads: open_generators(folder, "onnx", threads=threads),
        "int8": lambda threads: open_generators(folder, "int8", threads=threads),
    }


def sizes(config: Config, root: Path) -> dict[str, tuple[int, dict[str, int]]]:
    """Model -> (multiply-accumulates of an image, form -> bytes to ship)."""
    from ganline.acceleration.decoding_onnx import files_of
    from ganline.acceleration.fold import fold
    from ganline.acceleration.macs import bytes_of, macs_of
    from ganline.acceleration.runtime import exported
    from ganline.devices import host

    folder, found = root / ACCELERATED, {}
    teacher = load_teacher(config, root, host())
    networks: dict[str, Any] = {TEACHER: teacher} | {
        name: fold(bundle.generator()) for name, bundle in studied(config, root).items()
    }
    for name, G in networks.items():
        if name == TEACHER:
            encoder = getattr(getattr(teacher.tokenizer, "net", None), "encoder", None)
            plain = bytes_of(teacher.llm) + bytes_of(teacher.tokenizer) - (bytes_of(encoder) if encoder else 0)
            onnx = {form: sum(map(bytes_of, files_of(folder / TEACHER, form))) for form in ("onnx", "int8")}  # type: ignore[arg-type]
        else:
            plain, onnx = (
                bytes_of(G),
                {form: sum(map(bytes_of, exported(folder / name, form))) for form in ("onnx", "int8")},
            )
        z, told = inputs_of(G, 1)
        found[name] = macs_of(G, z, told), {"eager": plain, "compiled": plain} | onnx
    return found
