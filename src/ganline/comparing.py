"""Two models side by side on one page: what `ganline compare` writes, and what the gate keeps of a decision."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ganline.config import load_config
from ganline.errors import GanlineError, GateError
from ganline.evaluation.uncertainty import paired_differences
from ganline.files import write_bytes
from ganline.outputs import check_output, written
from ganline.page.changes import changes
from ganline.page.render import render_comparison
from ganline.registry.bundle import open_bundle
from ganline.registry.promotion import HEAD, Scored, Verdict
from ganline.scoring import check_fits, score
from ganline.stages.places import PREPARE, REFERENCE
from ganline.workspace import Workspace

log = logging.getLogger(__name__)

PICTURE = "samples.png"


@dataclass(frozen=True)
class Comparison:
    """The page, and what surely changed from the first model to the second, in words."""

    page: str
    words: tuple[str, ...]


def compare(base: Workspace, names: tuple[str, str]) -> Comparison:
    """Score two models (`models:/…` or bundle folders) under one protocol, champion's side first.

    Raises GateError where no workspace here has the data that both paint.
    """
    from ganline.api import bundle_folder

    folders = (bundle_folder(names[0]), bundle_folder(names[1]))
    root = place_for(base, folders)
    first, second = score(root, load_config(root), folders)
    return comparison(names, folders, (first, second), None)


def comparison(
    names: tuple[str, str], folders: tuple[Path, Path], scores: tuple[Scored, Scored], verdict: Verdict | None
) -> Comparison:
    """What is to be said of two scored models."""
    metrics = (dict(scores[0].figures), dict(scores[1].figures))
    differences = paired_differences(*metrics)
    facts = [open_bundle(folder).spec.facts() for folder in folders]
    for told, each in zip(facts, scores, strict=True):
        told["Latency"] = f"{each.latency_ms:.3g} ms: one image, batch 1, one thread"
    pictures = [
        {"samples": (folder / PICTURE).read_bytes()} if (folder / PICTURE).is_file() else {} for folder in folders
    ]
    page = render_comparison(
        names=names,
        models=(facts[0], facts[1]),
        metrics=metrics,
        differences=differences,
        verdict_rows=None if verdict is None else verdict_rows(verdict),
        pictures=(pictures[0], pictures[1]),
    )
    found = changes(metrics, differences)
    words = [f"{side}: {remark.text}" for side in ("worse", "better", "changed") for remark in getattr(found, side)]
    return Comparison(page, tuple(words) or ("no figure surely differs",))


def verdict_rows(verdict: Verdict) -> list[Mapping[str, str]]:
    """The gate's table, as the page takes it."""
    headings = [*HEAD[:-1], "verdict"]
    return [dict(zip(headings, map(str.lower, row.cells()), strict=True)) for row in verdict.rows]


def place_for(base: Workspace, folders: Sequence[Path]) -> Path:
    """The checkout or workspace whose data both models paint."""
    from ganline.data.loader import Prepared

    specs = [open_bundle(folder).spec for folder in folders]
    reasons = []
    for place in (base.root, *sorted((base.home / "ws").glob("*"))):
        if not (place / REFERENCE).is_dir():
            continue
        try:
            for spec in specs:
                check_fits(spec, Prepared(place / PREPARE))
        except GanlineError as error:
            reasons.append(f"{place.name}: {error}")
        else:
            return place
    raise GateError(
        "no workspace here can measure both models" + "".join(f"\n    {reason}" for reason in reasons),
        expected="a checkout or a workspace under .ganline/ws with the data of both and the outs up to `reference`",
        remedy="run the line of that data set here first (`make run`, PRESET=… or DATA=…)",
    )


def write_comparison(base: Workspace, names: tuple[str, str], output: Path) -> Comparison:
    """`compare`, with the page written to a file."""
    check_output(output, suffixes=[".html"])
    found = compare(base, names)
    with written(output):
        write_bytes(output, found.page.encode())
    return found
