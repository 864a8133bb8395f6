"""The sentence encoder: equal to transformers' own, a function of the text alone, light."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ganline.errors import ConfigError
from ganline.files import sha256_file
from ganline.language.config import EncoderConfig
from ganline.language.encoder import (
    CONFIG,
    LONGEST_PROMPT,
    PACKAGED_NAME,
    TOKENIZER,
    WEIGHTS,
    SentenceEncoder,
    find_encoder,
    packaged_folder,
)

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


def test_another_way_of_pooling_is_another_encoder(encoder, folder) -> None:
    (folder / "1_Pooling").mkdir()
    pooling = folder / "1_Pooling" / CONFIG
    pooling.write_text(json.dumps({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}))
    first = SentenceEncoder(folder)
    assert first.sha256 != encoder.sha256
    assert not torch.allclose(first(["a bag"]), encoder(["a bag"]), atol=0.1)
    pooling.write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(ConfigError, match="max_tokens"):
        SentenceEncoder(folder)


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


def test_what_does_more_than_pool_is_refused(folder) -> None:
    modules = [{"type": f"sentence_transformers.models.{name}"} for name in ("Transformer", "Pooling", "Dense")]
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ConfigError, match="Dense"):
        SentenceEncoder(folder)


def test_a_tokenizer_that_needs_lower_case_first_is_refused(folder) -> None:
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 256, "do_lower_case": True}))
    with pytest.raises(ConfigError, match="lowers the case"):
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
