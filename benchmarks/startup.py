"""How long commands take to start: seconds of the clock and of the processor, the median of several.

    python benchmarks/startup.py                                   # --help, doctor, and what the others import
    python benchmarks/startup.py "verify" "history NAME" "promote" # commands, in the present folder

The processor's seconds feel other work less than the clock's: on a busy machine quote those.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time

REPEATS = 5
LIGHT = ("ganline.config", "ganline.line", "ganline.promoting")


def seconds(command: list[str]) -> tuple[float, float]:
    """(clock, processor) of one run of a command."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - started, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    asked = [text.split() for text in sys.argv[1:]] or [["--help"], ["doctor"]]
    commands = {f"ganline {' '.join(words)}": [sys.executable, "-m", "ganline", *words] for words in asked}
    if not sys.argv[1:]:
        commands |= {f"import {name}": [sys.executable, "-c", f"import {name}"] for name in LIGHT}
    for name, command in commands.items():
        clock, processor = zip(*(seconds(command) for _ in range(REPEATS)), strict=True)
        print(f"{name:30} {statistics.median(clock):6.2f} s, processor {statistics.median(processor):6.2f} s")


if __name__ == "__main__":
    main()
