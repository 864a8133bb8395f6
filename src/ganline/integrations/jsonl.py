"""Follow a file of JSON lines that another process appends to, rewinds or was killed in the middle of."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

TAIL = 256


class LineReader:
    """Each call of `read` returns the whole lines that came since the last one.

    A torn last line waits until it is complete. Where the bytes before the position are no longer those that were
    read (the file was truncated or rewritten), reading starts again at the beginning: callers skip what they know.
    """

    def __init__(self, path: Path):
        self.path = path
        self.restart()

    def restart(self) -> None:
        """Read from the beginning next time."""
        self.offset, self.tail = 0, b""

    def read(self) -> list[dict[str, Any]]:
        try:
            if self.path.stat().st_size == self.offset:
                return []
            with self.path.open("rb") as file:
                file.seek(self.offset - len(self.tail))
                if file.read(len(self.tail)) != self.tail:
                    self.restart()
                    file.seek(0)
                block = file.read()
        except FileNotFoundError:
            self.restart()
            return []
        whole = block[: block.rfind(b"\n") + 1]
        self.offset += len(whole)
        self.tail = (self.tail + whole)[-TAIL:]
        return [line for raw in whole.splitlines() if (line := self.parse(raw)) is not None]

    def parse(self, raw: bytes) -> dict[str, Any] | None:
        """A JSON object with a step, or None (said in the log) for what a killed writer left."""
        try:
            line = json.loads(raw)
        except ValueError:
            line = None
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            return line
        log.warning("%s: passed over a line that is not an entry: %.60r", self.path, raw)
        return None


def numbers(line: dict[str, Any]) -> dict[str, float]:
    """The numeric entries of a line, but the step itself."""
    return {
        name: float(value)
        for name, value in line.items()
        if name != "step" and isinstance(value, int | float) and not isinstance(value, bool)
    }
