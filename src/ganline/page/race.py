"""The race: a recording of the language model's tokens beside a recording of the GAN's images, as one HTML file.

The page plays measured times and nothing else. It asks for nothing: pictures and times are in it, and its script may
run only because its hash is in the page's policy. Equal inputs give equal bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from statistics import median
from typing import Any

import numpy as np

from ganline.errors import DataError
from ganline.images import png_bytes
from ganline.language.recording import Recording
from ganline.page.glossary import figure
from ganline.page.pictures import uri
from ganline.page.render import render

STRIP_ROWS = 128
"""Partial images below one another in a strip; browsers refuse pictures that are too high."""
COLUMNS = 8
"""Of finished images on a side."""


@dataclass(frozen=True)
class Painting:
    """One image of the GAN, uint8 [C, H, W], and how long it took at batch 1, in ms, from noise to pixels."""

    image: np.ndarray
    ms: float


def render_race(
    recordings: Sequence[Recording],
    students: Sequence[Painting],
    *,
    dataset: str,
    teacher: str,
    student: str,
    machine: str,
    threads: int,
    captions: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> str:
    """The page. `teacher` and `student` say form and batch ("ONNX Runtime, int8, batch 1"); both sides paint in turn.

    `captions`: what image i was asked for, the same on both sides. `notes` are sentences for the foot of the page.
    Raises DataError where the sides are not alike in number or size.
    """
    check(recordings, students, captions)
    height, width = recordings[0].images.shape[2:]
    script = _script()
    return render(
        "race.html.j2",
        title=f"{dataset}: token by token, or in one pass",
        sides=[
            ("teacher", "Language model", "token by token", teacher),
            ("student", "GAN", "one pass an image", student),
        ],
        machine=machine,
        threads=threads,
        notes=notes,
        captions=captions,
        num=len(recordings),
        facts=facts(recordings, students),
        size=(width, height),
        tiles=tiles(len(recordings), width, height),
        data=_embedded(plain(recordings, students, captions)),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def check(recordings: Sequence[Recording], students: Sequence[Painting], captions: Sequence[str]) -> None:
    """Raise DataError unless both sides paint equally many images of one size."""
    sizes = {each.images.shape[1:] for each in recordings} | {each.image.shape for each in students}
    if not recordings or len(recordings) != len(students) or len(sizes) > 1:
        raise DataError(
            f"a race of {len(recordings)} and {len(students)} images in sizes {sorted(sizes)}",
            expected="as many images on either side, at least one, all of one size",
            remedy="run `ganline speedup` again",
        )
    if captions and len(captions) != len(recordings):
        raise DataError(f"{len(captions)} captions for {len(recordings)} images", expected="one each, or none")


def plain(recordings: Sequence[Recording], students: Sequence[Painting], captions: Sequence[str]) -> dict[str, Any]:
    """What the script plays. Times in ms to a thousandth."""
    return {
        "teacher": [
            {
                "times": [round(each, 3) for each in recording.times_ms],
                "done": round(recording.done_ms, 3),
                "rows": min(STRIP_ROWS, len(recording.images)),
                "strip": uri(png_bytes(strip(recording.images))),
            }
            for recording in recordings
        ],
        "student": {
            "done": [round(each.ms, 3) for each in students],
            "rows": min(STRIP_ROWS, len(students)),
            "strip": uri(png_bytes(strip(np.stack([each.image for each in students])))),
        },
        "captions": list(captions),
        "columns": COLUMNS,
    }


def strip(images: np.ndarray) -> np.ndarray:
    """uint8 [T, C, H, W] -> one picture [C, rows * H, columns * W]: down the first column, then the next.

    Each partial image repeats the one above it but for a patch, so the file is little larger than one image.
    """
    num, channels, height, width = images.shape
    rows = min(STRIP_ROWS, num)
    columns = math.ceil(num / rows)
    whole = np.zeros((columns * rows, channels, height, width), dtype=np.uint8)
    whole[:num] = images
    grid = whole.reshape(columns, rows, channels, height, width).transpose(2, 1, 3, 0, 4)
    return np.ascontiguousarray(grid.reshape(channels, rows * height, columns * width))


def facts(recordings: Sequence[Recording], students: Sequence[Painting]) -> list[tuple[str, str, str]]:
    """What is known without playing: heading, language model, GAN."""
    sides = [each.done_ms for each in recordings], [each.ms for each in students]
    tokens = sorted({len(each.times_ms) for each in recordings})
    gaps = [each.times_ms[-1] / len(each.times_ms) for each in recordings]

    def both(words: str, of: Callable[[Sequence[float]], float]) -> tuple[str, str, str]:
        left, right = (f"{figure(of(each), digits=4)} ms" for each in sides)
        return words, left, right

    return [
        ("images", str(len(recordings)), str(len(students))),
        ("steps to an image", " or ".join(map(str, tokens)), "1"),
        both("median time of an image", median),
        both("slowest image", max),
        ("median time of a token", f"{figure(median(gaps), digits=4)} ms", "–"),
        both("all images, one after the other", sum),
    ]


def tiles(num: int, width: int, height: int) -> tuple[int, int]:
    """Size in pixels of the canvas of finished images, each four times as large, a gap of one image pixel between."""
    rows = math.ceil(num / COLUMNS)
    return 4 * (COLUMNS * (width + 1) - 1), 4 * (rows * (height + 1) - 1)


def _embedded(data: Any) -> str:
    """JSON that may stand inside a script element: no tag can end it or begin in it."""
    return json.dumps(data, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")


@cache
def _script() -> str:
    return files("ganline.page").joinpath("race.js.j2").read_text(encoding="utf-8")
