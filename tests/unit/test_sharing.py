"""Only what is meant to travel travels: in a version's patch, its code, and an isolated workspace."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ganline.config import parse, read_yaml
from ganline.errors import ConfigError, WorkspaceError
from ganline.git import git, git_bytes
from ganline.sharing import (
    MAX_BYTES,
    MOST_NAMED,
    describe_left_out,
    is_secret,
    public_address,
    reason_against,
    without_userinfo,
)
from ganline.snapshot import SNAPSHOT_MESSAGE, base_commit, package_files, patch
from ganline.workspace import Workspace, isolate

ROOT = Path(__file__).parents[2]
CANARY = b"canary-4f1c"
TRACKED = {
    "src/ganline/__init__.py": b"A = 1\n",
    "src/ganline/windows.py": b"one\r\ntwo\r\n",
    "src/ganline/latin.py": b"# caf\xe9\n",
    "docs/page.md": b"text\n",
    "docs/gone.md": b"text\n",
    "server.pem": b"a key that its owner committed\n",
    "dvc.lock": b"schema: '2.0'\n",
}
CHANGED = {
    "src/ganline/__init__.py": b"A = 2\n",
    "src/ganline/windows.py": b"one\r\n2\r\n",
    "src/ganline/latin.py": b"# caf\xe9 au lait\n",
    "docs/page.md": b"another text\n",
}
NEW = {
    "src/ganline/newfile.py": b"B = 3\n",
    "src/ganline/empty.py": b"",
    "presets/mine.yaml": b"train: {seed: 5}\n",
    'studies/q "1"/über.md': b"# study\n",
    "src/ganline/page/look.css": b"p {}\n",
}
STAYS = {
    ".env": "outside",
    "notes.txt": "outside",
    "setup.py": "outside",
    "data_private/x.csv": "outside",
    "mlflow/server.env": "outside",
    "src/.secret": "dotfile",
    "src/.vscode/settings.json": "dotfile",
    "src/ganline/.env": "named like a secret",
    "src/ganline/.aws/settings.json": "named like a secret",
    "flows/token.key": "named like a secret",
    "flows/credentials.json": "named like a secret",
    "presets/mine.bak": "suffix",
    "presets/notes.txt": "suffix",
    "expectations/people.csv": "suffix",
    "src/big.py": "MiB",
}


def write(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


@pytest.fixture
def root(tmp_path) -> Path:
    """A checkout with changes that travel and planted files that stay. Git's settings are a user's odd ones."""
    root = tmp_path / "checkout"
    write(root, TRACKED)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"]):
        git(root, *command)
    for key in ("diff.noprefix", "diff.mnemonicPrefix"):
        git(root, "config", key, "true")
    git(root, "config", "color.ui", "always")
    write(root, CHANGED | NEW)
    (root / "docs/gone.md").unlink()
    write(root, dict.fromkeys(STAYS, CANARY))
    write(root, {"server.pem": CANARY, "dvc.lock": CANARY, "src/big.py": CANARY + b"#" * MAX_BYTES})
    (root / "src/ganline/link.py").symlink_to(root / ".env")
    (root / "src/linked").symlink_to(root / "data_private")
    return root


def objects(root: Path) -> bytes:
    """The content of every object in git's store, reachable or not."""
    return git_bytes(root, "cat-file", "--batch-all-objects", "--batch")


def test_a_patch_holds_changes_and_new_code_and_nothing_else(root) -> None:
    found = patch(root)
    assert CANARY not in found.content
    assert CANARY not in objects(root)
    assert b"+A = 2" in found.content and b"+B = 3" in found.content
    for name, reason in STAYS.items():
        directory = name.split("/")[0] + "/"  # strays are named by their folder
        assert reason in (found.left_out.get(name) or found.left_out[directory])
    assert "secret" in found.left_out["server.pem"]
    assert "link" in found.left_out["src/ganline/link.py"] and "link" in found.left_out["src/linked"]
    assert found.code_left_out.keys() == {n for n in STAYS if STAYS[n] != "outside"} | {
        "server.pem",
        "src/ganline/link.py",
        "src/linked",
    }


