"""Pieces of work in processes of their own."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import active_children, current_process
from pathlib import Path

import psutil
import pytest

from ganline.errors import TrainingError
from ganline.side_by_side import side_by_side


def leave_a_note(path: Path) -> None:
    logging.getLogger("ganline.test").info("at work")
    path.write_text(f"{os.getpid()} {current_process().name}")


def take_a_while(path: Path) -> None:
    time.sleep(0.3)
    path.touch()


def end_as_if_memory_were_short(path: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def never_end(path: Path) -> None:
    path.write_text(str(os.getpid()))
    time.sleep(600)


def fail(path: Path) -> None:
    raise TrainingError(f"{path.name} diverged", remedy="lower the learning rate")


def test_work_is_done_in_processes_that_tell_its_name(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("ganline").setLevel(logging.INFO)
    side_by_side({name: partial(leave_a_note, tmp_path / name) for name in ("a", "b", "c")}, at_once=2)
    notes = {path.name: path.read_text().split() for path in tmp_path.iterdir()}
    assert {name: told for name, (_, told) in notes.items()} == {"a": "a", "b": "b", "c": "c"}
    pids = {pid for pid, _ in notes.values()}
    assert str(os.getpid()) not in pids and len(pids) <= 2
    assert "b: at work" in capfd.readouterr().out


def test_one_at_a_time_needs_no_process(tmp_path: Path) -> None:
    side_by_side({"a": partial(leave_a_note, tmp_path / "a")}, at_once=1)
    assert (tmp_path / "a").read_text().split()[0] == str(os.getpid())


@pytest.mark.parametrize("at_once", [1, 2])
def test_an_error_arrives_as_it_was_and_nothing_begins_after_it(tmp_path: Path, at_once: int) -> None:
    later = {f"later-{i}": partial(take_a_while, tmp_path / f"later-{i}") for i in range(20)}
    with pytest.raises(TrainingError, match="s1 diverged") as caught:
        side_by_side({"s1": partial(fail, tmp_path / "s1")} | later, at_once=at_once)
    assert caught.value.remedy == "lower the learning rate"
    assert not active_children(), "those under way have ended"
    assert len(list(tmp_path.iterdir())) < at_once, "what was under way"


def test_a_killed_process_is_told_by_name_and_without_a_traceback(tmp_path: Path) -> None:
    later = {f"later-{i}": partial(take_a_while, tmp_path / f"later-{i}") for i in range(5)}
    with pytest.raises(TrainingError, match=r"was killed: that of .*s1") as caught:
        side_by_side({"s1": partial(end_as_if_memory_were_short, tmp_path / "s1")} | later, at_once=2)
    assert "at_once" in (caught.value.remedy or "")
    assert not active_children()


START = """
import sys
import signal
from functools import partial
from pathlib import Path
sys.path.insert(0, {tests!r})
from unit.test_side_by_side import never_end
from ganline.side_by_side import side_by_side

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell runs in the background ignores it
    side_by_side({{name: partial(never_end, Path({folder!r}) / name) for name in "ab"}}, at_once=2)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_ctrl_c_or_a_kill_of_who_started_them(tmp_path: Path, how: signal.Signals) -> None:
    script = tmp_path / "start.py"
    script.write_text(START.format(tests=str(Path(__file__).parents[1]), folder=str(tmp_path)))
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    notes = [tmp_path / name for name in "ab"]
    try:
        until(lambda: all(note.exists() and note.read_text() for note in notes))
        parent.send_signal(how)  # to it alone: a terminal's Ctrl-C reaches the others too
        parent.wait(timeout=20)
        until(lambda: not any(lives(int(note.read_text())) for note in notes))
    finally:
        parent.kill()
        for note in notes:
            if note.exists() and note.read_text() and lives(int(note.read_text())):
                psutil.Process(int(note.read_text())).kill()


def lives(pid: int) -> bool:
    """Nobody may be there to reap a child whose parent was killed."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(so: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.1)
