"""Every remedy names commands, options, keys and files that exist, and says where a key is set."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
import typer
import yaml

from ganline import where_set
from ganline.cli import app
from ganline.config import Config, fields_of, is_key, read_yaml
from ganline.errors import ConfigError
from ganline.overlay import merge
from ganline.workspace import Workspace, folder_overlay, hold, isolate
from tests.unit.checkouts import make_checkout

ROOT = Path(__file__).parents[2]
SOURCES = [*sorted((ROOT / "src").rglob("*.py")), *sorted((ROOT / "flows").rglob("*.py"))]
# What stands for a value that is known only when the message is made.
FILLED = {"section": "extractor", "resolution + 1": "64"}
COMMANDS = {
    name: {option for each in command.params for option in each.opts}
    for name, command in typer.main.get_command(app).commands.items()  # type: ignore[attr-defined]
}
MAKE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKE, re.MULTILINE))
SAID = re.findall(r"^SAID := (.*)$", MAKE, re.MULTILINE)[0].split()
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].keys()
# Files and folders that a remedy may name though no clone holds them: what made them is named beside each.
MADE = {
    "model.json": "export",
    "generator.safetensors": "export",
    "artifacts/model": "export",
    "state.json": "train",
    "refused.csv": "validate",
    "quarantine.csv": "validate",
}


def literal(node: ast.expr) -> str:
    """The text of a constant or an f-string; `…` for what is not known before it runs."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(map(literal, parts))
        case ast.FormattedValue(value=inner):
            return FILLED.get(ast.unparse(inner), "…")
        case ast.BinOp(left=left, right=right):
            return literal(left) + literal(right)
    return "…"


def remedies() -> list[tuple[str, str]]:
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg in ("remedy", "expected"):
                found.append((f"{path.relative_to(ROOT)}:{node.value.lineno}", literal(node.value)))
    assert len(found) > 150
    return found


def faults(text: str) -> list[str]:
    """What a remedy names and nobody has."""
    wrong = []
    for name, options in re.findall(r"\bganline ([a-z]+)((?: --[a-z-]+)*)", text):
        if name not in COMMANDS:
            wrong.append(f"ganline {name}")
        else:
            wrong += [f"ganline {name} {option}" for option in options.split() if option not in COMMANDS[name]]
    others = r"\b(?:pip|git|apt-get|python|docker) [^)`,;]*"  # another tool's options are not ours
    ours = re.sub(others, "", text)
    everywhere = set().union(*COMMANDS.values()) | {"--debug", "--quiet", "--help"}
    wrong += [option for option in re.findall(r"(?<!\S)\(?(--[a-z-]+)", ours) if option not in everywhere]
    for name in re.findall(r"(?:`|run |: )make ([a-z-]+)", text):
        wrong += [] if name in TARGETS else [f"make {name}"]
    wrong += [f"{name}=" for name in re.findall(r"\b(?<!GANLINE_)([A-Z]{3,})=", text) if name not in SAID]
    wrong += [name for name in re.findall(r"\bdvc repro ([a-z_]+)", text) if name not in STAGES]
    for name in re.findall(r"\bPRESET=([a-z][a-z0-9-]+)", text):
        wrong += [] if (ROOT / "presets" / f"{name}.yaml").is_file() else [f"PRESET={name}"]
    sections = fields_of(Config)
    for key in where_set.KEY.findall(text):
        is_file = (ROOT / key).exists() or key in MADE
        wrong += [] if key.split(".")[0] not in sections or is_key(key) or is_file else [key]
    for name in re.findall(r"(?<![\w…./])((?:[a-z-]+/)*[a-z_-]+\.(?:yaml|txt|md|json|csv|py))\b", text):
        wrong += [] if (ROOT / name).exists() or name in MADE else [name]
    return wrong


@pytest.mark.parametrize(("place", "text"), remedies(), ids=lambda each: each if ":" in each[-6:] else "")
def test_a_remedy_names_only_what_exists(place, text) -> None:
    assert faults(text) == [], place


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("run `ganline evalute`", "ganline evalute"),
        ("run `ganline fetch --acept`", "ganline fetch --acept"),
        ("run `make istall`", "make istall"),
        ("train longer (extractor.epoch)", "extractor.epoch"),
        ("see presets/nothing.yaml", "presets/nothing.yaml"),
        ("run `dvc repro encoder`", "encoder"),
        ("or make run PRESET=digit", "PRESET=digit"),
        ("say why: --reasons TEXT", "--reasons"),
    ],
)
def test_a_wrong_name_would_be_found(text, fault) -> None:
    assert fault in faults(text)


@pytest.fixture
def base(tmp_path, monkeypatch) -> Workspace:
    monkeypatch.delenv("GANLINE_HOME", raising=False)
    return make_checkout(tmp_path / "checkout")


def test_in_the_checkout_keys_are_set_in_params_yaml(base) -> None:
    assert where_set.where_set(base.root, "extractor.epochs") == "in params.yaml"


