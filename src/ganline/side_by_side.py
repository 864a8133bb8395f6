"""Several pieces of work at once, each in a process of its own that tells its name in every line of the log."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import active_children, current_process, get_context

from ganline import leash


def side_by_side(work: Mapping[str, Callable[[], None]], *, at_once: int) -> None:
    """Do every piece, in its order, `at_once` at a time; one at a time here, in this process.

    Work must be picklable. The first error is raised when those under way have ended; none begins after it.
    """
    if at_once == 1:
        for do in work.values():
            do()
        return
    level = logging.getLogger("ganline").level
    with ProcessPoolExecutor(at_once, get_context("spawn"), initializer=begin, initargs=(level,)) as pool:
        try:
            for done in as_completed([pool.submit(named, name, do) for name, do in work.items()]):
                done.result()
        except BaseException as error:
            if not isinstance(error, Exception):  # Ctrl-C waits for nothing
                for process in active_children():
                    process.kill()
            pool.shutdown(cancel_futures=True)
            raise


def begin(level: int) -> None:
    """What a process does first: it dies with its parent, and at Ctrl-C without a word."""
    leash.die_with_owners()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    logging.basicConfig(level=logging.WARNING, format="%(processName)s: %(message)s", stream=sys.stdout, force=True)
    logging.getLogger("ganline").setLevel(level)


def named(name: str, do: Callable[[], None]) -> None:
    current_process().name = name
    do()
