"""Commands used wrongly: one message, no traceback, nothing written, and no work done before."""

from __future__ import annotations

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