def test_for_a_folder_of_images_the_preset_decides_what_it_sets_and_the_command_what_it_was_told(
    base, tmp_path
) -> None:
    (tmp_path / "cats").mkdir()
    name, overlay = folder_overlay(base, tmp_path / "cats", 32, None)
    workspace = base.beside(name)
    isolate(base, workspace, overlay)
    preset, params = base.root / "presets" / "folder.yaml", base.root / "params.yaml"
    places = {
        "extractor.epochs": f"in {preset}",
        "validate.quarantine": f"in {preset}",
        "data.source.max_pixels": f"in {preset}",  # another kind of source than that of params.yaml
        "train.objective.r1_gamma": f"in {params}",
        "tracking.tensorboard": f"in {params}",
        "data.source.path": "by DATA=…",
        "prepare.resolution": "by RES=…",
        "register.name": "by NAME=…",
    }
    assert {key: where_set.where_set(workspace.root, key) for key in places} == places
    # … and following it has an effect, where a change of the workspace's own params.yaml has none.
    content = read_yaml(preset)
    content["extractor"]["epochs"] = 9
    preset.write_text(yaml.safe_dump(content))
    own = workspace.root / "params.yaml"
    own.write_text(own.read_text().replace("epochs: 5", "epochs: 77"))
    isolate(base, workspace, folder_overlay(base, tmp_path / "cats", 32, None)[1])
    assert read_yaml(workspace.root / "params.yaml")["extractor"]["epochs"] == 9


def leaves(content: dict, prefix: str = "") -> list[str]:
    found = []
    for key, value in content.items():
        found += leaves(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [f"{prefix}{key}"]
    return found


def changed(content: dict, key: str, to: object) -> dict:
    """The mapping with one dotted key changed."""
    first, _, rest = key.partition(".")
    return content | {first: changed(content.get(first) or {}, rest, to) if rest else to}


@pytest.mark.parametrize("preset", ["folder", "cifar10-r3gan", "speedup-tiny"])
def test_a_change_of_any_key_where_it_is_said_to_be_set_has_an_effect(preset, base, monkeypatch) -> None:
    monkeypatch.setattr(where_set, "mapping", cache(where_set.mapping))
    workspace, name = base.beside("folder-cats-64" if preset == "folder" else preset), f"presets/{preset}.yaml"
    params, overlay = read_yaml(base.root / "params.yaml"), read_yaml(base.root / name)
    workspace.root.mkdir(parents=True)
    (workspace.root / "params.yaml").write_text(yaml.safe_dump(merge(params, overlay)))
    keys = [key for key in leaves(merge(params, overlay)) if not key.endswith(".name")]
    assert len(keys) > 60
    for key in keys:
        place = where_set.where_set(workspace.root, key)
        if place == f"in {base.root / 'params.yaml'}":
            now = merge(changed(params, key, "other"), overlay)
        else:
            assert place == f"in {base.root / name}", key
            now = merge(params, changed(overlay, key, "other"))
        assert where_set.value(now, key) == "other", (key, place)


def test_a_message_ends_with_the_places_of_its_keys(base, tmp_path, monkeypatch) -> None:
    (tmp_path / "cats").mkdir()
    name, overlay = folder_overlay(base, tmp_path / "cats", None, None)
    isolate(base, base.beside(name), overlay)
    monkeypatch.chdir(base.beside(name).root)
    error = ConfigError(
        "too low", expected="at least 0.3 (extractor.min_accuracy)", remedy="train longer (extractor.epochs)"
    )
    last = where_set.with_places(error).splitlines()[-1]
    assert last == f"  (extractor.min_accuracy, extractor.epochs: set in {base.root / 'presets' / 'folder.yaml'})"
    monkeypatch.chdir(tmp_path)
    assert where_set.with_places(error) == str(error)  # no project here


def test_a_message_is_printed_where_its_places_cannot_be_found(base, tmp_path, monkeypatch) -> None:
    error = ConfigError("too low", expected="at least 0.3 (extractor.min_accuracy)")
    feature, copy, gone = tmp_path / "feature", tmp_path / "copy", tmp_path / "gone"
    subprocess.run(["git", "-C", base.root, "worktree", "add", "-q", "--detach", feature], check=True)
    shutil.copytree(feature, copy)
    gone.mkdir()
    for folder in (copy, gone):
        monkeypatch.chdir(folder)
        if folder == gone:
            gone.rmdir()
        assert where_set.with_places(error) == str(error)


def test_a_preset_s_mistake_names_the_preset(base) -> None:
    (base.root / "presets" / "wrong.yaml").write_text("train: {batch: many}\n")
    with pytest.raises(ConfigError) as caught, hold(base.beside("wrong")):
        isolate(base, base.beside("wrong"), read_yaml(base.root / "presets" / "wrong.yaml"))
    told = where_set.with_places(caught.value)
    assert "params.yaml with presets/wrong.yaml is not valid" in told
    assert f"(train.batch: set in {base.root / 'presets' / 'wrong.yaml'})" in told
