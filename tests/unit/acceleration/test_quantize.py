"""The int8 form: close to the float32 one, smaller, the same every time, its last layer left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ganline.acceleration.export import read_model
from ganline.acceleration.macs import bytes_of
from ganline.acceleration.quantize import from_last_product, quantize_generator
from ganline.acceleration.runtime import open_generator
from ganline.errors import BundleError
from tests.unit.acceleration.small import drawn, small


def calibration(n: int = 256) -> dict[str, torch.Tensor]:
    z, label = drawn(small(), n, seed=1)
    return {"z": z, "condition": torch.eye(3)[label]}


@pytest.fixture(scope="module")
def quantised(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("quantised") / "int8.onnx"
    quantize_generator(exported, path, **calibration())
    return path


def test_it_paints_nearly_what_float32_paints(exported: Path, quantised: Path) -> None:
    exact, rough = open_generator(exported), open_generator(quantised)
    z, label = drawn(exact, 64)
    image = exact(z, label).float()
    error = (rough(z, label) - image).abs().mean()
    assert 0.0 < error < 0.05 * image.std()
    assert (rough.z_dim, rough.num_classes) == (exact.z_dim, exact.num_classes)


def test_every_layer_but_the_last_is_in_8_bits(quantised: Path) -> None:
    model = read_model(quantised)
    made_by = {name: node.op_type for node in model.graph.node for name in node.output}
    products = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    weights = [made_by.get(node.input[1]) for node in products]
    assert weights == ["DequantizeLinear"] * (len(products) - 1) + [None]
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    uint8, int8 = 2, 3
    assert {kind for name, kind in kinds.items() if name.endswith("_quantized")} >= {int8}
    activations = [node.input[2] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert activations and {kinds[name] for name in activations} == {uint8}


def test_the_small_network_shrinks_where_its_weights_are(exported: Path, quantised: Path) -> None:
    def weights(path: Path) -> int:
        return sum(len(tensor.raw_data) for tensor in read_model(path).graph.initializer)

    assert weights(quantised) < 0.6 * weights(exported)  # 16 channels: the last layer is a quarter
    assert bytes_of(quantised) == quantised.stat().st_size


def test_it_is_the_same_every_time_and_tells_nothing_of_the_machine(
    exported: Path, quantised: Path, tmp_path: Path
) -> None:
    quantize_generator(exported, tmp_path / "again.onnx", **calibration())
    content = (tmp_path / "again.onnx").read_bytes()
    assert content == quantised.read_bytes()
    assert b".py" not in content and str(tmp_path).encode() not in content
    assert {each.domain for each in read_model(quantised).opset_import} <= {"", "com.microsoft"}


def test_labels_calibrate_as_their_one_hots_do(exported: Path, quantised: Path, tmp_path: Path) -> None:
    z, label = drawn(small(), 256, seed=1)
    with torch.inference_mode():
        quantize_generator(exported, tmp_path / "labels.onnx", z=z, condition=label)
    assert (tmp_path / "labels.onnx").read_bytes() == quantised.read_bytes()


def test_calibration_must_have_the_files_inputs(exported: Path, tmp_path: Path) -> None:
    for wrong in ({"condition": None}, {"z": torch.zeros(4, 5)}):
        with pytest.raises(BundleError, match="calibrated"):
            quantize_generator(exported, tmp_path / "x.onnx", **{**calibration(4), **wrong})  # type: ignore[arg-type]
    assert not (tmp_path / "x.onnx").exists()


def test_what_follows_the_last_product_stays_with_it(exported: Path) -> None:
    model = read_model(exported)
    kept = from_last_product(model)
    kinds = {node.name: node.op_type for node in model.graph.node}
    assert [kinds[name] for name in kept][:3] == ["Conv", "DepthToSpace", "Tanh"]
    assert {kinds[name] for name in kept[3:]} == {"Add", "Mul", "Round", "Clip", "Cast"}  # to pixels
