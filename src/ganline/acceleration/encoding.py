"""The sentence encoder's network as ONNX files, float32 and int8: on the prompt path it takes longer than a GAN.

    tokens   int64 [1, T]
    states   float32 [1, T, E]

In int8 the weights have one scale a channel, fixed beforehand; activations one a sentence, found in passing, so that an
embedding stays a function of its text alone. Weights of 7 bits, as in quantize.py.

all-MiniLM-L6-v2, one thread of a Xeon with AMX, a few words: eager torch 8.0 ms, float32 3.8, int8 1.3.
"""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import torch
from torch import nn

from ganline.acceleration.decoding_onnx import open_session
from ganline.acceleration.export import read_model, strip, write_model
from ganline.language.encoder import MOST_TOKENS, Network, SentenceEncoder

Form = Literal["onnx", "int8"]
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

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own deprecations
        program = torch.onnx.export(
            States(encoder.net).eval(),
            kwargs={"tokens": torch.zeros(1, EXAMPLE, dtype=torch.int64)},
            dynamo=True,
            external_data=False,
            input_names=["tokens"],
            output_names=["states"],
            dynamic_shapes={"tokens": {1: torch.export.Dim("length", min=2, max=MOST_TOKENS)}},
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    strip(model)
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
    """The same encoder, its network in ONNX Runtime on one thread; as it is where the folder has no such file."""
    path = folder / FILES[form]
    if not path.is_file():
        return encoder
    session = open_session(read_model(path))
    other = copy.copy(encoder)
    other.net = lambda tokens: torch.from_numpy(session.run(None, {"tokens": tokens.numpy()})[0])
    return other
