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


def test_a_leashed_process_takes_its_own_children_along() -> None:
    """Prefect's ephemeral server is such a child: it would survive a flow that is killed."""
    grandchild = "import time; time.sleep(60)"
    child = (
        "import subprocess, sys, time; from ganline import leash; leash.die_with_owners();"
        f"p = subprocess.Popen([sys.executable, '-c', {grandchild!r}]); print(p.pid, flush=True); time.sleep(60)"
    )
    parent_code = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE, text=True)
print(child.stdout.readline(), flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", parent_code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    assert gone(pid)


def test_what_an_owner_started_is_found_and_killed_however_far_away() -> None:
    from ganline.leash import kill_owned

    owner = {"GANLINE_OWNER": "123456:1.00"}
    far = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env=os.environ | owner)
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    kill_owned(owner)
    assert far.wait(timeout=10) == -signal.SIGKILL
    assert other.poll() is None
    other.kill()
    other.wait()


def test_a_command_dies_with_the_make_that_it_runs_for_but_not_with_a_shell(tmp_path) -> None:
    code = "import os, time; from ganline import leash; leash.die_with_make(); print(os.getpid(), flush=True)"
    command = f"{sys.executable} -c '{code}; time.sleep(60)'"
    (tmp_path / "Makefile").write_text(f"run:\n\t@exec {command}\n")
    for starter, dies in ((["make", "-C", str(tmp_path), "-s"], True), (["bash", "-c", f"{command}; true"], False)):
        parent = subprocess.Popen(starter, stdout=subprocess.PIPE, text=True)
        assert parent.stdout is not None
        child_pid = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
        assert gone(child_pid, within=10.0 if dies else 2.0) == dies
        if not dies:
            os.kill(child_pid, signal.SIGKILL)


LEADER = """
import subprocess, sys, time
children = [subprocess.Popen(["sleep", "60"]) for _ in range(60)]
print(*(child.pid for child in children), flush=True)
children[0].wait()
"""


def test_all_descendants_die_even_where_a_parent_ends_as_soon_as_its_child_does() -> None:
    """A server's main process that waits for its workers ends the process whose thread kills them."""
    from ganline.leash import kill_descendants

    code = f"""
import os, subprocess, sys, threading
from ganline.leash import kill_descendants
leader = subprocess.Popen([sys.executable, "-c", {LEADER!r}], stdout=subprocess.PIPE, text=True)
print(leader.stdout.readline(), flush=True)
threading.Thread(target=kill_descendants, args=(os.getpid(),), daemon=True).start()
leader.wait()
os._exit(0)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pids = [int(pid) for pid in process.stdout.readline().split()]
    process.wait(timeout=30)
    assert len(pids) == 60
    assert all(gone(pid, within=2.0) for pid in pids)
    kill_descendants(process.pid, itself=True)  # none left is no error


GOODBYE = """
import signal, subprocess, sys, time
def leave(*_):
    print("goodbye", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
left_behind = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print(left_behind.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda stop: stop.name)
def test_a_stop_lets_a_command_say_goodbye_and_takes_what_it_started(stop) -> None:
    code = f"""
import os, sys
from pathlib import Path
from ganline.leash import run_to_its_end
try:
    run_to_its_end([sys.executable, "-c", {GOODBYE!r}], cwd=Path.cwd(), env=os.environ)
except KeyboardInterrupt:
    sys.exit(130)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.send_signal(stop)
    assert process.wait(timeout=30) == 130
    assert process.stdout.readline() == "goodbye\n"
    assert gone(pid)


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    code = """
import os, signal, sys
from pathlib import Path
from ganline.leash import run_to_its_end
signal.signal(signal.SIGHUP, signal.SIG_IGN)
command = [sys.executable, "-c", "import os, signal; os.kill(os.getppid(), signal.SIGHUP)"]
sys.exit(run_to_its_end(command, cwd=Path.cwd(), env=os.environ))
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 0


def test_a_pause_pauses_the_children_and_sigcont_lets_them_go_on() -> None:
    code = """
import os, sys
from pathlib import Path
from ganline.leash import run_to_its_end
run_to_its_end([sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"],
               cwd=Path.cwd(), env=os.environ)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    child = psutil.Process(int(process.stdout.readline()))
    for sent, states in ((signal.SIGTSTP, {psutil.STATUS_STOPPED}), (signal.SIGCONT, {psutil.STATUS_SLEEPING})):
        process.send_signal(sent)
        end = time.monotonic() + 10
        while {child.status(), psutil.Process(process.pid).status()} != states and time.monotonic() < end:
            time.sleep(0.1)
        assert {child.status(), psutil.Process(process.pid).status()} == states
    process.terminate()
    process.wait(timeout=30)
    assert gone(child.pid)
