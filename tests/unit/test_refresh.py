"""The scheduled line asks what `ganline run` asks, before it makes a workspace."""

from __future__ import annotations

import logging

import pytest

from flows import refresh
from ganline import doctor, effects
from ganline.errors import ConfigError
from tests.unit.checkouts import make_checkout


def without_extra(config: object, goal: str = "model") -> None:
    raise ConfigError("an extra is missing")


CASES = {
    "a package that breaks others": (doctor, "broken_packages", lambda: ["pandas 9 breaks others"], "breaks others"),
    "a missing extra": (effects, "check_installed", without_extra, "an extra is missing"),
    "code of another checkout": (None, "", None, "is another checkout"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_run_would_refuse_is_refused_before_a_workspace_is_made(case, tmp_path, monkeypatch) -> None:
    module, name, replacement, words = CASES[case]
    monkeypatch.delenv("GANLINE_HOME", raising=False)
    for variable in ("PYTHONPATH", "PATH"):  # the flow sets them for its process
        monkeypatch.setenv(variable, "/usr/bin")
    base = make_checkout(tmp_path / "checkout")
    monkeypatch.chdir(base.root)
    monkeypatch.setattr(refresh, "get_run_logger", lambda: logging.getLogger("test"))
    monkeypatch.setattr(refresh, "pipeline", lambda *_, **__: pytest.fail("the flow was started"))
    if module is not None:
        monkeypatch.setattr(module, name, replacement)
        monkeypatch.setattr(refresh, "check_code", lambda workspace: None)
    state = refresh.refresh.fn("mnist")
    assert state.is_failed() and words in state.message
    assert not list((base.home / "ws").glob("*"))
