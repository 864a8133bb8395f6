"""An exported generator in 8 bits: weights int8 per channel, activations uint8, by ONNX Runtime's static quantisation.

What was tried on the default Fashion-MNIST model (fd at n = 2,000 of one seed; float32 has 1.82):
all layers 2.18; all but the last convolution 1.80, for a seventh more time: that one writes the pixels, and its 256
levels are not theirs. int8 activations take twice the time of uint8, which have the kernels. Entropy and percentiles
gain nothing over MinMax. Weights of 7 bits (reduce_range) 1.82, at the same speed, and they are right everywhere:
without VNNI two products of 8 bits are summed in 16, and saturate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from ganline.acceleration.export import CONDITION, read_model, strip, write_model
from ganline.errors import BundleError
from ganline.models.layers import one_hot
from ganline.models.sampling import CHUNK

MULTIPLYING = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def quantize_generator(source: Path, out: Path, *, z: torch.Tensor, condition: torch.Tensor | None = None) -> None:
    """Write the int8 form of an exported generator.

    Ranges of activations are those seen on z [n, z_dim] and condition (labels int64 [n], or float [n, K]: one-hot, or
    prompts' embeddings): a few hundred of what it is for. Raises BundleError if `source` has other inputs.
    """
    inputs = read_model(source).graph.input
    expected = {each.name: each.type.tensor_type.shape.dim[1].dim_value for each in inputs}
    seen = {"z": z}
    if condition is not None:
        seen[CONDITION] = one_hot(condition, expected.get(CONDITION, 0), z) if condition.ndim == 1 else condition
    if (found := {name: tensor.shape[1] for name, tensor in seen.items()}) != expected:
        raise BundleError(
            f"{source} cannot be calibrated with inputs of widths {found}",
            expected=f"{expected}",
            remedy="run `dvc repro accelerate` in the study's workspace",
        )
    quantize_graph(source, out, {name: tensor.cpu().float().numpy() for name, tensor in seen.items()})


def quantize_graph(source: Path, out: Path, seen: Mapping[str, np.ndarray]) -> None:
    """Write a model in 8 bits, the last product and what follows it in float32. Ranges are those on `seen`."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with TemporaryDirectory() as folder:
        ready, done = Path(folder) / "ready.onnx", Path(folder) / "done.onnx"
        quant_pre_process(source, ready)
        quantize_static(
            ready,
            done,
            Feed(seen),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=from_last_product(read_model(ready)),
        )
        quantised = read_model(done)
    strip(quantised)
    quantised.metadata_props.extend(read_model(source).metadata_props)
    keep_used_domains(quantised)
    write_model(quantised, out)


class Feed:
    """Calibration batches, as onnxruntime's CalibrationDataReader hands them over."""

    def __init__(self, seen: Mapping[str, np.ndarray]):
        count = len(next(iter(seen.values())))
        self.batches: Iterator[dict[str, np.ndarray]] = (
            {name: values[start : start + CHUNK] for name, values in seen.items()} for start in range(0, count, CHUNK)
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.batches, None)


def from_last_product(model: Any) -> list[str]:
    """Names of the last convolution or matrix product and of all that follows it: what stays in float32."""
    nodes = list(model.graph.node)
    last = max((i for i, node in enumerate(nodes) if node.op_type in MULTIPLYING), default=len(nodes))
    return [node.name for node in nodes[last:]]


def keep_used_domains(model: Any) -> None:
    """Drop the operator sets that onnxruntime lists and no node is of: other runtimes do not know them."""
    used = {node.domain for node in model.graph.node} | {""}
    kept = [each for each in model.opset_import if each.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
