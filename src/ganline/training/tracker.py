"""What a run tells while it trains: JSON lines that others may follow. Training needs no server.

history.jsonl   a function of the recipe alone: nimg, step, losses. An out of the stage.
system.jsonl    clocks and machine load: never an out.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import psutil

from ganline.files import write_text

HISTORY, SYSTEM = "history.jsonl", "system.jsonl"


class Tracker:
    """Appends to the two files of one run. `rewind` drops the lines past a checkpoint, so that none comes twice."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._process = psutil.Process()
        self._process.cpu_percent()
        self._cpu_seconds = time.process_time()

    def rewind(self, step: int) -> None:
        """Keep only lines up to and including `step`."""
        for name in (HISTORY, SYSTEM):
            path = self.folder / name
            kept = [line for line in read_lines(path) if line["step"] <= step]
            write_text(path, "".join(map(encode, kept)))

    def history(self, line: dict[str, float]) -> None:
        append(self.folder / HISTORY, line)

    def system(self, *, step: int, nimg: int, images_per_second: float, device_memory_mb: float | None) -> None:
        load = {
            "rss_mb": round(self._process.memory_info().rss / 2**20, 1),
            "cpu_percent": self._process.cpu_percent(),
        }
        if device_memory_mb is not None:
            load["device_memory_mb"] = round(device_memory_mb, 1)
        before, self._cpu_seconds = self._cpu_seconds, time.process_time()
        load["cpu_seconds"] = round(self._cpu_seconds - before, 3)
        now = {"step": step, "nimg": nimg, "time": time.time(), "images_per_second": round(images_per_second, 1)}
        append(self.folder / SYSTEM, now | load)


def encode(line: dict[str, Any]) -> str:
    return json.dumps(line, allow_nan=False) + "\n"


def append(path: Path, line: dict[str, Any]) -> None:
    """One line in one write, so that a follower sees whole lines or a torn last one, never two mixed."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, encode(line).encode())
    finally:
        os.close(descriptor)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Every whole line of a JSONL file; a torn last line (a killed writer) is left out."""
    if not path.exists():
        return []
    lines = []
    for raw in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if raw.endswith("\n"):
            lines.append(json.loads(raw))
    return lines
