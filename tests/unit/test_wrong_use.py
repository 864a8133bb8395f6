"""Commands used wrongly: one message, no traceback, nothing written, and no work done before."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from ganline import cli
from ganline.stages import STAGES


def call(monkeypatch, *arguments: object) -> int:
    """Exit code of `ganline ARGUMENTS` in this process; an exception that is our bug comes through."""
    monkeypatch.setattr(sys, "argv", ["ganline", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.fixture
def places(tmp_path, make_bundle) -> dict[str, Path]:
    """A bundle, and paths that cannot be written."""
    folder = tmp_path / "places"
    (folder / "folder.png").mkdir(parents=True)
    (folder / "full").mkdir()
    (folder / "full" / "mine.txt").write_text("mine")
    (folder / "file").write_text("mine")
    return {"model": make_bundle(), "here": folder}


def everything(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


OUTPUTS = {
    "folder.png": "is a folder",
    "grid.gif": "a name ending in .png or .npz, or a folder",
    "file/grid.png": "file is a file",
    "full": "is not an empty folder",
    "file": "is not an empty folder",
    "n" * 300: "n: File name too long",
    "n" * 300 + ".png": "png: File name too long",
}


@pytest.mark.parametrize("output", OUTPUTS)
def test_an_output_that_cannot_be_written_is_refused_before_anything_is_generated(
    output, places, monkeypatch, capsys
) -> None:
    monkeypatch.setattr("ganline.api.load", lambda _: pytest.fail("the model was opened"))
    before = everything(places["here"])
    assert call(monkeypatch, "generate", "--model", places["model"], "-o", places["here"] / output) == 1
    assert OUTPUTS[output] in capsys.readouterr().err
    assert everything(places["here"]) == before


@pytest.mark.parametrize("name", ["grid.png", "folder"])
def test_an_output_in_a_folder_that_may_not_be_searched_is_refused(name, places, monkeypatch, capsys) -> None:
    def refuse(path: Path, **_: object) -> os.stat_result:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("ganline.api.load", lambda _: pytest.fail("the model was opened"))
    monkeypatch.setattr(Path, "stat", refuse)  # as root, the tests may search every folder
    assert call(monkeypatch, "generate", "--model", places["model"], "-o", places["here"] / name) == 1
    error = capsys.readouterr().err
    assert f"cannot write {places['here'] / name}: Permission denied" in error and "to do" in error


@pytest.mark.skipif(not os.access("/proc", os.W_OK), reason="only root is told that /proc is writable")
def test_what_the_system_refuses_while_writing_is_a_message_too(places, monkeypatch, capsys) -> None:
    assert call(monkeypatch, "generate", "--model", places["model"], "-o", "/proc/grid.png") == 1
    assert "cannot write /proc/grid.png" in capsys.readouterr().err


WRONG = {
    ("--n", "0"): "n is 0",
    ("--n", "-1"): "n is -1",
    ("--n", "1000000000000"): "ask for fewer at a time",
    ("--truncation", "0"): "truncation is 0.0",
    ("--truncation", "2"): "truncation is 2.0",
    ("--truncation", "nan"): "truncation is nan",
    ("--label", "triangle"): "one of circle, square, half circle",
    ("--label", "-1"): "label '-1' is not known",
    ("--prompt", "a circle"): "a prompt was asked of a model that takes none",
    ("--encoder", "somewhere"): "an encoder was given without a prompt",
}


@pytest.mark.parametrize("options", WRONG, ids=lambda options: "=".join(options))
def test_a_wrong_wish_is_a_message(options, places, monkeypatch, capsys) -> None:
    output = places["here"] / "grid.png"
    assert call(monkeypatch, "generate", "--model", places["model"], "-o", output, *options) == 1
    assert WRONG[options] in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_without_its_inputs_says_which_command_makes_them(stage, tmp_path, monkeypatch, capsys) -> None:
    from tests.unit.checkouts import make_checkout

    monkeypatch.setattr("ganline.leash.die_with_owners", lambda: None)
    monkeypatch.setattr("ganline.workspace.check_code", lambda _: None)  # the tests' code is of another checkout
    monkeypatch.chdir(make_checkout(tmp_path / "checkout").root)
    assert call(monkeypatch, stage) == 1
    told = capsys.readouterr().err
    assert f"stage {stage} reads " in told and f"`dvc repro {stage}`" in told


def test_a_resolution_of_zero_is_no_missing_one(tmp_path, monkeypatch, capsys) -> None:
    from tests.unit.checkouts import make_checkout

    (tmp_path / "pictures").mkdir()
    monkeypatch.delenv("GANLINE_HOME")
    monkeypatch.setattr("ganline.leash.die_with_make", lambda: None)
    monkeypatch.setattr("ganline.line.check_packages", lambda: None)
    monkeypatch.setattr("ganline.workspace.check_code", lambda _: None)
    monkeypatch.chdir(make_checkout(tmp_path / "checkout").root)
    assert call(monkeypatch, "run", "--data", tmp_path / "pictures", "--res", "0") == 1
    assert "prepare.resolution: found 0" in capsys.readouterr().err


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A checkout to run in, up to where a flow would start."""
    from tests.unit.checkouts import make_checkout

    monkeypatch.delenv("GANLINE_HOME")
    monkeypatch.setattr("ganline.leash.die_with_make", lambda: None)
    monkeypatch.setattr("ganline.line.check_packages", lambda: None)
    monkeypatch.setattr("ganline.line.run_flow", lambda *_, **__: pytest.fail("the flow was started"))
    monkeypatch.setattr("ganline.workspace.check_code", lambda _: None)
    root = make_checkout(tmp_path / "checkout").root
    monkeypatch.chdir(root)
    return root


