"""The sentence encoder: equal to transformers' own, a function of the text alone, light."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ganline.errors import ConfigError
from ganline.files import sha256_file
from ganline.language.config import EncoderConfig
from ganline.language.encoder import LONGEST_PROMPT, PACKAGED_NAME, SentenceEncoder, check_encoder, find_encoder
from ganline.language.encoder_folder import CONFIG, PACKAGED, TOKENIZER, WEIGHTS, packaged_folder

TEXTS = ["a dark sneaker", "seven, thin and slanted", "Ünïcode 七 \t and\nlines", "word " * 390]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The packaged encoder as a folder of the user's own."""
    own = tmp_path / "mine"
    own.mkdir()
    for name in (CONFIG, TOKENIZER, "sentence_bert_config.json"):
        shutil.copyfile(packaged_folder() / name, own / name)
    (own / WEIGHTS).symlink_to(packaged_folder() / WEIGHTS)
    return own


def test_an_embedding_has_length_one(encoder) -> None:
    found = encoder(TEXTS)
    assert (found.shape, found.dtype) == ((4, 384), torch.float32)
    assert torch.allclose(found.norm(dim=1), torch.ones(4), atol=1e-6)
    assert encoder([]).shape == (0, 384)


def test_an_embedding_is_a_function_of_the_text_alone(encoder) -> None:
    together, alone = encoder(TEXTS), torch.cat([encoder([text]) for text in reversed(TEXTS)]).flip(0)
    assert torch.equal(together, alone)
    assert torch.equal(encoder(["  a dark sneaker\n"]), together[:1])


def test_vectors_are_those_of_transformers(encoder) -> None:
    from ganline.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    transformers = pytest.importorskip("transformers")
    net = transformers.BertModel.from_pretrained(packaged_folder(), local_files_only=True, add_pooling_layer=False)
    for text in TEXTS:
        ids = torch.tensor([encoder.tokenizer.encode(text).ids])
        with torch.no_grad():
            expected = torch.nn.functional.normalize(net.eval()(input_ids=ids).last_hidden_state.mean(1))
        assert torch.allclose(encoder([text]), expected, atol=1e-5)


def test_vectors_are_those_of_sentence_transformers(encoder) -> None:
    from ganline.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    library = pytest.importorskip("sentence_transformers")
    expected = library.SentenceTransformer(str(packaged_folder()), device="cpu").encode(TEXTS, convert_to_tensor=True)
    assert torch.allclose(encoder(TEXTS), expected, atol=1e-5)


def test_alike_texts_are_near(encoder) -> None:
    sneaker, picture, bag, market = encoder(["a dark sneaker", "picture of dark sneakers", "a bag", "the market fell"])
    assert sneaker @ picture > sneaker @ bag + 0.2 > sneaker @ market + 0.2


def test_what_is_longer_than_the_encoder_reads_is_cut(encoder) -> None:
    assert encoder.max_length == 256
    long = "one " * 300
    assert torch.equal(encoder([long]), encoder([long + "two three"]))
    assert not torch.equal(encoder([long]), encoder(["one " * 200]))


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "x" * (LONGEST_PROMPT + 1)])
def test_an_empty_or_endless_prompt_is_refused(encoder, text) -> None:
    with pytest.raises(ConfigError, match="prompt"):
        encoder(["a bag", text])


