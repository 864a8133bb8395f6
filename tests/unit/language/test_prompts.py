"""Known prompts: saved whole, drawn as often as in training, and how far others are from them."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from ganline.errors import BundleError, ConfigError
from ganline.language.attributes import HIGH, LOW, NONE
from ganline.language.captions import least_similarity
from ganline.language.prompts import FILES, KINDS, TRAIN, UNSEEN, Prompts, load_prompts, number_of, save_prompts
from ganline.seeds import generator


def test_saving_and_loading_is_the_identity(prompts: Prompts, tmp_path) -> None:
    unknown = prompts.marks.clone()
    unknown[1] = torch.nan
    odd = dataclasses.replace(prompts, marks=unknown)
    save_prompts(odd, tmp_path)
    again = load_prompts(tmp_path)
    for field in ("labels", "attributes", "encoder", "texts", "least_similarity"):
        assert getattr(again, field) == getattr(odd, field)
    assert torch.equal(again.marks.nan_to_num(-1), unknown.nan_to_num(-1))
    assert torch.equal(again.counts, odd.counts)
    for kind in KINDS:
        assert torch.equal(again.embeddings[kind], odd.embeddings[kind])
        assert torch.equal(again.concepts[kind], odd.concepts[kind])


@pytest.mark.parametrize("name", FILES)
def test_damaged_or_missing_files_are_a_message(prompts: Prompts, tmp_path, name) -> None:
    save_prompts(prompts, tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(BundleError, match="damaged"):
        load_prompts(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(BundleError, match=name):
        load_prompts(tmp_path)


def test_support_counts_the_images_that_a_concept_is_true_of(prompts: Prompts, captions) -> None:
    full = captions.concepts("train")
    for label in range(3):
        own = full[full // 3 == label]
        assert prompts.support[number_of(label, (NONE,))] == len(own)
        for level in (LOW, HIGH):
            assert prompts.support[number_of(label, (level,))] == (own % 3 == level).sum() > 20


def test_prompts_for_a_class_are_as_frequent_as_in_training(prompts: Prompts, captions) -> None:
    labels = torch.tensor([0, 1, 2]).repeat(4000)
    embeddings, said = prompts.prompts_for(labels, generator(3, "prompt"))
    assert torch.equal(said // 3, labels)
    assert torch.equal((embeddings @ prompts.embeddings[TRAIN].T).argmax(1) // prompts.num_phrasings, said)
    # A class's lowest third is said to be so half of the time.
    assert (said % 3 == LOW).double().mean() == pytest.approx(1 / 6, abs=0.015)
    again = prompts.prompts_for(labels, generator(3, "prompt"))
    assert torch.equal(again[0], embeddings)
    assert torch.equal(prompts.tell(labels, generator(3, "prompt")), embeddings)


def test_a_class_without_training_images_is_called_by_its_name(prompts: Prompts) -> None:
    counts = prompts.counts.clone()
    counts[3:6] = 0
    odd = dataclasses.replace(prompts, counts=counts)
    assert set(odd.prompts_for(torch.ones(50, dtype=torch.int64), generator(0, "x"))[1].tolist()) == {3}
    assert not set(odd.of_kind(UNSEEN)[1].tolist()) & {3, 4, 5}


def test_a_concept_is_described_in_its_first_words(prompts: Prompts) -> None:
    def first_text(concept: int) -> str:
        return prompts.texts[TRAIN][concept * prompts.num_phrasings]

    assert first_text(number_of(2, (HIGH,))) == "a thick two"
    assert first_text(number_of(0, (NONE,))) == "a zero"


def test_unseen_sentences_are_nearest_to_their_own_class(prompts: Prompts) -> None:
    embeddings, concepts, texts = prompts.of_kind(UNSEEN)
    nearest = prompts.concepts[TRAIN][(embeddings @ prompts.embeddings[TRAIN].T).argmax(1)]
    assert (nearest // 3 == concepts // 3).all()
    assert tuple(texts) == prompts.texts[UNSEEN]
    assert (nearest == concepts).double().mean() > 0.9


def test_a_known_prompt_is_near_and_a_strange_one_is_far_with_its_nearest(prompts: Prompts, encoder) -> None:
    for text in ("a thick two", "please, a thick two"):
        assert prompts.warning(text, encoder([text])[0]) is None
    cow = encoder(["a purple cow"])[0]
    text, similarity = prompts.nearest(cow)
    found = prompts.warning("a purple cow", cow)
    assert found is not None
    assert "'a purple cow' is far" in found
    assert repr(text) in found
    assert f"{similarity:.2f}" in found
    long = "the stock market fell " * 20
    assert len(str(prompts.warning(long, encoder([long])[0]))) < 250


def test_far_is_what_almost_no_unseen_sentence_is(prompts: Prompts) -> None:
    own = (prompts.embeddings[UNSEEN] @ prompts.embeddings[TRAIN].T).max(1).values
    assert (own < prompts.least_similarity).double().mean() < 0.04
    assert own.min() <= prompts.least_similarity
    same = {TRAIN: prompts.embeddings[TRAIN], UNSEEN: prompts.embeddings[TRAIN]}
    assert least_similarity(same) == pytest.approx(1.0, abs=1e-5)


def test_another_encoder_is_refused(prompts: Prompts, encoder) -> None:
    prompts.check_encoder(encoder.identity)
    with pytest.raises(ConfigError, match="all-MiniLM"):
        prompts.check_encoder(encoder.identity | {"sha256": "0" * 64})
