"""Captions: words for classes and levels, concepts of images, draws that are true of each image."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ganline.data.loader import Prepared
from ganline.language.attributes import HIGH, LOW, NONE, measured
from ganline.language.captions import JITTER, SPLITS, Captions, build_prompts, texts_of
from ganline.language.phrasing import HELD_OUT, SYNONYMS, TRAINED, noun, nouns, sentence
from ganline.language.prompts import (
    ADJECTIVES,
    KINDS,
    NOUNS,
    TRAIN,
    UNSEEN,
    concepts_of,
    number_of,
    parts_of,
    true_concepts,
)
from ganline.seeds import generator

FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("T-shirt/top", "t-shirt"),
        ("Ankle boot", "ankle boot"),
        ("Trouser", "pair of trousers"),
        ("7", "seven"),
        ("407", "four zero seven"),
        ("hot_dog", "hot dog"),
        ("Boat (small)", "boat"),
        ("Häuser", "häuser"),
        ("/", "/"),
    ],
)
def test_a_label_becomes_a_noun(label, expected) -> None:
    assert noun(label) == expected


def test_labels_that_would_be_called_the_same_keep_their_whole_name() -> None:
    assert nouns(("boot/short", "boot/long", "bag")) == ("boot short", "boot long", "bag")


@pytest.mark.parametrize(
    ("template", "adjectives", "expected"),
    [
        (TRAINED[0], ("dark",), "a dark ankle boot"),
        (TRAINED[0], (), "an ankle boot"),
        (TRAINED[2], ("thin", "slanted"), "ankle boot, thin and slanted"),
        (TRAINED[6], ("dark",), "an ankle boot that is dark"),
        (("{a}", "{a}"), ("upright",), "an upright ankle boot"),
        (("{a}", "{a}"), ("uniform",), "a uniform ankle boot"),
    ],
)
def test_sentences_are_english(template, adjectives, expected) -> None:
    assert sentence(template, "ankle boot", adjectives) == expected


def test_there_are_enough_phrasings_and_all_differ() -> None:
    assert len(TRAINED) >= 6
    assert len(HELD_OUT) >= 3
    for labels, attributes in ((FASHION, ("brightness",)), (tuple("0123456789"), ("thickness", "slant"))):
        texts, concepts = texts_of(labels, attributes)
        for kind in KINDS:
            assert len(texts[kind]) == len(concepts[kind]) > 0
            assert len(set(texts[kind])) == len(texts[kind])
        assert concepts[TRAIN].tolist() == [c for c in range(len(labels) * 3 ** len(attributes)) for _ in TRAINED]


def test_what_is_held_out_is_never_trained_on() -> None:
    for labels, attributes in ((FASHION, ("brightness",)), (tuple("0123456789"), ("thickness", "slant"))):
        texts, _ = texts_of(labels, attributes)
        trained = set(texts[TRAIN])
        words = {word.strip(",") for text in trained for word in text.split()}
        for kind in KINDS[1:]:
            assert not trained & set(texts[kind])
        for text in texts[NOUNS]:
            assert not any(re.search(rf"\b{name}\b", text) for name in nouns(labels)), text
        for text in texts[ADJECTIVES]:
            assert {word.strip(",") for word in text.split()} - words, text


def test_synonyms_name_no_other_class() -> None:
    for labels in (FASHION, tuple("0123456789"), ("airplane", "automobile", "bird", "cat", "truck", "ship")):
        assert not {SYNONYMS[name] for name in nouns(labels)} & set(nouns(labels))


def test_a_concept_is_its_class_and_levels() -> None:
    for concept in range(5 * 9):
        label, levels = parts_of(concept, 2)
        assert number_of(label, levels) == concept
        assert concepts_of(torch.tensor([label]), torch.tensor([levels])).tolist() == [concept]
    assert parts_of(7, 0) == (7, ())


def test_what_is_true_of_an_image_is_its_class_with_any_of_its_named_levels() -> None:
    rows, counts = true_concepts(2, 2)
    full = number_of(1, (LOW, HIGH))
    expected = {number_of(1, levels) for levels in ((NONE, NONE), (LOW, NONE), (NONE, HIGH), (LOW, HIGH))}
    assert set(rows[full, : counts[full]].tolist()) == expected
    plain = number_of(1, (NONE, NONE))
    assert rows[plain, : counts[plain]].tolist() == [plain]
    assert true_concepts(3, 0)[0].tolist() == [[0], [1], [2]]


def test_every_image_has_the_concept_that_measuring_it_gives(captions: Captions, digits: Prepared) -> None:
    marks = captions.prompts.marks
    for name in SPLITS:
        split = digits.split(name)
        values = measured(("thickness",), torch.from_numpy(np.array(split.images)))[:, 0]
        for concept, value, label in zip(captions.concepts(name).tolist(), values, split.labels, strict=True):
            low, _, high = marks[label, 0]
            assert concept == number_of(int(label), (LOW if value < low else HIGH if value > high else NONE,))


def test_a_drawn_caption_is_true_of_its_image(captions: Captions) -> None:
    prompts, rows = captions.prompts, torch.arange(400).repeat(20)
    true, counts = prompts.true
    full = captions.concepts("train")[rows]
    drawn, said = prompts.draw(full, generator(0, "caption"))
    assert (drawn.shape, drawn.dtype) == ((8000, 384), torch.float32)
    # Which text it was: the one that it is.
    text = (drawn @ prompts.embeddings[TRAIN].T).argmax(1)
    assert torch.equal(prompts.embeddings[TRAIN][text], drawn)
    assert torch.equal(prompts.concepts[TRAIN][text], said)
    assert all(c in true[f, : counts[f]] for c, f in zip(said.tolist(), full.tolist(), strict=True))
    # Every phrasing comes up, and what is true equally often.
    assert len(text.unique()) == int((prompts.support > 0).sum()) * len(TRAINED)
    named = counts[full] == 2
    assert (said == full)[named].double().mean() == pytest.approx(0.5, abs=0.03)


def test_training_sees_captions_through_noise(captions: Captions) -> None:
    full = captions.concepts("train")[torch.arange(300)]
    plain = captions.prompts.draw(full, generator(0, "caption"))[0]
    told = captions.draw(torch.arange(300), split="train", generator=generator(0, "caption"))
    assert torch.allclose(told.norm(dim=1), torch.ones(300), atol=1e-5)
    # Noise of length JITTER, at right angles to almost anything: cos = 1 / sqrt(1 + JITTER^2).
    cosine = (told * plain).sum(1)
    assert cosine.mean() == pytest.approx((1 + JITTER**2) ** -0.5, abs=0.01)
    assert cosine.std() < 0.05


def test_a_draw_is_a_function_of_rows_and_generator(captions: Captions) -> None:
    def draw(seed: int) -> torch.Tensor:
        return captions.draw(torch.arange(64), split="val" if seed > 9 else "train", generator=generator(seed, "x", 3))

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    with pytest.raises(IndexError):
        captions.draw(torch.tensor([60]), split="val", generator=generator(0, "x"))


def test_no_attribute_leaves_the_class_alone(digits, encoder) -> None:
    prompts, images = build_prompts(digits, encode=encoder, identity=encoder.identity, chosen=())
    assert torch.equal(images["train"], torch.from_numpy(digits.split("train").labels))
    assert len(prompts.texts[TRAIN]) == 3 * len(TRAINED)
    assert not prompts.texts[ADJECTIVES]
    assert len(prompts.of_kind(UNSEEN)[0]) == 3 * len(HELD_OUT)


def test_unlabelled_images_are_things(encoder, digits, tmp_path) -> None:
    from ganline.files import write_json

    for name in SPLITS:
        split = digits.split(name)
        np.save(tmp_path / f"{name}_images.npy", split.images)
        np.save(tmp_path / f"{name}_labels.npy", np.full_like(split.labels, -1))
    write_json(tmp_path / "dataset.json", {"name": "mine", "labels": [], "resolution": 16, "channels": 1})
    prompts, images = build_prompts(Prepared(tmp_path), encode=encoder, identity=encoder.identity)
    assert "a dark thing" in prompts.texts[TRAIN]
    assert torch.bincount(images["train"]).min() > 100


def test_the_stage_writes_what_the_reader_reads(digits, tmp_path) -> None:
    from ganline.language.config import CaptionsConfig
    from ganline.stages.captions import captions as stage
    from ganline.stages.places import CAPTIONS, PREPARE

    (tmp_path / PREPARE).parent.mkdir()
    (tmp_path / PREPARE).symlink_to(digits.folder)
    config = SimpleNamespace(captions=CaptionsConfig(attributes=()))
    stage(config, tmp_path)  # type: ignore[arg-type]
    first = {path.name: path.read_bytes() for path in (tmp_path / CAPTIONS).iterdir()}
    assert Captions(tmp_path / CAPTIONS).prompts.attributes == ()
    stage(config, tmp_path)  # type: ignore[arg-type]
    assert {path.name: path.read_bytes() for path in (tmp_path / CAPTIONS).iterdir()} == first