def test_the_patch_applied_to_its_commit_gives_the_working_tree_less_what_stays(root, tmp_path) -> None:
    git(root, "worktree", "add", "--detach", str(tmp_path / "again"), base_commit(root))
    (tmp_path / "changes.patch").write_bytes(patch(root).content)
    again = tmp_path / "again"
    git(again, "apply", "--whitespace=nowarn", str(tmp_path / "changes.patch"))
    there = {
        path.relative_to(again).as_posix(): path.read_bytes()
        for path in again.rglob("*")
        if path.is_file() and path.name != ".git"
    }
    assert there == {name: content for name, content in (TRACKED | CHANGED | NEW).items() if name != "docs/gone.md"}


def test_strays_and_secrets_do_not_make_a_tree_dirty(root) -> None:
    git(root, "checkout", "-q", "--", "src", "docs")
    for name in NEW:
        (root / name).unlink()
    found = patch(root)
    assert found.content == b""
    assert len(found.left_out) > 10


def test_a_workspace_takes_what_the_patch_takes_and_looks_the_same_from_there(root) -> None:
    before = patch(root)
    write(root, {"params.yaml": (ROOT / "params.yaml").read_bytes()})
    git(root, "add", "params.yaml")
    git(root, "commit", "-qm", "parameters", "--", "params.yaml")
    base = Workspace(root, root / ".ganline")
    workspace = base.beside("other")
    isolate(base, workspace, {})
    assert git(workspace.root, "log", "-1", "--format=%s") == SNAPSHOT_MESSAGE
    assert CANARY not in objects(root)
    planted = [path for path in workspace.root.rglob("*") if path.is_file() and CANARY in path.read_bytes()]
    assert planted == []
    (workspace.root / "params.yaml").write_bytes((root / "params.yaml").read_bytes())
    there = patch(workspace.root)
    assert there.content == before.content
    assert there.code_left_out == {}


def test_files_that_git_ignores_stay(root) -> None:
    write(root, {".gitignore": b"local_*\n", "src/ganline/local_settings.py": CANARY})
    found = patch(root)
    assert CANARY not in found.content
    assert "local_settings.py" not in package_files(root / "src/ganline", inside="src/ganline")


IGNORED = {".gitignore": b"private*\n", "src/ganline/private.yaml": CANARY}


def test_ignored_files_stay_whatever_git_is_led_to(root, tmp_path, monkeypatch) -> None:
    write(root, IGNORED)
    git(root, "config", "core.fsmonitor", f"touch {tmp_path}/ran")
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    assert "private.yaml" not in package_files(root / "src/ganline", inside="src/ganline")
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def unreadable(root, monkeypatch) -> Path:
    """A checkout that git refuses to read, as one that belongs to somebody else."""
    write(root, IGNORED)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return root


@pytest.mark.parametrize("ask", [base_commit, patch, lambda root: package_files(root / "src/ganline", inside="src")])
def test_a_repository_that_git_cannot_read_is_no_clean_one(unreadable, ask) -> None:
    with pytest.raises(WorkspaceError, match=r"(?s)dubious ownership.*to do"):
        ask(unreadable)


