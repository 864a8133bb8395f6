"""The sentence encoder's network as ONNX files, float32 and int8: on the prompt path it takes longer than a GAN.

    tokens   int64 [1, T]
    states   float32 [1, T, E]

In int8 the weights have one scale a channel, fixed beforehand; activations one a sentence, found in passing, so that an
embedding stays a function of its text alone. Weights of 7 bits, as in quantize.py.
"""

from __future__ import annotations

import copy
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from ganline.acceleration.decoding_onnx import Form, open_session
from ganline.acceleration.export import read_model, strip, traced, write_model
from ganline.errors import BundleError
from ganline.language.encoder import Network, SentenceEncoder

FILES = {"onnx": "encoder.onnx", "int8": "encoder.int8.onnx"}
EXAMPLE = 9
"""Tokens of the example that is traced."""


class States(nn.Module):
    """A network of functions as one of torch's modules."""

    def __init__(self, net: Network):
        super().__init__()
        self.net = net

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.net(tokens)


def export_encoder(encoder: SentenceEncoder, folder: Path) -> None:
    """Write the encoder's network as both files."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    length = torch.export.Dim("length", min=2, max=encoder.max_length)
    example = torch.zeros(1, min(EXAMPLE, encoder.max_length), dtype=torch.int64)
    model = traced(States(encoder.net), {"tokens": example}, {"tokens": {1: length}}, output="states")
    folder.mkdir(parents=True, exist_ok=True)
    write_model(model, folder / FILES["onnx"])
    with TemporaryDirectory() as work:
        done = Path(work) / "done.onnx"
        quantize_dynamic(
            folder / FILES["onnx"],
            done,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )
        small = read_model(done)
    strip(small)
    write_model(small, folder / FILES["int8"])


def open_encoder(encoder: SentenceEncoder, folder: Path, form: Form) -> SentenceEncoder:
    """The same encoder, its network in ONNX Runtime on one thread; one that runs through transformers as it is, for it
    was not exported. Raises BundleError where the file is missing or damaged."""
    if not encoder.is_plain:
        return encoder
    path = folder / FILES[form]
    if not path.is_file():
        raise BundleError(f"{path} does not exist", remedy="run `dvc repro accelerate` in the study's workspace")
    session = open_session(read_model(path))
    other = copy.copy(encoder)
    other.net = lambda tokens: torch.from_numpy(session.run(None, {"tokens": tokens.numpy()})[0])
    return other
