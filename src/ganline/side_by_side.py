"""Several pieces of work at once, each in a process of its own that tells its name in every line of the log."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import active_children, current_process, get_context

from ganline import leash
from ganline.errors import TrainingError

log = logging.getLogger(__name__)

Work = Mapping[str, Callable[[], None]]


def side_by_side(work: Work, *, at_once: int) -> None:
    """Do every piece, in its order, `at_once` at a time; one at a time here, in this process.

    Work must be picklable. The first error is told at once and raised when those under way have ended; none begins
    after it. Raises TrainingError if a process was killed.
    """
    if at_once == 1:
        for do in work.values():
            do()
        return
    owner, level = leash.own()[leash.OWNER], logging.getLogger("ganline").level
    with ProcessPoolExecutor(at_once, get_context("spawn"), initializer=begin, initargs=(owner, level)) as pool:
        try:
            do_all(work, pool, at_once)
        except (KeyboardInterrupt, SystemExit):  # these wait for nothing
            for process in active_children():
                process.kill()
            raise


def do_all(work: Work, pool: ProcessPoolExecutor, at_once: int) -> None:
    """Hand pieces to the pool, never more than it has processes: what it holds beyond these cannot be taken back."""
    waiting, under_way = iter(work.items()), dict[Future[None], str]()
    name = ""
    try:
        while True:
            under_way |= {pool.submit(named, name, do): name for name, do in islice(waiting, at_once - len(under_way))}
            if not under_way:
                return
            for done in wait(under_way, return_when=FIRST_COMPLETED).done:
                name = under_way[done]
                done.result()
                del under_way[done]
    except BrokenProcessPool as error:
        raise TrainingError(
            f"a process was killed: that of {' or '.join(under_way.values())}",
            remedy="if memory was short, let fewer work side by side (students.at_once); finished ones are kept",
        ) from error
    except Exception as error:
        log.error("%s stopped: %s", name, error)
        if others := [other for other in under_way.values() if other != name]:
            log.error("waiting for %s", ", ".join(others))
        wait(under_way)
        raise


def begin(owner: str, level: int) -> None:
    """What a process does first: it dies with its owner (`pid:create_time`), and at Ctrl-C without a word."""
    os.environ[leash.OWNER] = owner
    leash.die_with_owners()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    logging.basicConfig(level=logging.WARNING, format="%(processName)s: %(message)s", stream=sys.stdout, force=True)
    logging.getLogger("ganline").setLevel(level)


def named(name: str, do: Callable[[], None]) -> None:
    current_process().name = name
    do()
