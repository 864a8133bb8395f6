"""The line as a Prefect flow on a real ephemeral server: the same files as DVC, isolation, second runs, refusals."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from tests.line.project import GOALS, STAGES, Project, make_project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = make_project(tmp_path_factory.mktemp("flow"))
    output = project.must("ganline", "run")
    for stage in STAGES:
        assert f"{stage}: ran" in output
    assert "tiny version 1, alias champion" in output
    end = output.rpartition("tiny version 1, alias champion")[2]
    for figure in ("fd_classifier_digits@", "fd_rotation_digits@", "primary extractor", "holdout extractor"):
        assert figure in end, end
    return project


def leftovers(project: Project) -> list[str]:
    """Processes that still work in the project."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
        if process.info["cwd"] and str(process.info["cwd"]).startswith(str(project.root)):
            found.append(" ".join(process.info["cmdline"] or []))
    return found


def test_the_flow_and_a_plain_repro_in_another_clone_give_the_same_bits(project, tmp_path) -> None:
    other = make_project(tmp_path)
    other.must("ganline", "fetch")
    other.must("dvc", "repro", *GOALS)
    mine, theirs = project.outs(), other.outs()
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if mine[name] != theirs[name]] == []
    assert (project.root / "dvc.lock").read_text() == (other.root / "dvc.lock").read_text()


def test_a_second_run_starts_no_server_and_says_that_nothing_changed(project) -> None:
    output = project.must("ganline", "run")
    assert "nothing changed since the last run" in output
    assert "tiny version 1, alias champion" in output
    assert "server" not in output
    assert leftovers(project) == []


def test_a_wiped_registry_comes_back_by_running_again(project) -> None:
    shutil.rmtree(project.root / ".ganline" / "mlflow")
    output = project.must("ganline", "run")
    assert ": ran" not in output
    assert "train: cached" in output
    assert "tiny version 1, alias champion" in output


def status(project: Project) -> str:
    return subprocess.run(
        ["git", "-C", str(project.root), "status", "--porcelain"], capture_output=True, text=True, check=True
    ).stdout


def test_a_preset_runs_isolated_and_leaves_the_checkout_untouched(project) -> None:
    (project.root / "presets" / "other.yaml").write_text("train: {seed: 11}\nregister: {name: other}\n")
    before, outs = status(project), project.outs()
    output = project.must("ganline", "run", "--preset", "other")
    assert "other version 1, alias champion" in output
    assert status(project) == before
    assert project.outs() == outs
    # The data set is the same: its stages come from the shared cache.
    assert "prepare: cached" in output
    assert "train: ran" in output
    assert "nothing changed" in project.must("ganline", "run", "--preset", "other")


def picture(path: Path, seed: int, *, size: int = 20) -> None:
    """A small photo-like picture: smooth random colour."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC).save(path)


FOLDER_TINY = """
extractor: {task: auto, min_accuracy: 0.0, width: 8, feature_dim: 8, epochs: 1}
judge: {min_accuracy: 0.0, width: 8, feature_dim: 8, epochs: 1}
reference: {n: 16}
prepare: {resolution: 16, channels: 3}
validate: {suite: folder}
register: {name: pictures}
promotion: {floors: {class_coverage_min: null, fd_ratio_max: 1000000}}
"""


def test_any_folder_of_images_becomes_a_registered_generator_and_bad_ones_are_refused(project, tmp_path) -> None:
    (project.root / "presets" / "folder.yaml").write_text(FOLDER_TINY)
    source = tmp_path / "my pictures"
    for split, count in (("train", 60), ("test", 24)):
        for i in range(count):
            picture(source / split / f"class{i % 2}" / f"{i:03d}.png", seed=i + 1000 * (split == "test"))
    run = ("ganline", "run", "--data", str(source), "--res", "16")
    output = project.must(*run)
    assert "pictures version 1, alias champion" in output or "my-pictures version 1, alias champion" in output
    bad = {
        "torn.png": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n not a picture"),
        "black.png": lambda path: Image.new("RGB", (20, 20)).save(path),
        "leak.png": lambda path: shutil.copyfile(source / "test" / "class0" / "000.png", path),
    }
    for name, make in bad.items():
        path = source / "train" / "class0" / name
        make(path)
        refused = project.run(*run)
        assert refused.returncode == 1
        assert name in refused.stdout  # a changed folder is not taken without being asked
        refused = project.run(*run, "--accept")
        assert refused.returncode == 1, refused.stdout
        assert name in refused.stdout
        workspace = next((project.root / ".ganline" / "ws").glob("folder-*"))
        plain = Project(workspace).run("dvc", "repro", *GOALS)
        assert plain.returncode != 0
        assert name in plain.stdout
        path.unlink()
    assert "alias champion" in project.must(*run, "--accept")
