"""Versions that hold more than should have travelled are found, by name, and mended in place or deleted whole."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ganline.cli import app
from ganline.files import sha256_file
from ganline.integrations import mlflow_store
from ganline.integrations.mlflow_audit import audit, read_patch
from ganline.integrations.mlflow_ledger import ledger_of
from ganline.integrations.mlflow_registry import Lineage, download_bundle, register
from ganline.integrations.mlflow_versions import find_version, versions
from ganline.registry.promotion import FloorsConfig
from ganline.snapshot import git, git_bytes, patch

pytestmark = pytest.mark.usefixtures("embedded")

CANARY = b"canary-77aa"
METRICS = {"fd": {"name": "fd_cnn_shapes@1a2b3c4d_n64", "value": 3.0, "split": "test"}}
NAMES = ("src/ganline/new.py", 'src/q "1"/über a.py', "notes b/notes.txt", ".env", "src/.env", "presets/x.bak")


@pytest.fixture
def root(tmp_path) -> Path:
    """A checkout with files that may travel and such that may not."""
    root = tmp_path / "checkout"
    for name, content in (
        ("src/ganline/__init__.py", b"A = 1\n"),
        ("key.pem", b"old\n"),
        ("old name.txt", b"1\n2\n3\n"),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"]):
        git(root, *command)
    for name in (*NAMES, "src/ganline/__init__.py", "key.pem"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(CANARY + b"\n" if name not in NAMES[:2] else b"B = 2\n")
    (root / "src/ganline/__init__.py").write_bytes(b"A = 2\n")
    (root / "src/picture.bin").write_bytes(b"\0\1" + CANARY)
    (root / "src/ganline/link.py").symlink_to("/etc/hostname")
    (root / "src/ganline/empty.py").touch()
    (root / "old name.txt").rename(root / "new name.txt")
    return root


def old_patch(root: Path, *settings: str) -> bytes:
    """A patch as earlier releases made it: everything that lies in the checkout."""
    git(root, "add", "--all")
    return git_bytes(root, *settings, "diff", "--cached", "--binary", "HEAD")


@pytest.mark.parametrize("settings", [(), ("-c", "diff.noprefix=true"), ("-c", "diff.mnemonicPrefix=true")])
def test_names_and_reasons_are_read_from_a_patch_whatever_git_was_set_to(root, settings) -> None:
    found = {change.name: change.reason for change in read_patch(old_patch(root, *settings))}
    assert set(found) == {*NAMES, "src/ganline/__init__.py", "key.pem", "src/picture.bin", "src/ganline/link.py",
                          "src/ganline/empty.py", "new name.txt"}  # fmt: skip
    may = {name for name, reason in found.items() if reason is None}
    assert may == {*NAMES[:2], "src/ganline/__init__.py", "src/ganline/empty.py"}
    assert "secret" in found["key.pem"] and "secret" in found["src/.env"]
    assert "link" in found["src/ganline/link.py"] and "outside" in found["new name.txt"]


def test_a_patch_of_today_has_nothing_to_be_found(root) -> None:
    changes = read_patch(patch(root).content)
    assert {*NAMES[:2]} < {change.name for change in changes}
    assert [change.name for change in changes if change.reason] == []


def holding(folder: Path) -> list[str]:
    return [
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and CANARY in path.read_bytes()
    ]


def enter(make_bundle, root: Path, name: str, seed: int) -> str:
    """Register a version as earlier releases did. Returns its bundle's hash."""
    bundle = make_bundle(seed)
    files = {
        "changes.patch": old_patch(root),
        "params.yaml": b"data: {mirrors: ['https://user:" + CANARY + b"@host/x']}\n",
    }
    lineage = Lineage("r" * 64, "m" * 64, "shapes")
    register(bundle, name=name, floors=FloorsConfig(fd_max=5.0), metrics=METRICS, lineage=lineage, replay_files=files)
    code = Path(versions(name)[0].location.removeprefix("file://")) / "code" / "ganline"
    (code / ".env").write_bytes(CANARY)
    return sha256_file(bundle / "model.json")


