"""Adherence: figures of real images that are what was asked, of images that are not, and of a painter."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from ganline.devices import pick
from ganline.images import to_network
from ganline.language.adherence import accuracy_by_class, adherence, measure_adherence
from ganline.language.attributes import HIGH, LOW, NONE
from ganline.language.prompts import KINDS, TRAIN, UNSEEN, number_of

PERFECT = torch.ones(3, dtype=torch.float64)


@pytest.fixture
def images(digits) -> torch.Tensor:
    return torch.from_numpy(np.array(digits.split("train").images))


@pytest.fixture
def labels(digits) -> torch.Tensor:
    return torch.from_numpy(digits.split("train").labels)


def test_real_images_show_what_their_own_concepts_say(prompts, captions, images, labels) -> None:
    found = adherence(images, captions.concepts("train"), classes=labels, accuracy=PERFECT, prompts=prompts)
    assert (found["n"], found["class_share"], found["class_ratio"], found["whole_share"]) == (400, 1.0, 1.0, 1.0)
    named = int((captions.concepts("train") % 3 != NONE).sum())
    assert found["attributes"] == {"thickness": {"n": named, "side_share": 1.0, "third_share": 1.0}}
    json.dumps(found, allow_nan=False)


def test_the_opposite_of_what_was_asked_is_found_out(prompts, captions, images, labels) -> None:
    concepts = captions.concepts("train")
    opposite = concepts // 3 * 3 + torch.tensor([NONE, HIGH, LOW])[concepts % 3]
    found = adherence(images, opposite, classes=labels, accuracy=PERFECT, prompts=prompts)
    assert found["class_share"] == 1.0
    assert found["attributes"]["thickness"]["side_share"] == 0.0
    assert found["attributes"]["thickness"]["third_share"] == 0.0
    assert found["whole_share"] == pytest.approx(float((concepts % 3 == NONE).double().mean()))


def test_an_image_of_the_class_at_random_is_right_half_and_a_third_of_the_time(prompts, images, labels) -> None:
    found = adherence(images, labels * 3 + HIGH, classes=labels, accuracy=PERFECT, prompts=prompts)
    assert found["attributes"]["thickness"]["side_share"] == pytest.approx(1 / 2, abs=0.01)
    assert found["attributes"]["thickness"]["third_share"] == pytest.approx(1 / 3, abs=0.01)


def test_the_extractors_own_errors_are_allowed_for(prompts, images, labels) -> None:
    seen = labels.clone()
    seen[::4] = (seen[::4] + 1) % 3
    accuracy = torch.full((3,), 0.75, dtype=torch.float64)
    found = adherence(images, labels * 3, classes=seen, accuracy=accuracy, prompts=prompts)
    assert (found["class_share"], found["class_expected"], found["class_ratio"]) == (0.75, 0.75, 1.0)
    assert found["attributes"] == {}
    only = adherence(images, labels * 3, classes=seen, accuracy=torch.zeros(3).double(), prompts=prompts)
    assert only["class_ratio"] is None


def classify(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sees class 2 in bright images, class 0 in others."""
    bright = images.double().mean((1, 2, 3)) > 127
    logits = torch.zeros(len(images), 3)
    logits[torch.arange(len(images)), 2 * bright.long()] = 1.0
    return logits, logits


def test_an_extractor_is_measured_by_class(digits) -> None:
    found = accuracy_by_class(classify, digits.split("test"), 3)
    assert found.tolist() == [1.0, 0.0, 0.0]
    assert accuracy_by_class(classify, digits.split("test"), 4)[3] == 0.0


def test_every_kind_is_painted_and_measured(prompts, captions, images) -> None:
    """A painter that looks a prompt's embedding up and shows a training image of that concept."""
    full = captions.concepts("train")
    example = {concept: int((full == concept).nonzero()[0]) for concept in full.unique().tolist()}
    asked: list[torch.Tensor] = []

    def paint(z: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        assert z.shape == (len(told), 5)
        asked.append(told)
        nearest = (told @ prompts.embeddings[TRAIN].T).argmax(1)
        return to_network(images[[example[int(concept)] for concept in prompts.concepts[TRAIN][nearest]]])

    def run(seed: int):
        settings = {"z_dim": 5, "classify": classify, "accuracy": PERFECT, "compute": pick("fp32"), "n": 100}
        return measure_adherence(paint, prompts, seed=seed, **settings)

    found = run(0)
    assert tuple(found) == KINDS
    for kind, figures in found.items():
        num = int((prompts.support[prompts.concepts[kind]] > 0).sum())
        assert figures["num_prompts"] == num
        assert figures["n"] % num == 0
        assert figures["n"] >= 100
    assert found[TRAIN]["attributes"]["thickness"] == {"n": 120, "side_share": 1.0, "third_share": 1.0}
    assert found[TRAIN]["class_share"] == pytest.approx(1 / 3)  # what `classify` knows: only zeros
    assert found[TRAIN]["worst_prompt"]["class_share"] == 0.0
    assert found[TRAIN]["worst_prompt"]["text"] in prompts.texts[TRAIN]
    assert found[UNSEEN]["attributes"]["thickness"]["side_share"] > 0.8
    assert run(0) == found
    assert sum(len(told) for told in asked) == 2 * sum(figures["n"] for figures in found.values())


def test_noise_is_a_function_of_seed_and_place(prompts) -> None:
    def drawn(seed: int, n: int) -> torch.Tensor:
        seen: list[torch.Tensor] = []

        def paint(z: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
            seen.append(z)
            return torch.zeros(len(z), 1, 16, 16)

        settings = {"z_dim": 2, "classify": classify, "accuracy": PERFECT, "compute": pick("fp32")}
        measure_adherence(paint, prompts, seed=seed, n=n, kinds=(UNSEEN,), **settings)
        return torch.cat(seen)

    many, few = drawn(0, 200), drawn(0, 10)
    assert torch.equal(many[: len(few)], few)
    assert not torch.equal(drawn(1, 10), few)
    assert len(many.unique(dim=0)) == len(many)


def test_a_number_is_a_concept_as_the_tests_take_it() -> None:
    assert [number_of(2, (level,)) for level in (NONE, LOW, HIGH)] == [6, 7, 8]
