"""The teacher's forms draw the same tokens: torch.compile, ONNX Runtime in float32, and nearly so in 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from ganline.acceleration.decoding import CompiledTeacher, compiled_teacher
from ganline.acceleration.decoding_graph import arrays_of
from ganline.acceleration.decoding_int8 import evened, peaks_of
from ganline.acceleration.decoding_onnx import export_teacher, files_of, open_session, open_teacher, without_tables
from ganline.acceleration.export import read_model
from ganline.devices import pick
from ganline.errors import BundleError, ConfigError, GanlineError
from ganline.language.drawing import draw
from ganline.language.llama import Llama
from ganline.language.sections import LlamaSize
from ganline.language.teacher import Teacher
from tests.unit.acceleration.small import levels_apart
from tests.unit.teachers import NUM_TOKENS, PROMPT_DIM, VOCAB, ToyTokenizer, noise, share_equal, teacher

GUIDED = {"guidance": 1.8, "top_k": 11, "temperature": 0.8}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    export_teacher(teacher(), folder, calibration=noise(128, seed=1))
    return folder


@pytest.fixture(scope="module")
def guided_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guided")
    export_teacher(teacher(learned=True, prompts=True, **GUIDED), folder, calibration=noise(128, seed=1))
    return folder


def logits_after(path: Path, T: Teacher, starts: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """What a step's file says at every position of given tokens, [B, T, vocab]."""
    model = without_tables(read_model(path))
    (head,) = (node.output[0] for node in model.graph.node if "head" in node.input)
    model.graph.output.append(onnx.helper.make_tensor_value_info(head, onnx.TensorProto.FLOAT, None))
    session, batch, size = open_session(model), len(tokens), T.llm.size
    shape = (batch, size.heads, NUM_TOKENS, size.width // size.heads)
    caches = {f"{kind}_{i}": np.zeros(shape, np.float32) for i in range(size.layers) for kind in ("key", "value")}
    names, x, logits = [each.name for each in session.get_outputs()], starts, []
    for t in range(NUM_TOKENS):
        feed = {"x": x[:, None].numpy(), "level": np.zeros((batch, 1, 1), np.float32)}
        feed |= {"seen": np.full(batch, t, np.int32), "total": np.array([t + 1], np.int32)}
        found = dict(zip(names, session.run(None, feed | caches), strict=True))
        caches = {name: found[f"new_{name}"] for name in caches}
        logits.append(torch.from_numpy(found[head][:, 0]))
        x = T.llm.embed(tokens[:, t])
    return torch.stack(logits, dim=1)


def test_float32_logits_are_torchs(exported: Path) -> None:
    T = teacher()
    z, label = noise(12)
    tokens, starts = T.tokens(z, label), T.starts(label, batch=12)
    expected = T.llm(starts, tokens[:, :-1])
    assert expected.std() > 0.5
    found = logits_after(exported / "step.onnx", T, starts, tokens)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_8_bits_move_the_distributions_little(exported: Path) -> None:
    T = teacher()
    z, label = noise(64)
    tokens, starts = T.tokens(z, label), T.starts(label, batch=64)
    exact = T.llm(starts, tokens[:, :-1]).log_softmax(-1)
    rough = logits_after(exported / "step.int8.onnx", T, starts, tokens).log_softmax(-1)
    divergence = (exact.exp() * (exact - rough)).sum(-1).mean()
    entropy = -(exact.exp() * exact).sum(-1).mean()
    assert 0 < divergence < 0.01 * entropy


@pytest.mark.parametrize("threads", [1, 3])
def test_onnx_runtime_draws_eagers_tokens_and_images(exported: Path, threads: int) -> None:
    T, found = teacher(), open_teacher(exported, "onnx", threads=threads)
    assert (found.z_dim, found.num_classes, found.prompt_dim) == (NUM_TOKENS, 3, 0)
    for n in (1, 2, 37):
        z, label = noise(n, seed=n)
        assert share_equal(found.tokens(z, label), T.tokens(z, label)) > 0.99
    assert levels_apart(found(z, label), T.tokenizer.decode(found.tokens(z, label))) <= 1
    assert share_equal(found.tokens(z, None), T.tokens(z, None)) > 0.99


def test_guidance_top_k_temperature_and_prompts_are_in_the_graph(guided_folder: Path) -> None:
    T, found = teacher(learned=True, prompts=True, **GUIDED), open_teacher(guided_folder, "onnx")
    z, label = noise(21)
    for condition in (label, torch.randn(21, PROMPT_DIM)):
        tokens = T.tokens(z, condition)
        assert share_equal(found.tokens(z, condition), tokens) > 0.99
    assert share_equal(found.tokens(z, label), tokens) < 0.9
    assert levels_apart(found(z, label), T.tokenizer.decode(found.tokens(z, label))) <= 1


@pytest.mark.parametrize("form", ["onnx", "int8"])
def test_an_image_depends_on_its_own_noise_and_condition_alone(guided_folder: Path, form: str) -> None:
    found = open_teacher(guided_folder, form, threads=2)  # type: ignore[arg-type]
    z, label = noise(19)
    alone = torch.cat([found.tokens(z[i : i + 1], label[i : i + 1]) for i in range(19)])
    assert share_equal(found.tokens(z, label), alone) > 0.99
    assert share_equal(found.tokens(-z, label), alone) < 0.5


def test_8_bit_draws_are_mostly_float32s_after_the_same_tokens(exported: Path) -> None:
    T, (z, label) = teacher(), noise(64)
    tokens, starts = T.tokens(z, label), T.starts(label, batch=64)
    rough = logits_after(exported / "step.int8.onnx", T, starts, tokens)
    assert share_equal(draw(rough.flatten(0, 1), z.flatten()), tokens.flatten()) > 0.75
    # Left to themselves they part for good at the first token that differs, and stay samples of nearly the same model.
    alone = open_teacher(exported, "int8").tokens(z, label)
    assert share_equal(alone[:, 0], tokens[:, 0]) > 0.85
    assert share_equal(alone, tokens) > 3 / VOCAB


def test_a_decoder_that_multiplies_has_8_bits_too(exported: Path, guided_folder: Path) -> None:
    assert [path.name for path in files_of(exported, "int8")] == ["step.int8.onnx", "decoder.onnx"]
    assert [path.name for path in files_of(guided_folder, "int8")] == ["step.int8.onnx", "decoder.int8.onnx"]


def test_evening_out_changes_peaks_and_not_the_function() -> None:
    T = teacher()
    z, label = noise(32)
    tokens, starts = T.tokens(z, label), T.starts(label, batch=32)
    peaks, arrays = peaks_of(T.llm, starts, tokens), arrays_of(T.llm, temperature=1.0)
    even, lower = evened(arrays, peaks)
    size, other = T.llm.size, teacher().llm
    with torch.no_grad():
        for block, mine in zip(other.model.layers, even.blocks, strict=True):
            block.input_layernorm.weight.copy_(torch.from_numpy(mine.norm))
            block.post_attention_layernorm.weight.copy_(torch.from_numpy(mine.norm_after))
            parts = torch.from_numpy(mine.qkv.T.copy()).split(size.width)
            projections = (block.self_attn.q_proj, block.self_attn.k_proj, block.self_attn.v_proj)
            for layer, part in zip(projections, parts, strict=True):
                layer.weight.copy_(part)
            for layer, matrix in ((block.self_attn.o_proj, mine.out), (block.mlp.gate_proj, mine.gate)):
                layer.weight.copy_(torch.from_numpy(matrix.T.copy()))
            for layer, matrix in ((block.mlp.up_proj, mine.up), (block.mlp.down_proj, mine.down)):
                layer.weight.copy_(torch.from_numpy(matrix.T.copy()))
        other.model.norm.weight.copy_(torch.from_numpy(even.norm))
        other.lm_head.weight[:VOCAB].copy_(torch.from_numpy(even.head.T.copy()))
    torch.testing.assert_close(other(starts, tokens[:, :-1]), T.llm(starts, tokens[:, :-1]), atol=1e-4, rtol=1e-4)
    found = peaks_of(other, starts, tokens)
    for name, peak in lower.items():
        np.testing.assert_allclose(found[name], peak, rtol=1e-3, atol=1e-5)
    unevenness = {name: float(peak.max() / np.median(peak)) for name, peak in peaks.items()}
    assert all(lower[name].max() / np.median(lower[name]) < unevenness[name] for name in ("0.down", "1.down", "head"))


def test_equal_weights_give_equal_bytes_and_every_file_is_one(exported: Path, tmp_path: Path) -> None:
    paths = export_teacher(teacher(), tmp_path / "again", calibration=noise(128, seed=1))
    for path in paths.values():
        assert path.read_bytes() == (exported / path.name).read_bytes()
        onnx.checker.check_model(read_model(path))
        assert str(Path(__file__).parents[3]).encode() not in path.read_bytes()


def test_a_file_that_refers_to_another_is_refused(exported: Path, tmp_path: Path) -> None:
    for path in exported.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    model = onnx.load(tmp_path / "step.onnx")
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../weights")
    (tmp_path / "step.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match="refers to another file"):
        open_teacher(tmp_path, "onnx")
    (tmp_path / "step.onnx").write_bytes((exported / "decoder.onnx").read_bytes())
    with pytest.raises(BundleError, match="no step"):
        open_teacher(tmp_path, "onnx")


def test_a_form_that_was_not_exported_is_named(tmp_path: Path) -> None:
    export_teacher(teacher(), tmp_path)
    with pytest.raises(BundleError, match=r"step\.int8\.onnx"):
        open_teacher(tmp_path, "int8")


def test_heads_of_a_length_that_onnx_runtime_lacks_are_refused(tmp_path: Path) -> None:
    size = LlamaSize(width=12, layers=1, heads=2)
    llm = Llama(size, vocab=VOCAB, num_tokens=NUM_TOKENS, num_classes=3)
    with pytest.raises(ConfigError, match="6 long"):
        export_teacher(Teacher(llm, ToyTokenizer()), tmp_path)


def test_compiled_draws_eagers_tokens_whatever_the_batch() -> None:
    if not pick().can_compile():
        pytest.skip("no C++ compiler")
    T = teacher(layers=1)
    found = compiled_teacher(T, compute=pick())
    for n in (3, 9):
        z, label = noise(n, seed=n)
        assert share_equal(found.tokens(z, label), T.tokens(z, label)) > 0.99
    torch.testing.assert_close(found(z, label), T.tokenizer.decode(found.tokens(z, label)))


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganline.devices.cpp_compiler", lambda: None)
    with pytest.raises(GanlineError, match="finds no compiler"):
        compiled_teacher(teacher(), compute=pick("fp32"))


def test_the_compiled_steps_masked_attention_is_the_sliced_one() -> None:
    T = teacher(**GUIDED)
    found = CompiledTeacher(T)
    found.step = found.steps.drawn  # not compiled
    z, label = noise(5)
    assert share_equal(found.tokens(z, label), T.tokens(z, label)) > 0.99
