"""A generator as one ONNX file: what ONNX Runtime, a browser or any other runtime needs, and nothing else.

    z          float32 [batch, z_dim]
    condition  float32 [batch, K]: one-hot label, or a prompt's embedding; absent where G is told nothing
    image      uint8 [batch, C, H, W]: pixels, which cost less within the file than after it

Metadata `condition` says which: `classes`, `prompt` or `none`. Equal weights give equal bytes: times, producers, names
of source files and stack traces are taken out. Every tensor lies in the file itself: files that refer to others are
refused before anything loads them (CVE-2025-51480 and its kin).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ganline.errors import BundleError
from ganline.files import write_bytes
from ganline.images import to_pixels
from ganline.models.spec import Generator

EXAMPLES = 2
"""Rows of the example that is traced: a batch of one would be taken for a constant."""
PRODUCER = ("producer_name", "producer_version")
REMARKS = ("doc_string", "metadata_props")
CONDITION = "condition"
KIND = ("classes", "prompt", "none")


class Pixels(nn.Module):
    """G's pixels. A float condition passes as it is, or as the class that a one-hot names if G looks labels up."""

    def __init__(self, G: Generator, *, looks_up: bool):
        super().__init__()
        self.G, self.looks_up = G, looks_up

    def forward(self, z: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        return to_pixels(self.G(z, condition.argmax(1) if condition is not None and self.looks_up else condition))


def export_generator(G: Generator, path: Path, *, num_classes: int = 0, prompt_dim: int = 0) -> None:
    """Write G as an ONNX file; fold it first. At most one of `num_classes` and `prompt_dim` is not zero."""
    import onnx

    assert not (num_classes and prompt_dim), "a generator is told a class or a prompt"
    looks_up = bool(num_classes) and any(isinstance(layer, nn.Embedding) for layer in G.modules())
    batch = torch.export.Dim("batch")
    example = {"z": torch.zeros(EXAMPLES, G.z_dim)}
    if told := num_classes or prompt_dim:
        example[CONDITION] = torch.eye(EXAMPLES, told)
    model = traced(Pixels(G, looks_up=looks_up), example, {name: {0: batch} for name in example}, output="image")
    classes, prompt, none = KIND
    onnx.helper.set_model_props(model, {CONDITION: classes if num_classes else prompt if prompt_dim else none})
    write_model(model, path)


def traced(
    module: nn.Module, example: Mapping[str, torch.Tensor], axes: Mapping[str, Mapping[int, Any]], *, output: str
) -> Any:
    """The onnx.ModelProto of a module called with `example`; `axes` of its inputs may have other lengths."""
    import onnx

    # The exporter's own deprecations and the axes' common name are no one's concern; it knows no inference mode.
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            kwargs=dict(example),
            dynamo=True,
            external_data=False,
            input_names=list(example),
            output_names=[output],
            dynamic_shapes={name: dict(own) for name, own in axes.items()},
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    strip(model)
    onnx.checker.check_model(model)
    return model


def write_model(model: Any, path: Path) -> None:
    """Write an ONNX model as one file: equal models give equal bytes."""
    write_bytes(path, model.SerializeToString(deterministic=True))


def read_model(path: Path) -> Any:
    """An onnx.ModelProto of a file that refers to no other. Raises BundleError."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except (DecodeError, ValueError) as error:
        raise BundleError(
            f"{path} is not an ONNX file: {error}", remedy="run `dvc repro accelerate` in the study's workspace"
        ) from error
    for message in messages(model):
        if isinstance(message, onnx.TensorProto) and (message.external_data or message.data_location):
            raise BundleError(
                f"{path} refers to another file for {message.name or 'a tensor'}",
                expected="one file that holds all its tensors",
                remedy="run `dvc repro accelerate` in the study's workspace",
            )
    return model


def messages(message: Any) -> Iterator[Any]:
    """A protobuf message and all within it."""
    yield message
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for each in value if hasattr(value, "__len__") else [value]:
                yield from messages(each)


def strip(model: Any) -> None:
    """Take out what tells of the exporting machine and not of the network, in place."""
    for name in PRODUCER:
        model.ClearField(name)
    for message in list(messages(model)):
        for name in REMARKS:
            if name in message.DESCRIPTOR.fields_by_name:
                message.ClearField(name)
