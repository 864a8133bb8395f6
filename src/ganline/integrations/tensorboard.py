"""TensorBoard follows the same files as MLflow. Needs the optional extra `tensorboard`."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from ganline.errors import ConfigError
from ganline.extras import install_command
from ganline.integrations.jsonl import LineReader, numbers

HISTORY, SYSTEM, SAMPLES = "history.jsonl", "system.jsonl", "samples"


def follow_tensorboard(work: Path, logdir: Path) -> int:
    """Write what is new in `work` to event files in `logdir`; returns the number of new lines.

    The first call of a process writes everything afresh, so no step stands twice, whatever an earlier one left.
    Raises ConfigError if TensorBoard is not installed.
    """
    return board(work, logdir).poll()


@lru_cache(maxsize=8)
def board(work: Path, logdir: Path) -> Board:
    """One writer a folder and process."""
    return Board(work, logdir)


def summary_writer(logdir: Path) -> Any:
    """A fresh event file in place of those that we wrote before."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "tracking.tensorboard is on, but TensorBoard is not installed",
            remedy=f"{install_command('tensorboard')}, or set tracking.tensorboard: false",
        ) from error
    for stale in logdir.glob("events.out.tfevents.*.ganline"):
        stale.unlink()
    return SummaryWriter(str(logdir), filename_suffix=".ganline")


class Board:
    """An event file and the position in the trainer's files."""

    def __init__(self, work: Path, logdir: Path):
        self.writer = summary_writer(logdir)
        self.readers = {"": LineReader(work / HISTORY), "system/": LineReader(work / SYSTEM)}
        self.last = dict.fromkeys(self.readers, -1)
        self.step_of_nimg: dict[int, int] = {}
        self.samples, self.pictures = work / SAMPLES, set[str]()

    def poll(self) -> int:
        count = sum(self.write_lines(prefix) for prefix in self.readers)
        self.write_pictures()
        self.writer.flush()
        return count

    def write_lines(self, prefix: str) -> int:
        """Scalars of the lines beyond the last step."""
        count = 0
        for line in self.readers[prefix].read():
            if line["step"] <= self.last[prefix]:
                continue
            self.last[prefix], count = line["step"], count + 1
            self.step_of_nimg[int(line.get("nimg", line["step"]))] = line["step"]
            for name, value in numbers(line).items():
                if name != "time":
                    self.writer.add_scalar(prefix + name, value, line["step"], walltime=line.get("time"))
        return count

    def write_pictures(self) -> None:
        """Each sample picture once, at the step that had seen so many images."""
        import numpy as np
        from PIL import Image

        for path in sorted(self.samples.glob("[0-9]*.png")):
            if path.name not in self.pictures:
                self.pictures.add(path.name)
                nimg = int(path.stem)
                pixels = np.asarray(Image.open(path).convert("RGB"))
                self.writer.add_image("samples", pixels, self.step_of_nimg.get(nimg, nimg), dataformats="HWC")