def refused(monkeypatch, capsys, *arguments: object) -> str:
    """What `ganline run ARGUMENTS` says; nothing is made but a lock."""
    assert call(monkeypatch, "run", *arguments) == 1
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert not Path(".ganline/ws").exists()
    return told


def test_names_that_are_too_long_are_refused_and_a_folder_s_own_is_cut(project, tmp_path, monkeypatch, capsys) -> None:
    from ganline.line import choose
    from ganline.workspace import checkout

    pictures = tmp_path / ("p" * 250)
    pictures.mkdir()
    assert "there is no preset" in refused(monkeypatch, capsys, "--preset", "p" * 300)
    assert "at most 100" in refused(monkeypatch, capsys, "--data", pictures, "--name", "n" * 300)
    chosen = choose(checkout(project), preset=None, data=pictures, resolution=32)
    assert chosen is not None and chosen[0] == f"folder-{'p' * 60}-32"


@pytest.mark.parametrize("data", ["", ".", "/", ".."])
def test_a_folder_that_holds_the_project_is_no_data(project, monkeypatch, capsys, data) -> None:
    assert "holds the project itself" in refused(monkeypatch, capsys, "--data", data, "--res", "32")


def test_a_folder_whose_name_is_not_utf_8_is_refused(project, tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "d\udcff").mkdir()
    assert "is not UTF-8" in refused(monkeypatch, capsys, "--data", tmp_path / "d\udcff", "--res", "32")


def test_a_wrong_resolution_is_sent_back_to_the_command(project, tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "pictures").mkdir()
    assert "set by RES=" in refused(monkeypatch, capsys, "--data", tmp_path / "pictures", "--res", "0")


@pytest.mark.parametrize("count", ["abc", "7", "0"])
def test_ranks_that_cannot_share_a_batch_are_refused_before_anything_runs(project, monkeypatch, capsys, count) -> None:
    monkeypatch.setenv("GANLINE_RANKS", count)
    assert "GANLINE_RANKS" in refused(monkeypatch, capsys, "--preset", "digits")


def test_a_state_folder_that_cannot_be_made_is_a_message(project, monkeypatch, capsys) -> None:
    (project / "file").touch()
    monkeypatch.setenv("GANLINE_HOME", str(project / "file"))
    told = refused(monkeypatch, capsys, "--preset", "digits")
    assert str(project / "file") in told and "to do: look at that path" in told


def test_a_cache_that_cannot_be_made_is_named_by_its_variable(tmp_path, monkeypatch) -> None:
    from ganline.environment import make_caches
    from ganline.errors import ConfigError

    (tmp_path / "file").touch()
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "file" / "x"))
    with pytest.raises(ConfigError, match=r"DVC_SITE_CACHE_DIR=.*cannot be used"):
        make_caches()
