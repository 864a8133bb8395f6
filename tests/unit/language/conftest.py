"""The packaged sentence encoder and the prompts of real digits, opened once."""

from __future__ import annotations

import pytest

from ganline.data.loader import Prepared
from ganline.language.captions import Captions, build_prompts, save_captions
from ganline.language.encoder import SentenceEncoder, find_encoder
from ganline.language.prompts import Prompts


@pytest.fixture(scope="session")
def encoder() -> SentenceEncoder:
    return find_encoder()


@pytest.fixture(scope="session")
def captions(encoder: SentenceEncoder, digits: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Captions:
    """Captions of three digits with one attribute, saved and read again."""
    folder = tmp_path_factory.mktemp("captions")
    save_captions(folder, *build_prompts(digits, encode=encoder, identity=encoder.identity, chosen=("thickness",)))
    return Captions(folder)


@pytest.fixture(scope="session")
def prompts(captions: Captions) -> Prompts:
    return captions.prompts
