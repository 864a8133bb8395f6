"""The stage that makes a tokenizer: what it leaves, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from ganline.config import Config, load_config
from ganline.errors import TrainingError
from ganline.files import read_json
from ganline.language.sections import KMeansConfig
from ganline.language.tokenizers import load_tokenizer
from ganline.stages import language
from ganline.stages.places import PREPARE, TOKENIZER
from tests.unit.conftest import make_digits

ROOT = Path(__file__).parents[3]


def of_means() -> Config:
    """The repository's configuration with a small k-means tokenizer."""
    return load_config(ROOT).model_copy(update={"tokenizer": KMeansConfig(vocab=32, patch=4, sample=2000)})


def test_a_tokenizer_is_left_with_every_token_and_what_they_keep(tmp_path) -> None:
    make_digits(tmp_path / PREPARE)
    language.tokenizer(of_means(), tmp_path)
    codes = read_json(tmp_path / TOKENIZER / "codes.json")
    assert 0.7 < codes["explained"] < 1.0 and 10 < codes["perplexity"] < codes["used"] <= 32
    assert {path.name for path in (tmp_path / TOKENIZER).glob("*.npy")} == {
        f"{name}_tokens.npy" for name in ("train", "val", "test")
    }


def test_a_tokenizer_that_learned_nothing_is_refused_and_the_last_one_stays(tmp_path, monkeypatch) -> None:
    make_digits(tmp_path / PREPARE)
    config = of_means()
    language.tokenizer(config, tmp_path)
    kept = load_tokenizer(tmp_path / TOKENIZER)
    fit = language.fitted_tokenizer

    def black(*args):
        made = fit(*args)
        made.codes.data.fill_(-1.0)
        return made

    monkeypatch.setattr(language, "fitted_tokenizer", black)
    with pytest.raises(TrainingError, match="learned nothing: as if of 1 codes"):
        language.tokenizer(config, tmp_path)
    assert load_tokenizer(tmp_path / TOKENIZER).codes.equal(kept.codes)
