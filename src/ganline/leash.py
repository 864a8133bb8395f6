"""Children die with their parent. `python -m ganline.leash COMMAND …` runs a Python tool's command on a leash.

A trainer that outlives a killed DVC would go on writing. Every process of a line therefore watches its owners (its
nearest ancestors that are no shells, and the process named by GANLINE_OWNER) and kills itself when one is gone.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import psutil

OWNER = "GANLINE_OWNER"
POLL_SECONDS = 0.5
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
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()
    os._exit(128 + signal.SIGKILL)


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
    """Run `dvc …` in this process, on the leash."""
    die_with_owners()
    if sys.argv[1:2] != ["dvc"]:
        raise SystemExit("usage: python -m ganline.leash dvc …")
    from dvc.cli import main as dvc_main

    return int(dvc_main(sys.argv[2:]))


if __name__ == "__main__":
    raise SystemExit(main())
