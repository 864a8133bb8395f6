"""Exported files paint what the network paints, are the same every time, tell nothing of the machine, and are one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ganline.acceleration.export import export_generator, messages, read_model, write_model
from ganline.acceleration.fold import fold
from ganline.acceleration.runtime import open_generator
from ganline.errors import BundleError
from ganline.images import to_pixels
from tests.unit.acceleration.small import drawn, levels_apart, small


@pytest.mark.parametrize("n", [1, 2, 7])
def test_the_file_paints_what_the_network_paints_at_any_batch_size(exported: Path, n: int) -> None:
    G, opened = small(), open_generator(exported)
    z, label = drawn(G, n)
    assert (opened.z_dim, opened.num_classes) == (G.z_dim, G.num_classes)
    image = opened(z, label)
    assert image.shape == (n, 1, 16, 16) and image.dtype == torch.uint8
    assert levels_apart(image, G(z, label)) <= 1
    assert torch.equal(to_pixels(image), image)


def test_inputs_are_float32_with_one_hot_labels_and_a_mixture_of_classes_is_taken(exported: Path) -> None:
    opened = open_generator(exported)
    inputs = {each.name: (each.type, each.shape) for each in opened.session.get_inputs()}
    assert inputs == {"z": ("tensor(float)", ["batch", 8]), "condition": ("tensor(float)", ["batch", 3])}
    z, _ = drawn(small(), 2)
    first = opened(z, torch.tensor([0, 0]))
    assert torch.equal(first, opened(z, torch.eye(3)[[0, 0]]))
    assert not torch.equal(first, opened(z, torch.tensor([[0.5, 0.5, 0.0]]).repeat(2, 1)))


def test_images_of_one_call_outlive_the_next(exported: Path) -> None:
    opened = open_generator(exported)
    z, label = drawn(small(), 4)
    first = opened(z, label)
    kept = first.clone()
    opened(-z, label)
    assert torch.equal(first, kept)


def test_networks_that_look_labels_up_and_unconditional_ones_export_too(tmp_path: Path) -> None:
    for conditional in (True, False):
        G = small("sngan", conditional=conditional)
        export_generator(fold(G), tmp_path / "g.onnx", num_classes=3 if conditional else 0)
        z, label = drawn(G, 3, conditional=conditional)
        assert levels_apart(open_generator(tmp_path / "g.onnx")(z, label), G(z, label)) <= 1


def test_generators_of_prompts_are_told_embeddings(tmp_path: Path) -> None:
    G = small(conditional=False, prompt_dim=6)
    export_generator(fold(G), tmp_path / "g.onnx", prompt_dim=6)
    opened = open_generator(tmp_path / "g.onnx")
    assert (opened.num_classes, opened.prompt_dim) == (0, 6)
    z, prompt = drawn(G, 3, conditional=False)[0], torch.nn.functional.normalize(torch.eye(3, 6) + 0.1)
    image = opened(z, prompt)
    assert levels_apart(image, G(z, prompt)) <= 1
    assert levels_apart(image, G(z, prompt.flip(0))) > 1


def test_what_is_built_and_folded_in_inference_mode_exports_too(exported: Path, tmp_path: Path) -> None:
    with torch.inference_mode():
        export_generator(fold(small()), tmp_path / "g.onnx", num_classes=3)
    assert (tmp_path / "g.onnx").read_bytes() == exported.read_bytes()


def test_equal_weights_give_equal_bytes_that_tell_nothing_of_the_machine(exported: Path, tmp_path: Path) -> None:
    G = small()
    export_generator(fold(G), tmp_path / "again.onnx", num_classes=G.num_classes)
    content = (tmp_path / "again.onnx").read_bytes()
    assert content == exported.read_bytes()
    for word in (b".py", b"pytorch", b"Traceback", b"stack_trace", str(Path.cwd()).encode(), str(tmp_path).encode()):
        assert word not in content, word


def test_other_weights_give_other_bytes(exported: Path, tmp_path: Path) -> None:
    G = small()
    G.stem.weight[0, 0] += 1.0
    export_generator(fold(G), tmp_path / "other.onnx", num_classes=G.num_classes)
    assert (tmp_path / "other.onnx").read_bytes() != exported.read_bytes()


def test_a_file_that_refers_to_another_is_refused_before_it_is_loaded(exported: Path, tmp_path: Path) -> None:
    import onnx

    model = read_model(exported)
    weight = model.graph.initializer[0]
    (tmp_path / "secret").write_bytes(weight.raw_data)
    onnx.external_data_helper.set_external_data(weight, location="secret")
    weight.ClearField("raw_data")
    write_model(model, tmp_path / "refers.onnx")
    with pytest.raises(BundleError, match="refers to another file"):
        open_generator(tmp_path / "refers.onnx")


def test_an_external_tensor_within_a_nodes_attribute_is_refused_too(exported: Path, tmp_path: Path) -> None:
    import onnx

    model = read_model(exported)
    value = onnx.numpy_helper.from_array(np.zeros(2, np.float32), "hidden")
    onnx.external_data_helper.set_external_data(value, location="../secret")
    model.graph.node.append(onnx.helper.make_node("Constant", [], ["unused"], value=value))
    write_model(model, tmp_path / "refers.onnx")
    with pytest.raises(BundleError, match="hidden"):
        open_generator(tmp_path / "refers.onnx")


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x00" * 64])
def test_other_files_are_refused_with_words(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(content)
    with pytest.raises(BundleError, match=r"g\.onnx"):
        open_generator(tmp_path / "g.onnx")


def test_messages_reach_every_part(exported: Path) -> None:
    model = read_model(exported)
    kinds = {type(message).__name__ for message in messages(model)}
    assert {"ModelProto", "GraphProto", "NodeProto", "TensorProto", "AttributeProto", "ValueInfoProto"} <= kinds
