"""Where a line runs: torn files are dropped, one name means one folder of images, the checkout stays as it was."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from ganline.config import read_yaml
from ganline.errors import ConfigError, WorkspaceError
from ganline.line import choose_study, configured
from ganline.workspace import (
    Workspace,
    check_code,
    checkout,
    folder_overlay,
    git,
    hold,
    isolate,
    pictures_within,
    plain_name,
)
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


def test_a_relative_folder_of_the_user_s_lies_in_the_checkout_for_the_check_and_for_the_flow(
    base, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    workspace, pictures = base.beside("own"), str(base.root / "pictures")
    source = {"name": "folder", "path": "presets/../pictures"}
    overlay = {"data": {"source": source}, "captions": {"encoder": {"path": "encoder", "sha256": "0" * 64}}}
    assert configured(base, workspace, ("own", overlay)).data.source.path == Path(pictures)
    isolate(base, workspace, overlay)
    params = read_yaml(workspace.root / "params.yaml")
    assert params["data"]["source"]["path"] == pictures
    assert params["captions"]["encoder"]["path"] == str(base.root / "encoder")
    assert pictures_within(base.root, params) == ["pictures"]  # which stay out of the workspace's snapshot


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


def shell(*command: object) -> str:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True).stdout


def content(root: Path) -> dict[str, bytes]:
    """Every file but the locks, which are opened for writing."""
    found = (path for path in root.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


@pytest.mark.parametrize("moved", [False, True], ids=["copied", "moved"])
@pytest.mark.parametrize("inside", [False, True], ids=["from the checkout", "from the workspace"])
def test_workspaces_of_a_copy_are_its_own_and_the_original_is_not_touched(base, tmp_path, moved, inside) -> None:
    isolate(base, base.beside("other"), {"train": {"seed": 5}})
    (base.beside("other").root / "dvc.lock").write_text(LOCK)
    copy = tmp_path / "copy"
    shell("mv" if moved else "cp", *([] if moved else ["-a"]), base.root, copy)
    before = None if moved else content(base.root)
    own = checkout(copy / ".ganline/ws/other" if inside else copy)
    assert own.home == copy / ".ganline"
    workspace = Workspace(copy / ".ganline/ws/other", own.home, "other")
    assert Path(shell("git", "-C", workspace.root, "rev-parse", "--git-common-dir").strip()).resolve() == copy / ".git"
    isolate(checkout(copy), workspace, {"train": {"seed": 6}})
    assert read_yaml(workspace.root / "params.yaml")["train"]["seed"] == 6
    assert (workspace.root / "dvc.lock").read_text() == LOCK  # its results stay
    assert str(base.root) not in (workspace.root / ".dvc" / "config.local").read_text()
    assert "prunable" not in shell("git", "-C", copy, "worktree", "list", "--porcelain")
    assert not base.root.exists() if moved else content(base.root) == before


def test_a_workspace_that_the_moved_repository_has_forgotten_is_made_again(base, tmp_path) -> None:
    isolate(base, base.beside("other"), {})
    copy = tmp_path / "copy"
    shell("mv", base.root, copy)
    shell("git", "-C", copy, "worktree", "prune")
    own = checkout(copy)
    isolate(own, own.beside("other"), {"train": {"seed": 6}})
    assert read_yaml(own.beside("other").root / "params.yaml")["train"]["seed"] == 6


def test_the_same_checkout_by_another_name_is_not_a_copy(base, tmp_path) -> None:
    isolate(base, base.beside("other"), {})
    before = content(base.root)
    (tmp_path / "link").symlink_to(base.root)
    for place in (tmp_path / "link", tmp_path / "link/.ganline/ws/other"):
        assert checkout(place).home == base.home
    assert content(base.root) == before


def test_a_copy_of_a_git_worktree_alone_is_refused(base, tmp_path) -> None:
    shell("git", "-C", base.root, "worktree", "add", "-q", "--detach", tmp_path / "feature")
    assert checkout(tmp_path / "feature").home == base.home  # one that git made shares the main checkout's state
    shell("cp", "-a", tmp_path / "feature", tmp_path / "copy")
    with pytest.raises(WorkspaceError, match="copy of a git worktree"):
        checkout(tmp_path / "copy")


def test_a_shared_state_folder_s_workspaces_stay_with_the_checkout_that_made_them(base, tmp_path, monkeypatch) -> None:
    isolate(base, base.beside("other"), {})
    shell("git", "clone", "-q", base.root, tmp_path / "clone")
    monkeypatch.setenv("GANLINE_HOME", str(base.home))
    clone = checkout(tmp_path / "clone")
    before = content(base.root)
    with pytest.raises(WorkspaceError, match="is a workspace of"):
        isolate(clone, clone.beside("other"), {})
    assert content(base.root) == before


def test_the_code_of_another_checkout_does_not_work_in_this_one(base, tmp_path, monkeypatch) -> None:
    with pytest.raises(WorkspaceError, match="is another checkout") as caught:
        check_code(base)
    assert "make run" in caught.value.remedy
    check_code(checkout(ROOT))
    monkeypatch.setattr("ganline.workspace.__file__", str(base.root / "src" / "ganline" / "workspace.py"))
    isolate(base, base.beside("other"), {})
    check_code(base)
    check_code(Workspace(base.beside("other").root, base.home))


@pytest.mark.parametrize("moved", ["checkout", "state"])
def test_a_state_folder_of_its_own_follows_a_moved_checkout_and_may_be_copied(
    base, tmp_path, monkeypatch, moved
) -> None:
    monkeypatch.setenv("GANLINE_HOME", str(tmp_path / "state"))
    own = checkout(base.root)
    isolate(own, own.beside("other"), {})
    shell(*(["mv", base.root, tmp_path / "new"] if moved == "checkout" else ["cp", "-a", own.home, tmp_path / "new"]))
    if moved == "state":
        before = content(own.home)
        monkeypatch.setenv("GANLINE_HOME", str(tmp_path / "new"))
    own = checkout(tmp_path / "new" if moved == "checkout" else base.root)
    isolate(own, own.beside("other"), {"train": {"seed": 6}})
    assert read_yaml(own.beside("other").root / "params.yaml")["train"]["seed"] == 6
    if moved == "state":
        assert content(tmp_path / "state") == before
