"""git works in the repository that we name, whatever a hook exported and however the user configured it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ganline.environment import GIT_CONTEXT, drop_git_context
from ganline.git import git
from ganline.snapshot import patch
from ganline.workspace import checkout, isolate
from tests.unit.checkouts import make_checkout

# What breaks programs that read git's output or trust its defaults; each is a real setting that people have.
SETTINGS = """
[commit]
    gpgSign = true
[gpg]
    program = /no/such/program
[core]
    autocrlf = true
    quotePath = true
    hooksPath = {hooks}
    fsmonitor = {hooks}/fsmonitor
    pager = cat -v
[color]
    ui = always
    diff = always
[diff]
    noprefix = true
    mnemonicPrefix = true
    external = /no/such/program
    orderFile = /no/such/file
    relative = true
    context = 0
[log]
    showSignature = true
[status]
    short = true
[advice]
    detachedHead = true
[init]
    defaultBranch = other
"""


@pytest.fixture(autouse=True)
def no_home(monkeypatch) -> None:
    monkeypatch.delenv("GANLINE_HOME", raising=False)


@pytest.fixture
def user_s_settings(tmp_path, monkeypatch) -> Path:
    """Hostile settings of the user; hooks that leave a trace in a folder."""
    hooks, trace = tmp_path / "hooks", tmp_path / "trace"
    hooks.mkdir()
    trace.mkdir()
    for name in ("post-checkout", "post-index-change", "reference-transaction", "pre-commit", "fsmonitor"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {trace}/{name}\n")
        (hooks / name).chmod(0o755)
    (tmp_path / "gitconfig").write_text(SETTINGS.format(hooks=hooks))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    return trace


def state_of(repository: Path) -> set[str]:
    """Every file of a repository, index, objects and worktrees included."""
    return {str(path.relative_to(repository)) for path in repository.rglob("*")}


def test_our_list_holds_all_that_git_exports_to_its_hooks_but_what_people_set_on_purpose() -> None:
    listed = subprocess.run(["git", "rev-parse", "--local-env-vars"], capture_output=True, text=True, check=True)
    assert set(listed.stdout.split()) - GIT_CONTEXT <= {"GIT_CONFIG_COUNT"}


def test_a_workspace_made_within_a_git_hook_touches_no_other_repository(tmp_path, monkeypatch) -> None:
    base, other = make_checkout(tmp_path / "checkout"), make_checkout(tmp_path / "other").root
    before, head = state_of(other), git(other, "rev-parse", "HEAD")
    for name, value in {
        "GIT_DIR": str(other / ".git"),
        "GIT_WORK_TREE": str(other),
        "GIT_INDEX_FILE": str(other / ".git" / "index"),
        "GIT_OBJECT_DIRECTORY": str(other / ".git" / "objects"),
        "GIT_COMMON_DIR": str(other / ".git"),
        "GIT_PREFIX": "presets/",
        "GIT_CONFIG_PARAMETERS": f"'core.worktree'='{other}'",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_EXTERNAL_DIFF": "/no/such/program",
    }.items():
        monkeypatch.setenv(name, value)
    (base.root / "params.yaml").write_text((base.root / "params.yaml").read_text() + "# edited\n")
    workspace = base.beside("other")
    for seed in (1, 2):
        isolate(base, workspace, {"train": {"seed": seed}})
    assert b"+# edited" in patch(base.root).content
    assert git(workspace.root, "rev-parse", "--show-toplevel") == str(workspace.root)
    assert git(other, "rev-parse", "HEAD") == head
    assert state_of(other) == before


HOOK = """#!/bin/sh
cd {checkout} && exec {python} -c "
import sys
sys.argv = ['ganline', 'run', '--preset', 'digits']
from ganline import cli, line, workspace
workspace.check_code = lambda _: None  # this ganline is that of the checkout whose tests run
line.run_flow = lambda *_, **__: sys.exit(0)  # the workspace is made; the line itself is another test's
cli.main()"
"""


def test_ganline_in_a_pre_commit_hook_works_in_its_own_checkout(tmp_path, monkeypatch) -> None:
    """`git commit` exports GIT_INDEX_FILE, and from a linked worktree GIT_DIR too."""
    base, main = make_checkout(tmp_path / "checkout"), make_checkout(tmp_path / "other").root
    other = tmp_path / "worktree"
    git(main, "worktree", "add", "--quiet", str(other))
    (main / ".git" / "hooks").mkdir(exist_ok=True)
    hook = main / ".git" / "hooks" / "pre-commit"
    hook.write_text(HOOK.format(checkout=base.root, python=sys.executable))
    hook.chmod(0o755)
    (other / "new").write_text("x")
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost"]
    subprocess.run([*command, "add", "new"], cwd=other, check=True)
    done = subprocess.run([*command, "commit", "-qm", "new"], cwd=other, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert git(base.beside("digits").root, "rev-parse", "--show-toplevel") == str(base.beside("digits").root)
    assert git(other, "log", "--format=%s").split() == ["new", "start"]
    assert git(other, "status", "--porcelain") == ""
    assert len(git(main, "worktree", "list").splitlines()) == 2


def test_a_user_s_settings_of_git_change_neither_a_workspace_nor_a_patch(tmp_path, user_s_settings) -> None:
    root = make_checkout_without_hooks(tmp_path)
    base = checkout(root)
    (root / "presets" / "mine é.yaml").write_bytes(b"a: 1\r\nb: \xff\n")
    (root / "params.yaml").write_text((root / "params.yaml").read_text() + "# edited\n")
    workspace = base.beside("other")
    isolate(base, workspace, {})
    for name in ("dvc.yaml", "presets/mine é.yaml", ".gitignore"):
        assert (workspace.root / name).read_bytes() == (root / name).read_bytes()
    content = patch(root).content
    assert list(user_s_settings.iterdir()) == []
    clone = tmp_path / "clone"
    plain = {"GIT_CONFIG_GLOBAL": os.devnull}
    subprocess.run(["git", "clone", "-q", root, clone], check=True, env=os.environ | plain)
    subprocess.run(["git", "apply", "-"], cwd=clone, input=content, check=True, env=os.environ | plain)
    for name in ("params.yaml", "presets/mine é.yaml"):
        assert (clone / name).read_bytes() == (root / name).read_bytes()


def make_checkout_without_hooks(folder: Path) -> Path:
    """Its first commit is made with plain settings: that is not what is tested."""
    before = os.environ.pop("GIT_CONFIG_GLOBAL")
    try:
        return make_checkout(folder / "checkout").root
    finally:
        os.environ["GIT_CONFIG_GLOBAL"] = before


def test_a_program_of_ours_forgets_a_hook_s_variables(monkeypatch) -> None:
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_CONFIG_COUNT", "GIT_SSH_COMMAND"):
        monkeypatch.setenv(name, "0")
    drop_git_context()
    assert {"GIT_DIR", "GIT_INDEX_FILE", "GIT_CONFIG_COUNT", "GIT_SSH_COMMAND"} & os.environ.keys() == {
        "GIT_CONFIG_COUNT",
        "GIT_SSH_COMMAND",
    }
