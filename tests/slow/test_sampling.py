"""The default network at its real width keeps an image's bytes in every batch composition, on each backend."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ganline.acceleration.export import export_generator
from ganline.acceleration.fold import fold
from ganline.acceleration.quantize import quantize_generator
from ganline.acceleration.runtime import compiled_generator, open_generator
from ganline.config import load_config
from ganline.devices import cpp_compiler, pick
from ganline.models.sampling import run_G
from ganline.models.spec import Generator
from tests.unit.acceleration.small import drawn, small
from tests.unit.models.test_sampling import K, images_of, inputs_of, joined

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

N = 4000


@pytest.fixture(params=["torch", "compiled", "onnx", "int8"])
def backend(request, tmp_path: Path) -> Generator:
    model = load_config(Path(__file__).parents[2]).train.model.model_dump()
    G, compute = small(resolution=28, **model | {"class_conditional": True}), pick("fp32")
    if request.param == "torch":
        return compute.place(G)
    if request.param == "compiled":
        if cpp_compiler() is None:
            pytest.skip("no C++ compiler")
        return compiled_generator(G, compute)
    export_generator(fold(G), tmp_path / "onnx.onnx", num_classes=K)
    z, condition = drawn(G, 64)
    quantize_generator(tmp_path / "onnx.onnx", tmp_path / "int8.onnx", z=z, condition=condition)
    return open_generator(tmp_path / f"{request.param}.onnx")


def test_the_default_network_keeps_its_bytes_for_every_n_and_composition(backend) -> None:
    compute, half = pick("fp32"), N // 2
    parts = [(seed, images_of(backend, half, seed)) for seed in (0, 5)]
    for n in (1, 3, 8, 13, 64):
        assert torch.equal(images_of(backend, n, 0), parts[0][1][:n])
    every = joined([inputs_of(backend, half, seed) for seed, _ in parts])
    expected = torch.cat([images for _, images in parts])
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    start = 0
    for size in (1, 3, 8, 13, 64, N):
        rows = order[start : start + size]
        assert torch.equal(run_G(backend, every.rows(rows), compute=compute), expected[rows]), size
        start += size
