"""The encoder's exported network: the same embeddings, of each text alone; what cannot be exported stays as it is."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
import torch

from ganline.acceleration.encoding import FILES, export_encoder, open_encoder
from ganline.errors import BundleError
from ganline.language.encoder import SentenceEncoder, find_encoder
from ganline.language.encoder_folder import TOKENIZER, packaged_folder
from ganline.torchvision_shim import ensure_torchvision

TEXTS = ["a", "a dark sneaker", "seven, thin and slanted", "a picture of pale ankle boots " * 60]


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return find_encoder()


@pytest.fixture(scope="module")
def folder(encoder: SentenceEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("encoder")
    export_encoder(encoder, made)
    return made


def test_float32_is_torch_s_and_int8_is_near_for_texts_of_any_length(encoder, folder) -> None:
    plain = encoder(TEXTS)
    exact, small = (open_encoder(encoder, folder, form)(TEXTS) for form in ("onnx", "int8"))
    assert torch.allclose(exact, plain, atol=1e-5)
    cosines = (small * plain).sum(1)
    assert cosines.min() > 0.97 and not torch.allclose(small, plain, atol=1e-3)
    assert (folder / FILES["int8"]).stat().st_size < 0.7 * (folder / FILES["onnx"]).stat().st_size


@pytest.mark.parametrize("form", ["onnx", "int8"])
def test_an_embedding_stays_a_function_of_the_text_alone(form, encoder, folder) -> None:
    other = open_encoder(encoder, folder, form)
    together, alone = other(TEXTS), torch.cat([other([text]) for text in reversed(TEXTS)]).flip(0)
    assert torch.equal(together, alone) and torch.allclose(together.norm(dim=1), torch.ones(len(TEXTS)))
    assert other.identity == encoder.identity


def test_without_a_file_or_with_a_damaged_one_the_user_is_told(encoder, tmp_path) -> None:
    with pytest.raises(BundleError, match="does not exist"):
        open_encoder(encoder, tmp_path, "int8")
    (tmp_path / FILES["int8"]).write_bytes(b"torn")
    with pytest.raises(BundleError, match="is not an ONNX file"):
        open_encoder(encoder, tmp_path, "int8")


def test_an_encoder_that_runs_through_transformers_stays_as_it_is(encoder, tmp_path) -> None:
    other = copy.copy(encoder)
    other.is_plain = False
    assert open_encoder(other, tmp_path, "int8") is other


def test_a_small_encoder_that_reads_few_tokens_is_exported_too(tmp_path) -> None:
    """Fewer positions than the packaged one has, fewer tokens than the traced example, weights in half precision."""
    ensure_torchvision()
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = transformers.BertModel(transformers.BertConfig(vocab_size=30522, max_position_embeddings=6, **sizes))
    net.half().save_pretrained(tmp_path)
    shutil.copyfile(packaged_folder() / TOKENIZER, tmp_path / TOKENIZER)
    own = SentenceEncoder(tmp_path)
    assert own.is_plain and own.max_length == 6
    export_encoder(own, tmp_path)
    assert torch.allclose(open_encoder(own, tmp_path, "onnx")(TEXTS), own(TEXTS), atol=1e-5)


def test_equal_networks_give_equal_bytes(encoder, folder, tmp_path) -> None:
    export_encoder(encoder, tmp_path)
    assert all((tmp_path / name).read_bytes() == (folder / name).read_bytes() for name in FILES.values())
