"""Ways to put a GAN in the language model's place: what differs, and that no two share a training."""

from __future__ import annotations

from importlib import import_module
from itertools import combinations

import pytest
from pydantic import ValidationError

from ganline.language.config import StudentsConfig
from ganline.stages.students import student_recipe
from tests.unit.variants import train_section

WAYS = {
    "s1": {"what": "on data", "reals": "data"},
    "s2": {"what": "on the bank", "reals": "bank"},
    "s3": {"what": "on both", "reals": "both"},
    "s4": {"what": "paired", "reals": "both", "pair_weight": {"start": 2.0, "end": 0.0}},
    "narrow": {"what": "narrow", "train": {"total_kimg": 9.0, "model": {"g_width": 24}}, "seeds": [5]},
    "prompt": {"what": "told prompts", "prompts": True},
}


def students(**ways) -> StudentsConfig:
    section = train_section("pixelshuffle", "relativistic", conditional=True)
    return StudentsConfig.model_validate({"seeds": [0, 1], "train": section, "ways": WAYS | ways})


def test_a_way_changes_what_it_names_and_nothing_else() -> None:
    config = students()
    plain, narrow = (config.training(name, 0, z_dim=49) for name in ("s1", "narrow"))
    assert (narrow.model.g_width, narrow.total_kimg) == (24, 9.0) and narrow.model.d_width == plain.model.d_width
    deep = students(deep={"what": "x", "train": {"objective": {"r1_gamma": 0.5}}}).training("deep", 0, z_dim=49)
    assert deep.objective == plain.objective.model_copy(update={"r1_gamma": 0.5})
    assert plain.model.z_dim == narrow.model.z_dim == 49
    assert config.training("s4", 1, z_dim=49).objective.pair_weight != plain.objective.pair_weight
    assert config.training("prompt", 0, z_dim=49, prompt_dim=384).model.prompt_dim == 384
    assert config.seeds_of("s1") == (0, 1) and config.seeds_of("narrow") == (5,)


def test_a_way_that_is_not_paired_may_have_a_shorter_z() -> None:
    config = students(short={"what": "short", "train": {"model": {"z_dim": 16}}})
    assert config.training("short", 0, z_dim=49).model.z_dim == 16


def test_no_two_ways_or_seeds_share_a_recipe(tmp_path) -> None:
    config = students()
    recipes = {
        (name, seed): student_recipe(config.training(name, seed, z_dim=49), config.ways[name], tmp_path)
        for name in WAYS
        for seed in config.seeds_of(name)
    }
    assert not [pair for pair in combinations(recipes, 2) if recipes[pair[0]] == recipes[pair[1]]]


def test_a_way_whose_words_change_is_not_trained_again(tmp_path) -> None:
    before, after = students(), students(s2={"what": "other words", "reals": "bank"})
    section = before.training("s2", 0, z_dim=49)
    assert student_recipe(section, before.ways["s2"], tmp_path) == student_recipe(section, after.ways["s2"], tmp_path)


@pytest.mark.parametrize(
    ("way", "told"),
    [
        ({"what": "x", "train": {"model": {"g_widht": 3}}}, "ways.bad is no training"),
        ({"what": "x", "train": {"batch": 0}}, "ways.bad is no training"),
        ({"what": "x", "pair_weight": 1.0, "train": {"model": {"z_dim": 16}}}, "its z_dim follows from that"),
        ({"what": "x", "reals": "dreams"}, "Input should be"),
        ({"what": "x", "train": {"model": None}}, "ways.bad is no training"),
        ({"what": "x", "prompts": True, "reals": "bank"}, "only real images have captions"),
        ({"what": "x", "prompts": True, "pair_weight": 1.0}, "only real images have captions"),
        ({"what": "x", "train": {"seed": 3}}, r"its seeds are in ways\.bad\.seeds"),
        ({"what": "x", "mixture": True, "seeds": [3]}, "mixture of one training"),
        ({"what": "x", "seeds": [-1]}, "greater than or equal to 0"),
        ({"what": "x", "seeds": [2, 2]}, "a seed stands there twice"),
        ({"what": "x", "seeds": []}, "no seed stands there"),
        ({"what": "s1 in other words", "seeds": [1, 2]}, r"ways\.s1 and ways\.bad are one training of one seed"),
    ],
)
def test_a_way_that_is_no_training_is_refused_when_params_are_read(way, told) -> None:
    with pytest.raises(ValidationError, match=told):
        students(bad=way)


@pytest.mark.parametrize("name", ["../x", "teacher", "real"])
def test_a_way_needs_a_plain_name_that_nothing_else_has(name) -> None:
    with pytest.raises(ValidationError, match="cannot name a way"):
        students(**{name: {"what": "x"}})


def test_one_way_at_least_is_told_no_prompts() -> None:
    section = train_section("pixelshuffle", "relativistic", conditional=True)
    with pytest.raises(ValidationError, match="name one without prompts"):
        StudentsConfig.model_validate({"train": section, "ways": {"prompt": WAYS["prompt"]}})


def test_the_pairing_is_a_ways_own() -> None:
    section = train_section("pixelshuffle", "relativistic", conditional=True)
    section["objective"] = dict(section["objective"]) | {"pair_weight": 1.0}
    with pytest.raises(ValidationError, match=r"set ways\.NAME\.pair_weight"):
        StudentsConfig.model_validate({"train": section, "ways": {"s1": WAYS["s1"]}})


def test_what_every_student_would_ignore_is_refused() -> None:
    section = train_section("pixelshuffle", "relativistic", conditional=True) | {"seed": 4}
    with pytest.raises(ValidationError, match="decide nothing"):
        StudentsConfig.model_validate({"train": section, "ways": {"s1": WAYS["s1"]}})


def test_captions_code_decides_those_alone_that_read_captions(tmp_path, monkeypatch) -> None:
    config = students()

    def recipes() -> dict[str, str]:
        both = ("s1", "prompt")
        return {name: student_recipe(config.training(name, 0), config.ways[name], tmp_path) for name in both}

    before = recipes()
    monkeypatch.setattr(import_module("ganline.stages.students"), "WORDS", ("language/captions.py",))
    after = recipes()
    assert after["s1"] == before["s1"] and after["prompt"] != before["prompt"]
