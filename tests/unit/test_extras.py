"""What is installed: declared, pinned, asked for before anything runs, and known where it breaks other packages."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ganline import cli, doctor, line
from ganline.config import parse, read_yaml
from ganline.effects import check_installed
from ganline.errors import ConfigError, WorkspaceError
from ganline.extras import EXTRAS, check_extra
from ganline.overlay import merge
from ganline.stages import GOALS, STAGES

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = {
    canonicalize_name(name): version
    for name, _, version in (text.partition("==") for text in (ROOT / "constraints.txt").read_text().splitlines())
    if version
}
DECLARED = [*PROJECT["dependencies"], *(text for extra in PROJECT["optional-dependencies"].values() for text in extra)]


def config_with(overlay: dict) -> object:
    return parse(merge(read_yaml(ROOT / "params.yaml"), overlay), source="params.yaml")


@pytest.mark.parametrize("text", [text for text in DECLARED if not text.startswith("ganline")])
def test_what_is_declared_is_pinned_to_a_release_that_it_allows(text) -> None:
    requirement = Requirement(text)
    assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("name", doctor.BROKEN)
def test_pins_keep_below_releases_that_break_others(name) -> None:
    assert doctor.release(PINS[name]) < doctor.release(doctor.BROKEN[name][0])
    caps = [limit for text in DECLARED for limit in Requirement(text).specifier if Requirement(text).name == name]
    assert all(limit.operator == ">=" for limit in caps)


def test_make_lock_reads_the_bounds_from_the_one_table() -> None:
    script = ROOT / "src" / "ganline" / "doctor.py"
    printed = subprocess.run([sys.executable, str(script), "--bounds"], capture_output=True, text=True, check=True)
    assert printed.stdout.splitlines() == ["fastapi<0.155", "sqlalchemy<2.1"]
    assert "doctor.py --bounds" in (ROOT / "Makefile").read_text()


def test_a_release_that_breaks_others_is_named_by_doctor_and_stops_a_run(monkeypatch) -> None:
    monkeypatch.setattr(doctor, "installed_version", {"fastapi": "0.155.1", "sqlalchemy": "2.0.58"}.get)
    text, healthy = doctor.report()
    assert not healthy and "fastapi 0.155.1 stops every flow" in text and "constraints.txt" in text
    with pytest.raises(WorkspaceError, match=r"fastapi 0\.155\.1 stops every flow of Prefect 3\.8"):
        line.check_packages()
    monkeypatch.setattr(doctor, "installed_version", {"fastapi": "0.150.0"}.get)
    line.check_packages()


def without(monkeypatch, *modules: str) -> None:
    """Let some modules look as if they were not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr("ganline.extras.is_installed", lambda name: name not in modules and find(name) is not None)


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_missing_extra_is_one_message_with_its_name_and_command(monkeypatch, extra) -> None:
    without(monkeypatch, EXTRAS[extra][-1])
    with pytest.raises(ConfigError, match=f"something needs {EXTRAS[extra][-1]}") as caught:
        check_extra(extra, needed_by="something")
    assert f"pip install -c constraints.txt -e '.[{extra}]'" in str(caught.value)


PUBLISHED = {"name": "dinov2-vits14", "weights": "/nowhere", "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("overlay", "goal", "missing", "key"),
    [
        ({"tracking": {"tensorboard": True}}, "model", "tensorboard", "tracking.tensorboard"),
        ({"reference": {"pretrained": [PUBLISHED]}}, "model", "torch_fidelity", "reference.pretrained"),
        ({}, "speedup", "onnxruntime", "the speed-up study"),
        ({}, "speedup", "tokenizers", "the speed-up study"),
    ],
)
def test_what_a_configuration_needs_is_asked_for_before_anything_runs(monkeypatch, overlay, goal, missing, key) -> None:
    config = config_with(overlay)
    check_installed(config, goal)
    without(monkeypatch, missing)
    with pytest.raises(ConfigError, match=f"{key} needs {missing}"):
        check_installed(config, goal)
    check_installed(config_with({}), "model")  # the default run needs none of them


def test_an_encoder_that_is_not_there_is_told_before_the_study_runs(tmp_path) -> None:
    encoder = {"path": str(tmp_path / "none"), "sha256": "0" * 64}
    with pytest.raises(ConfigError, match=r"holds no model\.safetensors"):
        check_installed(config_with({"captions": {"encoder": encoder}}), "speedup")


def test_the_stages_of_the_study_and_no_others_ask_for_its_extra() -> None:
    asked = {name for name, stage in STAGES.items() if stage.extra == "study"}
    assert asked == {"captions", "tokenizer", "llm", "bank", "students", "accelerate", "quality"}
    assert not asked & set(GOALS["model"])
    assert {stage.extra for stage in STAGES.values()} == {None, "study"}


def test_a_stage_alone_asks_too(monkeypatch, tmp_path) -> None:
    without(monkeypatch, "onnx")
    with pytest.raises(ConfigError, match="the stage tokenizer needs onnx"):
        cli.app(["tokenizer"], standalone_mode=False)


def test_every_extra_that_is_asked_for_is_declared_and_dev_holds_all() -> None:
    declared = PROJECT["optional-dependencies"]
    assert set(EXTRAS) == set(declared) - {"dev"}
    (everything,) = [Requirement(text) for text in declared["dev"] if text.startswith("ganline")]
    assert everything.extras == set(EXTRAS)


def test_the_license_is_the_one_that_pyproject_names() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert PROJECT["license"] == "Apache-2.0" and PROJECT["license-files"] == ["LICENSE"]
    assert re.search(r"Apache License\s+Version 2\.0, January 2004", text) and "END OF TERMS AND CONDITIONS" in text
