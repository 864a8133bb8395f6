"""params.yaml and its overlays: strict, with errors in the user's words."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ganline.config import SUCH_AS, load_config, parse, read_yaml
from ganline.errors import ConfigError
from ganline.files import read_json
from ganline.overlay import merge

ROOT = Path(__file__).parents[2]
PRESETS = sorted(path.stem for path in (ROOT / "presets").glob("*.yaml"))


def test_the_default_is_valid() -> None:
    assert load_config(ROOT).data.source.name == "fashion-mnist"


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_valid_and_has_a_model_name_of_its_own(name) -> None:
    config = parse(merge(read_yaml(ROOT / "params.yaml"), read_yaml(ROOT / "presets" / f"{name}.yaml")), source=name)
    assert config.register_.name == f"ganline-{name}"


@pytest.mark.parametrize("name", [None, *PRESETS])
def test_a_bound_on_the_distance_holds_for_both_extractors(name) -> None:
    overlay = {} if name is None else read_yaml(ROOT / "presets" / f"{name}.yaml")
    floors = parse(merge(read_yaml(ROOT / "params.yaml"), overlay), source=str(name)).promotion.floors
    assert floors.fd_max or floors.fd_ratio_max, "some bound on the primary extractor's distance"
    assert floors.fd_holdout_max or floors.fd_holdout_ratio_max, "and one on the holdout extractor's"


@pytest.mark.parametrize(("name", "row"), read_json(ROOT / "benchmarks/results/presets.json").items())
def test_bounds_are_near_what_was_measured(name, row) -> None:
    overlay = {} if name == "default" else read_yaml(ROOT / "presets" / f"{name}.yaml")
    floors = parse(merge(read_yaml(ROOT / "params.yaml"), overlay), source=name).promotion.floors
    for key, bound in (("fd", floors.fd_ratio_max), ("fd_second", floors.fd_holdout_ratio_max)):
        measured = row["metrics"][key]["ratio"]
        assert bound is not None and measured < bound <= max(10, 4 * measured), key


def with_change(change: dict) -> dict:
    return merge(read_yaml(ROOT / "params.yaml"), change)


SCHEDULE = "a schedule such as {start: 0.2, end: 0.02}"
MISTAKES = [
    ({"trian": {}}, "unknown key trian (did you mean train?); valid here: accelerate, bank, …"),
    ({"train": {"batchsize": 3}}, "train: unknown key batchsize (did you mean batch?); valid here: …"),
    (
        {"train": {"model": {"g_widht": 3}}},
        "train.model: unknown key g_widht (did you mean g_width?); pixelshuffle takes …",
    ),
    ({"train": {"batch": 1}}, "train.batch: found 1; should be greater than or equal to 2"),
    ({"train": {"batch": 2.5}}, "train.batch: found 2.5; should be a valid integer"),
    ({"train": None}, "train: found nothing; should be a mapping"),
    ({"train": {3: 4}}, "train[3]: found 3; keys should be strings"),
    ({"evaluate": {"seeds": [1, 2]}}, "evaluate.seeds: found [1, 2]; list should have at least 10 items"),
    ({"register": {"name": "a b"}}, "register.name: found 'a b'; string should match pattern …"),
    ({"train": {"init_from": {}}}, "train.init_from.model is missing"),
    # Validators of our own speak for themselves.
    ({"evaluate": {"seeds": list(range(10))}}, "evaluate.seeds holds train.seed (0): measure with other seeds"),
    ({"promotion": {"seeds": list(range(10))}}, "promotion.seeds holds 0, as train.seed or evaluate.seeds: …"),
    (
        {"evaluate": {"seeds": list(range(50, 60))}, "promotion": {"seeds": list(range(59, 69))}},
        "promotion.seeds holds 59, as train.seed or evaluate.seeds: …",
    ),
    ({"quality": {"seeds": [1, 2], "confirm_seeds": [2, 3]}}, "quality.confirm_seeds holds 2, as quality.seeds: …"),
    ({"bank": {"seed": 4001}, "quality": {"seeds": [4001, 4002]}}, "bank.seed (4001) is one of quality's seeds: …"),
    ({"llm": {"prompt_share": 0.95}}, "llm: unconditional_share and prompt_share leave no image for classes: …"),
    (
        {"teacher": {"guidance": 1.5}, "llm": {"unconditional_share": 0.0}},
        "teacher.guidance needs a model that was also told nothing: …",
    ),
    (
        {"students": {"ways": {"prompt": {"train": {"model": {"class_conditional": False}}}}}},
        "students: ways.prompt is told prompts, which name classes: …",
    ),
    ({"quality": {"confirm_seeds": [7, 7]}}, "quality.confirm_seeds: a seed stands there twice: …"),
    ({"llm": {"size": {"width": 96, "heads": 8}}}, "llm: size: heads are 12 long; …"),
    ({"promotion": {"seeds": [20] * 10}}, "promotion.seeds: a seed stands there twice: …"),
    ({"promotion": {"floors": {"coverage": 1}}}, "promotion.floors: unknown key coverage (did you mean coverage_min?…"),
    ({"train": {"objective": {"r1_gamma": -1}}}, "train.objective: r1_gamma goes down to -1.0; …"),
    # One of a few words.
    ({"train": {"watch": {"action": "go"}}}, "train.watch.action: 'go' is not valid; one of: stop, rollback"),
    ({"prepare": {"channels": 2}}, "prepare.channels: 2 is not valid; one of: 1, 3"),
    (
        {"train": {"augment": {"operations": ["flip", "cutuot"]}}},
        "train.augment.operations[1]: 'cutuot' is not valid (did you mean cutout?); one of: flip, …",
    ),
    # Variants.
    ({"data": {"source": {"name": "imagenet"}}}, "data.source.name: 'imagenet' is not valid; one of: fashion-mnist, …"),
    # A number, a schedule, or something adaptive.
    (
        {"train": {"objective": {"r1_gamma": "high"}}},
        f"train.objective.r1_gamma: 'high' is neither a number nor {SCHEDULE}",
    ),
    (
        {"train": {"objective": {"r1_gamma": None}}},
        f"train.objective.r1_gamma: nothing is neither a number nor {SCHEDULE}",
    ),
    (
        {"train": {"G_optimizer": {"betas": [0, "x"]}}},
        f"train.G_optimizer.betas[1]: 'x' is neither a number nor {SCHEDULE}",
    ),
    (
        {"train": {"augment": {"p": "often"}}},
        f"train.augment.p: 'often' is neither a number nor {SCHEDULE} nor an AdaConfig such as {{…",
    ),
    ({"train": {"augment": {"p": 2}}}, "train.augment.p: found 2; should be less than or equal to 1"),
    (
        {"train": {"augment": {"p": {"start": 0, "stop": 0.5}}}},
        "train.augment.p: unknown key stop (did you mean end?); a Schedule takes after, end, shape, start",
    ),
    (
        {"train": {"augment": {"p": {"start": 0, "kimgs": 5}}}},
        "train.augment.p: unknown key kimgs (did you mean kimg?); an AdaConfig takes every, kimg, p_max, start, target",
    ),
    ({"train": {"augment": {"p": {"target": 5}}}}, "train.augment.p.target: found 5; should be less than 1"),
    ({"train": {"augment": {"p": {"start": 0.9, "p_max": 0.5}}}}, "train.augment.p: start 0.9 is above p_max 0.5; …"),
    ({"train": {"objective": {"r1_gamma": {"start": 1}}}}, "train.objective.r1_gamma.end is missing"),
    (
        {"train": {"G_optimizer": {"betas": [0, {"start": 0.9, "end": 0.99, "shape": "cosin"}]}}},
        "train.G_optimizer.betas[1].shape: 'cosin' is not valid (did you mean cosine?); one of: cosine, linear",
    ),
    (
        {"train": {"G_optimizer": {"lr": {"begin": 1}}}},
        "train.G_optimizer.lr: unknown key begin; a Schedule takes after, end, shape, start",
    ),
]


def lines(content: dict) -> list[str]:
    """The lines of mistakes in the error."""
    with pytest.raises(ConfigError) as caught:
        parse(content, source="params.yaml")
    return [line.strip() for line in caught.value.found.splitlines()[1:]]


@pytest.mark.parametrize(("change", "expected"), MISTAKES, ids=lambda value: str(value)[:60])
def test_a_mistake_is_one_line_with_what_was_found_and_what_is_valid(change, expected) -> None:
    (line,) = lines(with_change(change))
    start, rest = expected.removesuffix("…"), expected.endswith("…")
    assert line.startswith(start) and len(line) > len(start) if rest else line == start


def test_a_missing_variant_is_told_with_those_that_exist() -> None:
    content = read_yaml(ROOT / "params.yaml")
    del content["train"]["model"]["name"]
    (line,) = lines(content)
    assert line.startswith("train.model.name is missing; one of: mlp, pixelshuffle, dcgan")
    del content["train"]["model"]
    assert lines(content) == ["train.model is missing"]


@pytest.mark.parametrize("kind", SUCH_AS)
def test_what_an_error_gives_as_an_example_is_valid(kind) -> None:
    assert kind.model_validate(yaml.safe_load(SUCH_AS[kind].removeprefix(" such as ")))


def test_two_mistakes_are_two_lines() -> None:
    change = {"train": {"batch": "many", "objective": {"r1_gamma": {"start": 1, "ende": 2, "shap": "linear"}}}}
    assert [line.split(";")[0] for line in lines(with_change(change))] == [
        "train.batch: found 'many'",
        "train.objective.r1_gamma: unknown key ende (did you mean end?)",
        "train.objective.r1_gamma: unknown key shap (did you mean shape?)",
    ]


def test_an_overlay_merges_key_by_key_but_replaces_variants() -> None:
    base = {"model": {"name": "a", "width": 3}, "batch": 4, "register": {"name": "x"}, "promotion": {"n": 9}}
    assert merge(base, {"batch": 8})["model"] == {"name": "a", "width": 3}
    assert merge(base, {"model": {"width": 5}})["model"] == {"name": "a", "width": 5}
    assert merge(base, {"model": {"name": "b"}})["model"] == {"name": "b"}
    assert merge(base, {"register": {"name": "y"}})["register"] == {"name": "y"}
    assert merge(base, {"promotion": {"min_improvement": 0.1}})["promotion"] == {"n": 9, "min_improvement": 0.1}


def test_a_missing_or_broken_file_is_a_clear_error(tmp_path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(tmp_path)
    (tmp_path / "params.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="is not YAML"):
        load_config(tmp_path)
