"""No process of a line outlives the one that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

CHILD = "import time; from ganline import leash; leash.die_with_owners(); print('up', flush=True); time.sleep(60)"


def gone(pid: int, *, within: float = 10.0) -> bool:
    end = time.monotonic() + within
    while time.monotonic() < end:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("through_a_shell", [False, True])
def test_a_stage_dies_with_the_process_that_ran_it(through_a_shell) -> None:
    call = f"subprocess.Popen([sys.executable, '-c', {CHILD!r}], stdout=subprocess.PIPE, text=True)"
    if through_a_shell:  # as dvc does; the trailing `true` keeps the shell from being replaced by its command
        call = (
            f"subprocess.Popen('{sys.executable} -c \"$CHILD\"; true', shell=True, stdout=subprocess.PIPE, text=True)"
        )
    parent_code = f"""
import psutil, subprocess, sys, time
child = {call}
child.stdout.readline()
print([p.pid for p in psutil.Process().children(recursive=True)][-1], flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", parent_code], stdout=subprocess.PIPE, text=True, env=os.environ | {"CHILD": CHILD}
    )
    assert parent.stdout is not None
    child_pid = int(parent.stdout.readline())
    assert psutil.pid_exists(child_pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert gone(child_pid)


def test_a_named_owner_that_is_already_gone_ends_the_child_at_once() -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    owner = f"{dead.pid}:0.00"
    dead.wait()
    child = subprocess.run(
        [sys.executable, "-c", CHILD], env=os.environ | {"GANLINE_OWNER": owner}, timeout=20, check=False
    )
    assert child.returncode == 128 + signal.SIGKILL
