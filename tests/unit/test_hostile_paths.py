"""What a path says decides nowhere what is written: not in DVC's configuration, not in MLflow's address, not in git."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from ganline.config import read_yaml
from ganline.doctor import unusable
from ganline.errors import WorkspaceError
from ganline.files import write_text
from ganline.home import home
from ganline.integrations.dvc_repo import cache_folder, is_current, run_dvc, share_cache, stage_order
from ganline.workspace import Workspace, checkout, isolate
from tests.unit.checkouts import make_checkout
from tests.unit.hostile import EVERYTHING, REFUSED, USABLE

ROOT = Path(__file__).parents[2]
ABSOLUTE = [name for name in USABLE[1:] if "%(" not in name]
ONE_STAGE = "stages:\n  one:\n    cmd: cp data/x out\n    deps: [data]\n    outs: [out]\n"


@pytest.fixture(autouse=True)
def no_home(monkeypatch) -> None:
    monkeypatch.delenv("GANLINE_HOME", raising=False)


def entries(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("name", USABLE)
def test_a_workspace_under_any_usable_name_uses_the_checkout_s_cache_and_nothing_else(tmp_path, name) -> None:
    base = make_checkout(tmp_path / name)
    workspace = base.beside("other")
    for seed in (5, 6):  # made, then brought up to date
        isolate(base, workspace, {"train": {"seed": seed}})
        assert read_yaml(workspace.root / "params.yaml")["train"]["seed"] == seed
        assert cache_folder(workspace.root) == base.root / ".dvc" / "cache"
    assert entries(tmp_path) == {name}
    assert entries(base.root / ".ganline") == {"ws"}


@pytest.mark.parametrize("name", [EVERYTHING, *(pytest.param(name, marks=pytest.mark.slow) for name in ABSOLUTE)])
def test_dvc_keeps_content_and_answers_under_any_usable_name(tmp_path, name) -> None:
    base, root = tmp_path / name / "base", tmp_path / name / "ws" / "w"
    for folder in (base, root):
        (folder / ".dvc").mkdir(parents=True)
        write_text(folder / ".dvc" / "config", "[core]\n    no_scm = True\n")
    (root / "data").mkdir()
    (root / "data" / "x").write_text("1")
    write_text(root / "dvc.yaml", ONE_STAGE)
    share_cache(base, root)  # not inside one another: an absolute path
    said: list[str] = []
    assert run_dvc(root, ["add", "--quiet", "data"], say=said.append) == 0, said
    assert not is_current(root, ["one"])
    assert run_dvc(root, ["repro", "--single-item", "one"], say=said.append) == 0, said
    assert stage_order(root, ["one"]) == ["one"]
    assert is_current(root, ["one"])
    assert is_current(root)
    assert entries(tmp_path) == {name}
    assert (base / ".dvc" / "cache" / "files").is_dir()
    assert not (root / ".dvc" / "cache").exists()


STORES = """
import os, sys
from pathlib import Path
from ganline.integrations.mlflow_store import embedded_database, open_store
from ganline.integrations.mlflow_versions import read_versions
note, back = Path("note.txt"), Path("back")
note.write_text("hello")
back.mkdir()
for state in sys.argv[1:]:
    os.environ["GANLINE_HOME"] = state
    store = open_store()
    run = store.client.create_run(store.experiment_id, run_name="x")
    store.client.log_artifact(run.info.run_id, str(note))
    assert [found.path for found in store.client.list_artifacts(run.info.run_id)] == ["note.txt"], state
    kept = Path(store.client.download_artifacts(run.info.run_id, "note.txt", str(back)))
    assert kept.read_text() == "hello", state
    kept.unlink()
    assert read_versions(embedded_database(), "none") == [], state
