"""Children die with their parent. `python -m ganline.leash COMMAND …` runs a Python tool's command on a leash.

A trainer that outlives a killed DVC would go on writing. Every process of a line therefore watches its owners (its
nearest ancestors that are no shells, and the process named by GANLINE_OWNER) and kills itself when one is gone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

OWNER = "GANLINE_OWNER"
POLL_SECONDS = 0.5
STOP_SECONDS = 30.0
SHELLS = {"sh", "bash", "dash", "zsh", "ksh"}


def parent_beyond_shells() -> psutil.Process | None:
    """The nearest ancestor that is not a shell: for a stage under `dvc repro` that is dvc, past its `sh -c`."""
    for process in psutil.Process().parents():
        try:
            if process.name() not in SHELLS:
                return process
        except psutil.Error:
            continue
    return None


def named_owner() -> psutil.Process | None:
    """The process that GANLINE_OWNER names as `pid:create_time`, if it still lives."""
    pid, _, created = os.environ.get(OWNER, "").partition(":")
    if not pid:
        return None
    try:
        process = psutil.Process(int(pid))
        return process if f"{process.create_time():.2f}" == created else None
    except psutil.Error:
        return None


def own() -> dict[str, str]:
    """Environment that makes this process the owner of those it starts."""
    return {OWNER: f"{os.getpid()}:{psutil.Process().create_time():.2f}"}


def die_with_owners() -> None:
    """Start watching, in a daemon thread. A process whose owner is already gone ends at once."""
    owners = [owner for owner in (parent_beyond_shells(), named_owner()) if owner is not None]
    if os.environ.get(OWNER) and named_owner() is None:
        os._exit(128 + signal.SIGKILL)
    threading.Thread(target=watch, args=(owners,), daemon=True, name="leash").start()


def die_with_make() -> None:
    """For a command that people start by hand: it may outlive the terminal's shell (nohup), but not its `make`."""
    with suppress(psutil.Error):
        parent = psutil.Process().parent()
        if parent is not None and parent.name() in ("make", "gmake"):
            threading.Thread(target=watch, args=([parent],), daemon=True, name="leash").start()


def watch(owners: Sequence[psutil.Process]) -> None:
    """Poll; `is_running` compares creation times, so that a reused pid is not taken for the owner."""
    while all(alive(owner) for owner in owners):
        time.sleep(POLL_SECONDS)
    kill_descendants(os.getpid(), wait=False)  # or the main thread would see them die, and call it a failure of theirs
    os._exit(128 + signal.SIGKILL)


def kill_descendants(pid: int, *, itself: bool = False, wait: bool = True) -> None:
    """Kill all that a process started, and it too if asked, and wait until they are dead. None left is no error.

    All are paused first, so that none starts another one meanwhile, and children die before their parents, so that
    nobody who waits for a parent goes on (and perhaps ends this process) while children are left.
    """
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        doomed = [*([process] if itself else []), *process.children(recursive=True)]  # parents first
        for each in doomed:
            with suppress(psutil.Error):
                each.suspend()
        for each in reversed(doomed):
            with suppress(psutil.Error):
                each.kill()
        if wait:
            psutil.wait_procs(doomed, timeout=5)


def pause(number: int, frame: object) -> None:
    """On Ctrl-Z: pause with all that this process started, until `fg` or SIGCONT."""
    paused = psutil.Process().children(recursive=True)
    for child in paused:
        with suppress(psutil.Error):
            child.suspend()
    os.kill(os.getpid(), signal.SIGSTOP)
    for child in paused:
        with suppress(psutil.Error):
            child.resume()


@contextmanager
def stop_signals() -> Iterator[None]:
    """Make SIGTERM and SIGHUP (a closed terminal) stop what runs here as Ctrl-C does: by KeyboardInterrupt.

    Ctrl-Z pauses the children too. A signal that this process was told to ignore (nohup) stays ignored.
    """

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    handlers = {signal.SIGTERM: stop, signal.SIGHUP: stop, signal.SIGTSTP: pause}
    before = {number: signal.getsignal(number) for number in handlers}
    heeded = [number for number, handler in before.items() if handler != signal.SIG_IGN]
    for number in heeded:
        signal.signal(number, handlers[number])
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, before[number])


def run_to_its_end(command: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> int:
    """Run a command that cleans up after itself; its exit code, negative for a signal.

    The command is in a session of its own: Ctrl-C, SIGTERM and SIGHUP reach this process alone, which asks the command
    to end by SIGTERM and waits up to STOP_SECONDS (less if asked a second time). Then KeyboardInterrupt goes on. What
    the command started ends with it.
    """
    owner = own()
    with stop_signals():
        process = subprocess.Popen(command, cwd=cwd, env={**env, **owner}, start_new_session=True)
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            raise
        finally:
            kill_owned(owner)  # a server that a killed command left behind too


def kill_owned(owner: Mapping[str, str]) -> None:
    """Kill every process, however far from here by now, that was started with this owner in its environment."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get(OWNER) == owner[OWNER]:
                process.kill()


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def main() -> int:
    """Run `dvc …` or `mlflow …` in this process; it ends with its owners."""
    die_with_owners()
    tool, arguments = sys.argv[1:2], sys.argv[2:]
    if tool == ["dvc"]:
        from dvc.cli import main as dvc_main

        return int(dvc_main(arguments))
    if tool == ["mlflow"]:
        from mlflow.cli import cli

        return int(cli(arguments, standalone_mode=False) or 0)
    raise SystemExit("usage: python -m ganline.leash dvc|mlflow …")


if __name__ == "__main__":
    raise SystemExit(main())
