"""params.yaml and its overlays: strict, with errors in the user's words."""

from __future__ import annotations

from pathlib import Path

import pytest

from ganline.config import load_config, merge, parse, read_yaml
from ganline.errors import ConfigError

ROOT = Path(__file__).parents[2]
PRESETS = sorted(path.stem for path in (ROOT / "presets").glob("*.yaml"))


def test_the_default_is_valid() -> None:
    assert load_config(ROOT).data.source.name == "fashion-mnist"


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_valid_and_has_a_model_name_of_its_own(name) -> None:
    config = parse(merge(read_yaml(ROOT / "params.yaml"), read_yaml(ROOT / "presets" / f"{name}.yaml")), source=name)
    assert config.register_.name == f"ganline-{name}"


def with_change(change: dict) -> dict:
    return merge(read_yaml(ROOT / "params.yaml"), change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"trian": {}}, ["trian: unknown key (did you mean train?)", "evaluate"]),
        ({"train": {"batchsize": 3}}, ["train.batchsize: unknown key", "batch"]),
        ({"train": {"model": {"g_widht": 3}}}, ["g_widht: unknown key (did you mean g_width?)", "z_dim"]),
        ({"train": {"G_optimizer": {"lr": {"begin": 1}}}}, ["begin: unknown key", "start"]),
        ({"train": {"batch": 1}}, ["train.batch", "greater than or equal to 2"]),
        ({"data": {"source": {"name": "imagenet"}}}, ["data.source", "fashion-mnist"]),
        ({"evaluate": {"seeds": [0, 1, 2]}}, ["measure with other seeds"]),
    ],
)
def test_a_mistake_is_named_with_what_is_valid(change, words) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(with_change(change), source="params.yaml")
    for word in words:
        assert word in str(caught.value)


def test_an_overlay_merges_key_by_key_but_replaces_variants() -> None:
    base = {"model": {"name": "a", "width": 3}, "batch": 4, "register": {"name": "x", "floors": {"fd_max": 1}}}
    assert merge(base, {"batch": 8})["model"] == {"name": "a", "width": 3}
    assert merge(base, {"model": {"width": 5}})["model"] == {"name": "a", "width": 5}
    assert merge(base, {"model": {"name": "b"}})["model"] == {"name": "b"}
    assert merge(base, {"register": {"name": "y"}})["register"] == {"name": "y", "floors": {"fd_max": 1}}


def test_a_missing_or_broken_file_is_a_clear_error(tmp_path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(tmp_path)
    (tmp_path / "params.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="is not YAML"):
        load_config(tmp_path)
