"""Where a line runs: torn files are dropped, one name means one folder of images, the checkout stays as it was."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from ganline.config import read_yaml
from ganline.errors import ConfigError, WorkspaceError
from ganline.line import choose_study
from ganline.workspace import Workspace, folder_overlay, git, hold, isolate, plain_name
from tests.unit.checkouts import make_checkout

ROOT = Path(__file__).parents[2]
LOCK = "schema: '2.0'\nstages:\n  prepare:\n    cmd: ganline prepare\n"


@pytest.fixture
def base(tmp_path, monkeypatch) -> Workspace:
    """A checkout with the real configuration and presets, committed."""
    monkeypatch.delenv("GANLINE_HOME", raising=False)
    return make_checkout(tmp_path / "checkout")


@pytest.mark.parametrize("preset", sorted(path.stem for path in (ROOT / "presets").glob("*.yaml")))
def test_a_preset_is_studied_unless_the_study_would_ignore_its_model(base, preset) -> None:
    settings = read_yaml(ROOT / "presets" / f"{preset}.yaml")
    if preset == "folder":
        with pytest.raises(ConfigError, match="needs a folder"):
            choose_study(base, preset)
    elif preset.startswith("speedup-") or "train" not in settings:
        assert choose_study(base, preset) == (preset, settings)
    else:
        with pytest.raises(ConfigError, match="says nothing of a language model") as caught:
            choose_study(base, preset)
        assert "speedup-fashion" in caught.value.expected


def git_status(base: Workspace) -> str:
    return subprocess.run(["git", "-C", base.root, "status", "--porcelain"], capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("content", "stays"),
    [
        (LOCK, True),
        (LOCK[:20], False),  # cut within a key
        ("", False),
        ("- a list\n", False),
        ("a: 'open", False),
    ],
)
def test_a_lock_file_that_a_kill_cut_short_is_dropped_and_a_whole_one_is_not(base, content, stays) -> None:
    path = base.root / "dvc.lock"
    path.write_text(content)
    with hold(base):
        assert path.exists() == stays


def test_stale_locks_of_a_killed_dvc_are_cleared_and_two_lines_never_share_a_workspace(base) -> None:
    stale = base.root / ".dvc" / "tmp" / "rwlock"
    stale.parent.mkdir()
    stale.write_text("{}")
    with hold(base):
        assert not stale.exists()
        with pytest.raises(WorkspaceError, match="another ganline run"), hold(base):
            pass
    with hold(base):  # free again
        pass


def test_an_isolated_workspace_has_its_own_parameters_and_leaves_the_checkout_as_it_was(base) -> None:
    (base.root / "params.yaml").write_text((base.root / "params.yaml").read_text() + "# edited, not committed\n")
    before = git_status(base)
    workspace = base.beside("other")
    for seed in (5, 6):  # made, then brought up to date
        isolate(base, workspace, {"train": {"seed": seed}})
        assert read_yaml(workspace.root / "params.yaml")["train"]["seed"] == seed
        assert git_status(base) == before
    assert (workspace.root / "presets" / "digits.yaml").is_file()


def test_a_workspace_gets_changed_and_new_code_but_no_other_untracked_file(base) -> None:
    (base.root / "holiday.jpg").write_bytes(b"private")
    (base.root / "presets" / "mine.yaml").write_text("{}")
    (base.root / "presets" / "mnist.yaml").write_text("# changed\n")
    workspace = base.beside("digits")
    isolate(base, workspace, {})
    assert not (workspace.root / "holiday.jpg").exists()
    assert (workspace.root / "presets" / "mine.yaml").read_text() == "{}"
    assert (workspace.root / "presets" / "mnist.yaml").read_text() == "# changed\n"


def test_a_workspace_that_a_kill_left_half_made_is_made_again(base) -> None:
    workspace = base.beside("other")
    isolate(base, workspace, {})
    (workspace.root / ".git").unlink()
    isolate(base, workspace, {})
    assert (workspace.root / "presets").is_dir()


def test_locks_of_a_killed_git_do_not_stop_the_next_run(base) -> None:
    workspace = base.beside("again")
    isolate(base, workspace, {})
    for name in ("index.lock", "HEAD.lock"):
        Path(git(workspace.root, "rev-parse", "--git-path", name)).touch()
    isolate(base, workspace, {"train": {"seed": 3}})
    assert yaml.safe_load((workspace.root / "params.yaml").read_text())["train"]["seed"] == 3


def make_folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def test_two_folders_of_one_name_do_not_become_versions_of_one_model(base, tmp_path) -> None:
    one, two = make_folder(tmp_path / "a" / "My Cats!"), make_folder(tmp_path / "b" / "My Cats!")
    name, overlay = folder_overlay(base, one, 64, None)
    assert (name, overlay["register"]["name"]) == ("folder-my-cats-64", "ganline-my-cats")
    root = make_folder(base.beside(name).root)
    (root / "params.yaml").write_text(yaml.safe_dump(overlay))
    assert folder_overlay(base, one, 64, None)[0] == name  # again: the same workspace
    with pytest.raises(ConfigError, match="NAME=another-name"):
        folder_overlay(base, two, 64, None)
    name, overlay = folder_overlay(base, two, None, "dogs")
    assert (name, overlay["register"]["name"]) == ("folder-dogs-64", "ganline-dogs")
    with pytest.raises(ConfigError, match="cannot name a model"):
        folder_overlay(base, two, None, "../dogs")


@pytest.mark.parametrize(("text", "plain"), [("Ünïcode", "n-code"), ("...", "images"), ("a b_c-1", "a-b_c-1")])
def test_any_folder_s_name_becomes_a_plain_one(text, plain) -> None:
    assert plain_name(text) == plain
