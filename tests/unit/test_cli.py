"""Exit codes and messages of the command line."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from ganline import cli
from ganline.errors import ConfigError


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), (["no-such-command"], 2), (["run", "--res", "4"], 1)])
def test_exit_codes(arguments, code) -> None:
    result = subprocess.run([sys.executable, "-m", "ganline", *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == code
    assert "Traceback" not in result.stderr


def test_the_help_shows_what_users_run_first_and_the_stages_last() -> None:
    command = [sys.executable, "-m", "ganline", "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    places = [told.index(panel) for panel in ("Make a model", "Use a model", "This machine", "Stages of dvc.yaml")]
    assert places == sorted(places)
    assert told.index("│ run ") < told.index("│ generate ") < told.index("│ manifest ")


def decode(place: Path) -> str:
    """What the command says of a place where it cannot paint."""
    command = [sys.executable, "-m", "ganline", "decode", str(place), "-o", str(place.parent / "grid.png")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    return result.stderr


def test_a_place_without_a_language_model_is_named(tmp_path) -> None:
    assert f"{tmp_path} holds no artifacts/llm" in decode(tmp_path)


def test_a_missing_workspace_is_told_with_those_that_are_there(tmp_path) -> None:
    (tmp_path / "speedup-tiny/artifacts/llm").mkdir(parents=True)
    told = decode(tmp_path / "speedup-tin")
    assert "speedup-tin is not a folder" in told and str(tmp_path / "speedup-tiny") in told


@pytest.mark.parametrize("stop", [KeyboardInterrupt, cli.typer.Abort])
def test_an_interrupt_is_130_and_says_how_to_go_on(stop, monkeypatch, capsys) -> None:
    def interrupted(**_: object) -> None:
        raise stop

    monkeypatch.setattr(cli, "app", interrupted)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130
    assert "run the same command again" in capsys.readouterr().err


def test_a_command_s_own_exit_code_is_kept(monkeypatch) -> None:
    monkeypatch.setattr("ganline.doctor.report", lambda: ("disk MISSING", False))
    monkeypatch.setattr(sys, "argv", ["ganline", "doctor"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1


@pytest.mark.parametrize("text", ["two", "0", "-1", ""])
def test_a_number_of_ranks_that_is_none_is_refused(text, monkeypatch) -> None:
    monkeypatch.setenv("GANLINE_RANKS", text)
    with pytest.raises(ConfigError, match=f"GANLINE_RANKS is {text!r}"):
        cli.asked_ranks()


def test_a_name_that_the_terminal_cannot_write_is_no_traceback(monkeypatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    monkeypatch.setattr(cli, "app", lambda **_: print("日本 \udcff", flush=True))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert written.getvalue() == b"\\u65e5\\u672c \\udcff\n"