def test_it_needs_neither_sentence_transformers_nor_transformers() -> None:
    code = """
import sys
from ganline.language.encoder import find_encoder
find_encoder()(["a bag"])
print(sorted({name.split(".")[0] for name in sys.modules} & {"transformers", "sentence_transformers", "torchvision"}))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "[]", result.stderr


def test_a_folder_of_ones_own_gives_the_same_vectors(encoder, folder) -> None:
    own = find_encoder(EncoderConfig(path=str(folder), sha256=sha256_file(folder / WEIGHTS)))
    assert torch.equal(own(TEXTS), encoder(TEXTS))
    assert (own.name, encoder.name) == ("mine", PACKAGED_NAME)
    assert own.sha256 == encoder.sha256


def test_another_checksum_is_refused_with_the_one_found(folder) -> None:
    with pytest.raises(ConfigError, match=sha256_file(folder / WEIGHTS)):
        find_encoder(EncoderConfig(path=str(folder), sha256="0" * 64))


@pytest.mark.parametrize("missing", [CONFIG, TOKENIZER, WEIGHTS])
def test_an_incomplete_folder_is_refused_by_the_missing_file(folder, missing) -> None:
    (folder / missing).unlink()
    with pytest.raises(ConfigError, match=missing):
        SentenceEncoder(folder)


@pytest.mark.parametrize(
    "plain", [{"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, {"pooling_mode": "cls"}]
)
def test_another_way_of_pooling_is_another_encoder(encoder, folder, plain) -> None:
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / CONFIG).write_text(json.dumps(plain))
    first = SentenceEncoder(folder)
    assert first.sha256 != encoder.sha256
    assert not torch.allclose(first(["a bag"]), encoder(["a bag"]), atol=0.1)


def library() -> Any:
    """sentence-transformers, where it is installed."""
    from ganline.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    return pytest.importorskip("sentence_transformers")


def save_with(folder: Path, change: Callable[[list[Any]], list[Any]], **settings: Any) -> Any:
    """The packaged encoder with other modules, saved by today's sentence-transformers; the library's own model."""
    model = library().SentenceTransformer(str(packaged_folder()), device="cpu")
    changed = library().SentenceTransformer(modules=change(list(model)), device="cpu", **settings)
    changed.save(str(folder))
    return changed


def pooled_by(mode: str) -> Callable[[list[Any]], list[Any]]:
    from sentence_transformers import models

    return lambda modules: [modules[0], models.Pooling(384, pooling_mode=mode), *modules[2:]]


def with_dense(modules: list[Any]) -> list[Any]:
    from sentence_transformers import models

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return [*modules[:2], models.Dense(384, 16)]


FOLDERS = {
    "as it is": (lambda: lambda modules: modules, {}, True),
    "max pooling": (lambda: pooled_by("max"), {}, False),
    "a dense layer": (lambda: with_dense, {}, False),
    "a prompt": (
        lambda: lambda modules: modules,
        {"prompts": {"query": "query: "}, "default_prompt_name": "query"},
        False,
    ),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_any_folder_that_sentence_transformers_saves_gives_its_vectors(encoder, tmp_path, kind) -> None:
    library()
    change, settings, is_light = FOLDERS[kind]
    model = save_with(tmp_path / "mine", change(), **settings)
    own = SentenceEncoder(tmp_path / "mine")
    expected = model.encode(TEXTS, convert_to_tensor=True, normalize_embeddings=True)
    assert torch.allclose(own(TEXTS), expected, atol=1e-5)
    assert (own.max_length, own.is_plain, own.through_library is None) == (256, is_light, is_light)
    assert len(own.sha256) == 64 and own.sha256 != encoder.sha256


def test_without_sentence_transformers_such_a_folder_is_one_message(folder, monkeypatch) -> None:
    modules = [{"type": f"sentence_transformers.models.{name}", "path": ""} for name in ("Transformer", "Dense")]
    (folder / "modules.json").write_text(json.dumps(modules))
    monkeypatch.setattr("ganline.language.encoder.is_installed", lambda name: name != "sentence_transformers")
    with pytest.raises(ConfigError, match=r"a module Dense: needs sentence-transformers") as caught:
        SentenceEncoder(folder)
    assert ".[study]" in str(caught.value)


def test_a_folder_that_names_code_from_elsewhere_is_refused(folder) -> None:
    (folder / "modules.json").write_text(json.dumps([{"type": "os.system", "path": ""}]))
    with pytest.raises(ConfigError, match=r"code from elsewhere: os\.system"):
        SentenceEncoder(folder)


@pytest.mark.parametrize(
    ("file", "plain"),
    [("1_Pooling/config.json", {"pooling_mode": "max"}), ("sentence_bert_config.json", {"do_lower_case": True})],
)
def test_a_folder_without_modules_can_ask_for_nothing_special(folder, file, plain) -> None:
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_text(json.dumps(plain))
    with pytest.raises(ConfigError, match="has no modules"):
        SentenceEncoder(folder)


def packaged_copy(monkeypatch, tmp_path: Path) -> Path:
    """A copy of the package of the encoder, in its place."""
    copy = tmp_path / "installed"
    shutil.copytree(packaged_folder(), copy / "model")
    (copy / "__init__.py").touch()
    spec = SimpleNamespace(origin=str(copy / "__init__.py"))
    monkeypatch.setattr("ganline.language.encoder_folder.importlib.util.find_spec", lambda name: spec)
    return copy / "model"


@pytest.mark.parametrize("file", PACKAGED)
def test_a_package_of_other_bytes_is_refused_with_what_to_do(monkeypatch, tmp_path, file) -> None:
    path = packaged_copy(monkeypatch, tmp_path) / file
    check_encoder()
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ConfigError, match=f"{path.name} has sha256 {sha256_file(path)}") as caught:
        find_encoder()
    assert PACKAGED[file] in str(caught.value) and "--force-reinstall" in str(caught.value)


def test_without_the_package_the_message_names_the_extra_and_a_folder(monkeypatch) -> None:
    monkeypatch.setattr("ganline.language.encoder_folder.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="not installed") as caught:
        check_encoder()
    assert ".[study]" in str(caught.value) and "--encoder" in str(caught.value)


def test_checksums_are_read_once_a_process(monkeypatch) -> None:
    check_encoder()
    monkeypatch.setattr("ganline.language.encoder_folder.sha256_file", lambda path: pytest.fail(f"{path} read again"))
    check_encoder()


def test_any_other_encoder_of_transformers_works(encoder, folder) -> None:
    from ganline.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    transformers = pytest.importorskip("transformers")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        size = {"dim": 8, "hidden_dim": 16, "n_layers": 1, "n_heads": 2, "vocab_size": 30522}
        net = transformers.DistilBertModel(transformers.DistilBertConfig(**size))
    (folder / WEIGHTS).unlink()
    net.save_pretrained(folder)
    own = SentenceEncoder(folder)
    found = own(["a dark sneaker"])
    assert found.shape == (1, 8)
    with torch.no_grad():
        states = net.eval()(input_ids=torch.tensor([own.tokenizer.encode("a dark sneaker").ids])).last_hidden_state
    assert torch.allclose(found, torch.nn.functional.normalize(states.mean(1)), atol=1e-6)


def test_weights_of_no_encoder_are_a_message(folder) -> None:
    (folder / CONFIG).write_text(json.dumps({"model_type": "nonsense", "hidden_size": 8}))
    with pytest.raises(ConfigError, match="could not be opened"):
        SentenceEncoder(folder)


@pytest.mark.parametrize("file", [CONFIG, TOKENIZER, WEIGHTS])
def test_a_damaged_file_is_a_message(folder, file) -> None:
    (folder / file).unlink()
    (folder / file).write_bytes(b"{ torn")
    with pytest.raises(ConfigError, match="could not be opened"):
        SentenceEncoder(folder)
    with pytest.raises(ConfigError, match="has sha256" if file == WEIGHTS else "could not be opened"):
        find_encoder(EncoderConfig(path=str(folder), sha256=sha256_file(packaged_folder() / WEIGHTS)))


def test_weights_that_lack_a_tensor_are_a_message(folder) -> None:
    from safetensors.torch import save_file

    (folder / WEIGHTS).unlink()
    save_file({"bert.embeddings.word_embeddings.weight": torch.zeros(4, 4)}, folder / WEIGHTS)
    with pytest.raises(ConfigError, match="could not be opened"):
        SentenceEncoder(folder)


def test_what_wants_more_than_tokens_is_a_message(folder) -> None:
    from ganline.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    transformers = pytest.importorskip("transformers")
    size = {"d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 30522}
    (folder / WEIGHTS).unlink()
    transformers.T5Model(transformers.T5Config(**size)).save_pretrained(folder)
    with pytest.raises(ConfigError, match="no vectors of tokens alone"):
        SentenceEncoder(folder)