def test_without_repository_or_commit_there_is_no_base(tmp_path) -> None:
    assert base_commit(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert base_commit(tmp_path) is None
    assert patch(tmp_path).content == b""


def test_the_code_beside_a_model_is_chosen_by_the_same_rule(root, tmp_path) -> None:
    expected = {"__init__.py", "windows.py", "latin.py", "newfile.py", "empty.py", "page/look.css"}
    assert set(package_files(root / "src/ganline", inside="src/ganline")) == expected
    installed = shutil.copytree(root / "src/ganline", tmp_path / "site-packages/ganline", symlinks=True)
    assert set(package_files(installed, inside="src/ganline")) == expected
    # In an environment that lies in a checkout which ignores it.
    write(root, {".gitignore": b"/.venv\n"})
    within = shutil.copytree(root / "src/ganline", root / ".venv/ganline", symlinks=True)
    assert set(package_files(within, inside="src/ganline")) == expected


def test_this_package_travels_whole() -> None:
    package = ROOT / "src" / "ganline"
    tracked = subprocess.run(["git", "ls-files"], cwd=package, capture_output=True, text=True, check=True).stdout
    assert set(tracked.splitlines()) <= set(package_files(package, inside="src/ganline"))


def test_no_tracked_file_of_the_project_would_be_refused_as_a_secret() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [name for name in tracked.splitlines() if is_secret(name)] == [".dvc/config"]


@pytest.mark.parametrize("name", sorted(STAYS))
def test_every_planted_name_is_refused_for_its_reason(name) -> None:
    num_bytes = MAX_BYTES + 1 if name == "src/big.py" else 1
    assert STAYS[name] in (reason_against(name, num_bytes=num_bytes) or "")


def test_names_of_secrets_are_ignored_by_git() -> None:
    for name in (".env", "src/.env.local", "a.pem", "b.key", ".netrc", "mlflow/server.env", "credentials.json"):
        assert subprocess.run(["git", "check-ignore", "-q", name], cwd=ROOT, check=False).returncode == 0, name
    assert subprocess.run(["git", "check-ignore", "-q", "mlflow/server.env.example"], cwd=ROOT, check=False).returncode


def test_many_left_out_are_counted() -> None:
    text = describe_left_out({f"a{i:02d}\n": "a dotfile" for i in range(MOST_NAMED + 3)})
    assert text.endswith("and 3 more") and "\n" not in text


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("https://user:pass@host/a", "https://host/a"),
        ("s3://token@bucket", "s3://bucket"),
        ("https://user:p@ss@host", "https://host"),
        ("https://user:p/ss@host/a", "https://host/a"),
        ("https://user:/pass@host", "https://host"),
        ("https://user:a/b?c#d@e@host", "https://host"),
        ("https://user@corp:p/ss@host", "https://host"),
        ("https://user:123@host", "https://host"),
        ("https://:pass@[::1]:80/a", "https://[::1]:80/a"),
        ("a: 'x://u:p@h/a', \"y://t@h\" and z://u:p@h, a@b", "a: 'x://h/a', \"y://h\" and z://h, a@b"),
        ("https://host/@scope/a?mail=a@b", "https://host/@scope/a?mail=a@b"),
        ("https://host?mail=a@b", "https://host?mail=a@b"),
        ("https://host:8080/path@v1", "https://host:8080/path@v1"),
        ("https://token@host:8080/path@v1", "https://host:8080/path@v1"),
        ("https://[::1]:8080/path@v1", "https://[::1]:8080/path@v1"),
        ("https://user:pass@host/path@v1", "https://v1"),  # the password may as well be `pass@host/path`
        ("sqlite:////data/a@b.db", "sqlite:////data/a@b.db"),
        ("models:/tiny@champion", "models:/tiny@champion"),
        ("a@b", "a@b"),
    ],
)
def test_addresses_lose_their_users_and_passwords(text, public) -> None:
    assert without_userinfo(text) == public


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("user:pass@host:9", "host:9"),
        ("user:p#a/s?s@host:9", "host:9"),
        ("host:9", "host:9"),
        ("http://user:p 'a\"ss@host:9", "http://host:9"),
        ("http://host:9/a?b@c", "http://host:9/a?b@c"),
    ],
)
def test_a_whole_address_may_lack_a_scheme_and_hold_spaces(address, public) -> None:
    assert public_address(address) == public


@pytest.mark.parametrize(
    "mirrors",
    [
        ["https://me:canary-4f1c@host/x"],
        "https://canary-4f1c@host/x",
        "https://me:p/canary-4f1c@host/x",
        "https://me:p@canary-4f1c@host/x",
    ],
)
def test_a_password_in_params_is_refused_without_being_shown(mirrors) -> None:
    content = read_yaml(ROOT / "params.yaml")
    content["data"]["mirrors"] = mirrors
    with pytest.raises(ConfigError, match="GANLINE_MIRROR") as caught:
        parse(content, source="params.yaml")
    assert "data.mirrors" in str(caught.value) and "https://host/x" in str(caught.value)
    assert CANARY.decode() not in str(caught.value)


def test_a_tree_without_a_commit_has_no_patch(tmp_path) -> None:
    assert patch(tmp_path).content == b""
    git(tmp_path, "init", "-q")
    assert patch(tmp_path).content == b""
    assert [path.name for path in tmp_path.iterdir()] == [".git"]