def test_a_version_that_holds_more_is_listed_and_mended_in_place(make_bundle, root, home, tmp_path) -> None:
    bundle = enter(make_bundle, root, "mended", 1)
    assert len(holding(home)) == 3
    before = find_version("mended", bundle)
    listed = CliRunner().invoke(app, ["audit", "mended"])
    assert listed.exit_code == 1
    for words in (
        "models:/mended/1",
        "'.env'",
        "'key.pem'",
        "code/ganline/.env",
        "an address",
        "ganline audit --delete",
    ):
        assert words in listed.output
    assert CANARY.decode() not in listed.output
    assert len(holding(home)) == 3
    mended = CliRunner().invoke(app, ["audit", "mended", "--delete"])
    assert mended.exit_code == 0, mended.output
    assert holding(home) == []
    assert CliRunner().invoke(app, ["audit", "mended"]).exit_code == 0
    # What is left replays, and the version is as it was.
    package = Path(before.location.removeprefix("file://"))
    git(root, "worktree", "add", "--detach", str(tmp_path / "again"), "HEAD")
    git(tmp_path / "again", "apply", str(package / "replay" / "changes.patch"))
    assert (tmp_path / "again" / NAMES[1]).read_bytes() == b"B = 2\n"
    assert find_version("mended", bundle) == before
    assert download_bundle("models:/mended/1").name == bundle


def test_the_printed_recipe_deletes_a_whole_version_and_its_bytes_and_leaves_the_ledger(
    make_bundle, root, home
) -> None:
    enter(make_bundle, root, "whole", 2)
    client = mlflow_store.open_store().client
    client.set_registered_model_tag("whole", "ganline.ledger.000001", "a line")
    ledger = ledger_of("whole")
    assert len(holding(home)) == 3
    output = CliRunner().invoke(app, ["audit", "whole"]).output
    commands = re.search(r"(?s)    export MLFLOW.*?--logged-model-ids \S+\n", output)
    assert commands is not None
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["bash", "-euc", commands[0]], env=env, check=True, cwd=home)
    assert holding(home) == []
    assert versions("whole") == []
    assert ledger_of("whole") == ledger
    assert audit() == []


def test_the_printed_recipe_frees_git_s_store_of_what_earlier_runs_left_there(make_bundle, root, home) -> None:
    enter(make_bundle, root, "freed", 3)
    git(root, "reset", "-q")
    workspace = root / ".ganline" / "ws" / "old"
    git(root, "worktree", "add", "-q", "--detach", str(workspace))
    (workspace / "secret.txt").write_bytes(CANARY)
    git(workspace, "add", "-f", "secret.txt")  # its index holds on to what an earlier isolated run took along
    everything = ("cat-file", "--batch-all-objects", "--batch")
    assert CANARY in git_bytes(root, *everything)
    output = CliRunner().invoke(app, ["audit", "freed"]).output
    command = re.search(r"    (rm -rf .*)\n", output)
    assert command is not None
    subprocess.run(["bash", "-euc", command[1]], check=True, cwd=root)
    assert CANARY not in git_bytes(root, *everything)
    assert not workspace.exists()


@pytest.mark.parametrize("way", ["in place", "by the recipe"])
def test_a_logged_model_whose_version_was_deleted_or_never_made_is_found_and_mended(
    make_bundle, root, home, way
) -> None:
    name = way.replace(" ", "-")
    enter(make_bundle, root, name, 4 + len(way))
    [version] = versions(name)
    client = mlflow_store.open_store().client
    client.delete_model_version(name, str(version.version))
    # What a registration that was interrupted leaves: uploaded, not READY, without a version.
    experiment = mlflow_store.open_store().experiment_id
    half = client.create_logged_model(experiment, name="half", tags={"ganline.bundle": "b" * 64})
    replay = Path(half.artifact_location.removeprefix("file://")) / "replay"
    replay.mkdir(parents=True)
    (replay / "changes.patch").write_bytes(old_patch(root))
    listed = CliRunner().invoke(app, ["audit"])
    assert listed.exit_code == 1
    assert listed.output.count("no version holds it") == 2
    assert f"models:/{name}/" not in listed.output
    assert version.model_id in CliRunner().invoke(app, ["audit", name]).output
    if way == "in place":
        assert CliRunner().invoke(app, ["audit", "--delete"]).exit_code == 0
    else:
        commands = re.search(r"(?s)    export MLFLOW.*?--logged-model-ids \S+\n", listed.output)
        assert commands is not None
        env = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        subprocess.run(["bash", "-euc", commands[0]], env=env, check=True, cwd=home)
    assert holding(home) == []
    assert audit() == []
