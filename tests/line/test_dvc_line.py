"""The line by plain `dvc repro`, without any server: complete, replayable, and closed to changed bytes."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from ganline.config import read_yaml
from ganline.integrations.dvc_repo import is_current
from tests.line.project import GOALS, STAGES, Project, make_project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = make_project(tmp_path_factory.mktemp("line"))
    project.must("ganline", "fetch")
    output = project.must("dvc", "repro", *GOALS)
    assert project.stages_run(output) == STAGES or sorted(project.stages_run(output)) == sorted(STAGES)
    return project


def test_the_line_ends_in_a_bundle_with_its_measures(project) -> None:
    metrics = json.loads((project.root / "artifacts/evaluate/metrics.json").read_text())
    assert metrics["fd"]["name"].startswith("fd_classifier_digits@")
    assert metrics["fd"]["name"].endswith("_n200")
    assert len(metrics["fd"]["per_seed"]) == 10
    assert 0 < metrics["fd"]["floor"] < metrics["fd"]["value"]
    assert {"model.json", "generator.safetensors", "card.md", "samples.png"} <= {
        path.name for path in (project.root / "artifacts/model").iterdir()
    }


def test_a_second_repro_runs_nothing(project) -> None:
    assert project.stages_run(project.must("dvc", "repro", *GOALS)) == []
    assert Path.cwd() != project.root  # a workspace is asked from the checkout
    assert is_current(project.root, GOALS)


def test_no_out_tells_of_this_machine(project) -> None:
    words = [str(project.root).encode(), b"/home/", b"/tmp/"]
    guilty = [(name, word) for name, content in project.outs().items() for word in words if word in content]
    assert not guilty


def test_a_deleted_middle_out_comes_back_without_retraining(project) -> None:
    before = project.outs()
    shutil.rmtree(project.root / "artifacts/prepare")
    assert project.stages_run(project.must("dvc", "repro", *GOALS)) == []
    assert project.outs() == before


def test_changing_evaluation_does_not_retrain(project) -> None:
    params = project.root / "params.yaml"
    before = params.read_text()
    try:
        project.set_params({"evaluate": {"seeds": list(range(40, 50))}})
        ran = project.stages_run(project.must("dvc", "repro", *GOALS))
        assert sorted(ran) == ["evaluate", "export", "report"]
    finally:
        params.write_text(before)
        project.must("dvc", "repro", *GOALS)


def test_register_is_idempotent_and_the_model_paints(project, tmp_path) -> None:
    assert "tiny version 1, alias challenger" in project.must("ganline", "register")
    assert "tiny version 1, alias challenger" in project.must("ganline", "register")
    assert "tiny version 1, alias champion; the first champion" in project.must("ganline", "promote")
    assert "no version waits for a decision; champion: version 1" in project.must("ganline", "promote", "tiny")
    assert "tiny version 1, alias champion" in project.must("ganline", "register")
    assert "the chain of lines is whole" in project.must("ganline", "history", "tiny")
    uri = f"sqlite:///{project.root}/.ganline/mlflow/mlflow.db"
    assert MlflowClient(uri, uri).get_model_version("tiny", "1").tags["ganline.exact"] == "true"
    grid = tmp_path / "grid.png"
    command = ["ganline", "generate", "--model", "models:/tiny@champion", "--n", "9", "--label", "3", "-o", str(grid)]
    project.must(*command)
    assert grid.read_bytes().startswith(b"\x89PNG")


def test_a_wiped_registry_is_made_again_without_retraining(project) -> None:
    project.must("ganline", "register")
    shutil.rmtree(project.root / ".ganline" / "mlflow")
    assert "tiny version 1, alias challenger" in project.must("ganline", "register")
    assert "tiny version 1, alias champion" in project.must("ganline", "promote", "tiny")
    assert project.stages_run(project.must("dvc", "repro", *GOALS)) == []


@pytest.mark.slow
def test_fine_tuning_starts_from_a_registered_model_that_fetch_pins_by_hash(project) -> None:
    project.must("ganline", "register")
    project.must("ganline", "promote")
    params, outs = project.root / "params.yaml", project.outs()
    before = params.read_text()
    bundle = hashlib.sha256(outs["model/model.json"]).hexdigest()
    try:
        project.set_params({"train": {"init_from": {"model": "models:/tiny@champion"}, "total_kimg": 0.128}})
        unpinned = project.run("ganline", "train")
        assert unpinned.returncode == 1
        assert "run `ganline fetch`, which gets and pins it" in unpinned.stdout
        assert f"models:/tiny@champion pinned as bundle {bundle}" in project.must("ganline", "fetch")
        assert read_yaml(params)["train"]["init_from"]["bundle"] == bundle
        output = project.must("dvc", "repro", *GOALS)
        assert sorted(project.stages_run(output)) == ["evaluate", "export", "report", "train", "usefulness"]
        for network in ("G", "D"):
            assert re.search(rf"{network} starts from the given model: \d+ tensors; fresh: none", output)
        tuned = project.outs()["model/generator.safetensors"]
        assert tuned != outs["model/generator.safetensors"]
        # Another bundle than the pinned one is not taken silently for it.
        project.set_params({"train": {"init_from": {"bundle": "0" * 64}}})
        moved = project.run("ganline", "fetch")
        assert moved.returncode == 1
        assert "name a version instead of an alias" in moved.stdout
    finally:
        params.write_text(before)
        project.must("dvc", "repro", *GOALS)
    assert project.outs() == outs


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every file of a checkout, git's own included; locks are opened for writing by those who only read."""
    found = (path for path in root.rglob("*") if path.is_file() and path.suffix not in (".lock", ".pyc"))
    return {str(path.relative_to(root)): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


MAKE_WORKSPACE = "from ganline.workspace import checkout, isolate as i; b = checkout(); i(b, b.beside('other'), {})"


def test_a_copied_and_a_moved_checkout_work_and_the_original_is_not_touched(project, tmp_path) -> None:
    project.must("ganline", "register")
    project.must("ganline", "promote")
    project.must("python", "-c", MAKE_WORKSPACE)
    original, copy = tree(project.root), Project(tmp_path / "copy")
    shutil.copytree(project.root, copy.root, symlinks=True)
    shutil.rmtree(copy.root / ".ganline" / "cache", ignore_errors=True)
    for place in (copy, Project(tmp_path / "moved")):
        if place is not copy:
            copy.root.rename(place.root)
        workspace = Project(place.root / ".ganline" / "ws" / "other")
        assert "tiny version 1, alias champion" in place.must("ganline", "register")
        grid = str(place.root / "grid.png")
        place.must("ganline", "generate", "--model", "models:/tiny@champion", "-o", grid)
        place.must("python", "-c", MAKE_WORKSPACE)
        place.must("ganline", "fetch")
        assert place.stages_run(place.must("dvc", "repro", *GOALS)) == []
        workspace.must("ganline", "fetch")
        # Other bounds ask for another decision, whose files the store takes.
        place.set_params({"promotion": {"floors": {"class_coverage_min": 0.01 * len(place.root.name)}}})
        assert "alias champion" in place.must("ganline", "register")
        assert (workspace.root / "data").is_dir()
        for path in (place.root / ".ganline" / "ws" / "other" / ".git", place.root / ".git/worktrees/other/gitdir"):
            assert str(place.root) in path.read_text()
        assert str(project.root).encode() not in (place.root / ".ganline" / "mlflow" / "mlflow.db").read_bytes()
    assert tree(project.root) == original
    assert not copy.root.exists()


def flip_a_byte(path: Path) -> bytes:
    """Damage a raw file without touching the original content elsewhere (DVC may link to its cache)."""
    content = path.read_bytes()
    damaged = bytearray(content)
    damaged[len(damaged) // 2] ^= 1
    path.unlink()
    path.write_bytes(damaged)
    return content


def test_a_flipped_raw_byte_is_refused_by_name_and_mended_by_fetch(project) -> None:
    raw = next(path for path in sorted((project.root / "data").iterdir()) if "images" in path.name)
    original, version = flip_a_byte(raw), (project.root / "data.dvc").read_text()
    for command in (["ganline", "verify"], ["dvc", "repro", *GOALS], ["ganline", "manifest"]):
        result = project.run(*command)
        assert result.returncode != 0, command
        assert raw.name in result.stdout
        assert "Traceback" not in result.stdout
    # DVC takes the changed bytes for a new version before the first stage can refuse them: fetch puts both back.
    assert (project.root / "data.dvc").read_text() != version
    project.must("ganline", "fetch")
    assert raw.read_bytes() == original
    assert (project.root / "data.dvc").read_text() == version
    project.must("ganline", "verify")
    assert project.stages_run(project.must("dvc", "repro", *GOALS)) == []


def test_a_user_s_mistake_is_one_message_and_exit_code_1(project, tmp_path) -> None:
    for command, words in (
        (["ganline", "generate", "--model", "models:/nothing@champion", "-o", "x.png"], "nothing"),
        (["ganline", "generate", "--model", str(tmp_path), "-o", "x.png"], "model.json"),
        (["ganline", "run", "--preset", "mnits"], "there is no preset 'mnits'"),
        (["ganline", "run", "--data", "/no/such/folder"], "is not a folder"),
        (["ganline", "run", "--data", str(tmp_path), "--res", "63"], "cannot paint 63 px"),
    ):
        result = project.run(*command)
        assert result.returncode == 1, result.stdout
        assert words in result.stdout
        assert "Traceback" not in result.stdout


def test_outside_a_git_repository_the_word_is_clear(tmp_path) -> None:
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copyfile(Path(__file__).parents[2] / name, tmp_path / name)
    result = Project(tmp_path).run("ganline", "run")
    assert result.returncode == 1
    assert "is not a git repository" in result.stdout