"""


@pytest.mark.parametrize("names", [[EVERYTHING], pytest.param(USABLE[1:], marks=pytest.mark.slow)], ids=("one", "all"))
def test_the_embedded_store_under_any_usable_name_keeps_everything_there(tmp_path, names) -> None:
    """In one interpreter: the imports cost more than a store."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    states = [tmp_path / name / ".ganline" for name in names]
    done = subprocess.run([sys.executable, "-c", STORES, *states], cwd=elsewhere, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert entries(tmp_path) == {*names, "elsewhere"}
    assert entries(elsewhere) == {"note.txt", "back"}
    for state in states:
        assert entries(state.parent) == {".ganline"}
        assert list((state / "mlflow" / "artifacts").rglob("note.txt"))
        with sqlite3.connect(state / "mlflow" / "mlflow.db") as database:
            assert database.execute("select count(*) from runs").fetchone() == (1,)


@pytest.mark.parametrize("name", REFUSED)
def test_a_checkout_that_a_tool_would_take_apart_is_refused_before_anything_is_written(tmp_path, name) -> None:
    root = tmp_path / name
    root.mkdir()
    (root / ".git").mkdir()
    for file in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(ROOT / file, root / file)
    with pytest.raises(WorkspaceError, match=r"the path .* holds") as caught:
        checkout(root)
    str(caught.value).encode("ascii")  # tells even of what cannot be printed
    assert "move the checkout" in caught.value.remedy
    assert entries(root) == {".git", "params.yaml", "dvc.yaml"}


@pytest.mark.parametrize("name", REFUSED)
def test_a_state_folder_that_a_tool_would_take_apart_is_refused(tmp_path, monkeypatch, name) -> None:
    monkeypatch.setenv("GANLINE_HOME", str(tmp_path / name))
    with pytest.raises(WorkspaceError, match=r"the path .* holds") as caught:
        home()
    assert "GANLINE_HOME" in caught.value.remedy


@pytest.mark.parametrize("name", REFUSED)
def test_make_refuses_such_a_checkout_before_it_installs(tmp_path, name) -> None:
    root = tmp_path / name
    (root / "src" / "ganline").mkdir(parents=True)
    for file in ("Makefile", "pyproject.toml", "constraints.txt", "src/ganline/doctor.py"):
        shutil.copyfile(ROOT / file, root / file)
    command = ["make", "run", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=root, capture_output=True, env=os.environ | {"LC_ALL": "C"})
    assert done.returncode == 2
    assert b"move the checkout" in done.stdout
    assert b"Traceback" not in done.stderr
    assert not (root / ".venv").exists()


@pytest.mark.parametrize("name", USABLE)
def test_usable_names_are_usable(name) -> None:
    assert not unusable(Path("/x") / name)


def test_a_cache_that_the_checkout_keeps_elsewhere_is_the_workspace_s_too(tmp_path) -> None:
    base = make_checkout(tmp_path / "checkout")
    write_text(base.root / ".dvc" / "config.local", f"[cache]\n    dir = {tmp_path / 'big disk'}\n")
    workspace = base.beside("other")
    isolate(base, workspace, {})
    assert cache_folder(workspace.root) == tmp_path / "big disk"


def test_a_cache_path_that_dvc_s_configuration_cannot_hold_is_refused(tmp_path) -> None:
    base, root = tmp_path / "%(x)s", tmp_path / "ws"
    for folder in (base, root):
        (folder / ".dvc").mkdir(parents=True)
    with pytest.raises(WorkspaceError, match="cannot hold the path"):
        share_cache(base, root)


def test_an_older_configuration_that_dvc_cannot_read_does_not_stop_a_workspace(tmp_path) -> None:
    base = make_checkout(tmp_path / "x, y")
    workspace = base.beside("other")
    isolate(base, workspace, {})
    write_text(workspace.root / ".dvc" / "config.local", f"[cache]\n    dir = {base.root / '.dvc' / 'cache'}\n")
    isolate(base, workspace, {})
    assert cache_folder(workspace.root) == base.root / ".dvc" / "cache"
    assert isinstance(workspace, Workspace)
