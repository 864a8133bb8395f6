"""A run that could never be promoted is refused in seconds, before anything is made, fetched or trained."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.line.project import GOALS, Project, make_project

pytestmark = pytest.mark.timeout(1500)

TINY_FOLDER = """
data: {source: {name: folder}}
extractor: {task: auto, min_accuracy: 0.0, width: 8, feature_dim: 8, epochs: 1}
judge: {min_accuracy: 0.0, width: 8, feature_dim: 8, epochs: 1}
reference: {n: 16}
prepare: {resolution: 16, channels: 3}
validate: {suite: folder}
promotion: {floors: {class_coverage_min: null, copied_share_max: null, fd_ratio_max: 1000000}}
"""
CHOOSE = """
import sys
from pathlib import Path
from ganline import line
from ganline.workspace import checkout, isolate
base = checkout()
name, overlay = line.choose(base, preset=None, data=Path(sys.argv[2]), resolution=16, name=sys.argv[3])
workspace = base.beside(name)
if sys.argv[1] == "make":
    isolate(base, workspace, overlay)
line.refuse_early(base, workspace, (name, overlay))
"""
PLENTY = 60.0
"""Seconds on a busy machine; a training of this project takes longer with all its stages."""


def picture(path: Path, seed: int) -> None:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize((20, 20), Image.Resampling.BICUBIC).save(path)


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures") / "pets"
    for split, count in (("train", 60), ("test", 24)):
        for i in range(count):
            name = ("cat", "dog")[i % 2]
            picture(folder / split / name / f"{i:03d}.png", seed=i + 1000 * (split == "test"))
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, pets: Path) -> Project:
    """A project whose `make run DATA=pets RES=16` ended in a champion (made by plain DVC: no server)."""
    project = make_project(tmp_path_factory.mktemp("refused"))
    (project.root / "presets" / "folder.yaml").write_text(TINY_FOLDER)
    project.must(sys.executable, "-c", CHOOSE, "make", str(pets), "pets")
    workspace = Project(project.root / ".ganline" / "ws" / "folder-pets-16")
    workspace.must("ganline", "fetch")
    workspace.must("dvc", "repro", *GOALS)
    assert "ganline-pets version 1, alias challenger" in workspace.must("ganline", "register")
    assert "ganline-pets version 1, alias champion" in workspace.must("ganline", "promote")
    return project


def state(project: Project) -> dict[str, bytes]:
    """What a run could have changed: workspaces, trainings, data versions, the registry."""
    home = project.root / ".ganline"
    found = {str(path): b"" for pattern in ("ws/*", "work/*") for path in home.glob(pattern)}
    files = [*home.glob("ws/*/data.dvc"), *home.glob("ws/*/dvc.lock"), home / "mlflow" / "mlflow.db"]
    return found | {str(path): path.read_bytes() for path in files}


def refused(project: Project, *options: str) -> str:
    before, began = state(project), time.monotonic()
    result = project.run("ganline", "run", *options)
    assert result.returncode == 1, result.stdout
    assert time.monotonic() - began < PLENTY
    assert state(project) == before
    assert "Traceback" not in result.stdout
    return result.stdout


def test_the_same_thing_again_is_accepted(project, pets) -> None:
    output = project.must("ganline", "run", "--data", str(pets), "--res", "16")
    assert "nothing changed since the last run" in output
    assert "ganline-pets version 1, alias champion" in output


def test_another_size_under_the_champion_s_name_is_refused_and_a_name_of_its_own_accepted(project, pets) -> None:
    output = refused(project, "--data", str(pets), "--res", "32")
    assert "this run makes folder, 32 px, RGB, classes cat, dog" in output
    assert "the champion, ganline-pets version 1, makes folder, 16 px, RGB, classes cat, dog" in output
    assert f"make run DATA={pets} RES=32 NAME=pets-32" in output
    project.must(sys.executable, "-c", CHOOSE, "check", str(pets), "pets-32")


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ("renamed", [], "more classes: hound; without classes: dog"),
        ("added", ["--accept"], "more classes: fox"),
        ("removed", ["--accept"], "without classes: dog"),
    ],
)
def test_other_classes_are_refused_by_name_whatever_their_number(
    project, pets, tmp_path, change, options, words
) -> None:
    kept = shutil.copytree(pets, tmp_path / "kept")
    try:
        for split in ("train", "test"):
            if change == "renamed":
                (pets / split / "dog").rename(pets / split / "hound")
            elif change == "added":
                picture(pets / split / "fox" / "1.png", seed=5000)
            else:
                shutil.rmtree(pets / split / "dog")
        assert words in refused(project, "--data", str(pets), "--res", "16", *options)
    finally:
        shutil.rmtree(pets)
        shutil.copytree(kept, pets)


def test_a_checkout_whose_params_name_another_kind_is_refused_before_training(project) -> None:
    params = project.root / "params.yaml"
    before = params.read_text()
    try:
        project.set_params({"register": {"name": "ganline-pets"}})
        output = refused(project)
        assert "data set digits, not folder" in output and "28 px, not 16 px" in output
        assert "register.name: ganline-pets-28, in params.yaml" in output
        assert "could not become champion" in project.must("ganline", "fetch")  # others than register use the data
    finally:
        params.write_text(before)
