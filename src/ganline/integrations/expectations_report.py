"""The gate's report: one HTML page that needs nothing but itself (no CDN, no fonts, no scripts)."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from ganline.data.gate import Outcome, Verdict
from ganline.data.profile import NO_LABEL
from ganline.images import png_bytes

TEMPLATE = "report.html.j2"
SHOWN = 20
SAMPLES = 24
THUMBNAIL = 64

FEATURE_TITLES = {
    "mean": "Brightness (mean of the values)",
    "std": "Contrast (standard deviation)",
    "entropy": "Entropy of the values, bits",
}

Pictures = Callable[[Sequence[int]], Mapping[int, np.ndarray]]
"""Manifest indices -> pixels uint8 [H, W, C] of those that can be decoded."""


def render_report(
    verdict: Verdict,
    *,
    data_set: str,
    note: str,
    profile: dict[str, Any],
    previous_profile: dict[str, Any] | None,
    pictures: Pictures | None = None,
) -> str:
    """The page as HTML. It depends on the data, the suite and the verdict alone: no time, no machine."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("ganline.integrations", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    refused, quarantined = verdict.refused.head(SHOWN), verdict.quarantined.head(SHOWN)
    samples = np.linspace(0, verdict.num_rows - 1, min(SAMPLES, verdict.num_rows)).astype(int).tolist()
    wanted = {int(index) for index in [*refused["index"], *quarantined["index"], *samples]}
    shown = {index: thumbnail(pixels) for index, pixels in pictures(sorted(wanted)).items()} if pictures else {}
    previous = previous_profile["all"] if previous_profile else None
    return environment.get_template(TEMPLATE).render(
        data_set=data_set,
        note=note,
        verdict=verdict,
        profile=profile,
        outcomes=sorted(verdict.outcomes, key=_rank),
        mark=mark,
        tables=[
            ("Rows that the data was refused for", _records(refused, shown), len(verdict.refused)),
            ("Rows set aside", _records(quarantined, shown), len(verdict.quarantined)),
        ],
        samples=[shown[index] for index in samples if index in shown],
        charts=[
            (title, histogram(profile["all"]["features"][name], previous and previous["features"][name]))
            for name, title in FEATURE_TITLES.items()
        ],
        labels=bars(profile["all"]["labels"], previous and previous["labels"]),
        num_labels=len(profile["all"]["labels"].keys() - {NO_LABEL}),
        drift=[] if verdict.drift is None else verdict.drift.to_dict(orient="records"),
    )


def mark(outcome: Outcome) -> str:
    """One word on an expectation."""
    if not outcome.checked:
        return "not checked"
    return "met" if outcome.success else "failed" if outcome.refuses else "warning"


def thumbnail(pixels: np.ndarray) -> str:
    """uint8 [H, W, C] -> a data URI of a PNG of at most 64 pixels a side."""
    image = np.ascontiguousarray(pixels)
    if max(image.shape[:2]) > THUMBNAIL:
        small = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        image = np.asarray(small).reshape(small.height, small.width, -1)
    return "data:image/png;base64," + base64.b64encode(png_bytes(image.transpose(2, 0, 1))).decode()


def histogram(now: dict[str, Any], before: dict[str, Any] | None, *, width: int = 320, height: int = 110) -> str:
    """An SVG of one feature's histogram, as shares; the previous version's as a line over it."""
    shares = _shares(now["histogram"])
    old = _shares(before["histogram"]) if before else []
    top = max([*shares, *old, 1e-9])
    step = width / len(shares)
    parts = [
        f'<rect x="{i * step + 0.5:.2f}" y="{height * (1 - share / top):.2f}" width="{step - 1:.2f}" '
        f'height="{height * share / top:.2f}"><title>{share:.1%}</title></rect>'
        for i, share in enumerate(shares)
    ]
    if old:
        points = " ".join(f"{(i + 0.5) * step:.2f},{height * (1 - share / top):.2f}" for i, share in enumerate(old))
        parts.append(f'<polyline points="{points}"/>')
    ticks = "".join(
        f'<text x="{width * part:.0f}" y="{height + 16}" text-anchor="{anchor}">{now["high"] * part:g}</text>'
        for part, anchor in ((0, "start"), (0.5, "middle"), (1, "end"))
    )
    axis = f'<path d="M0 {height}H{width}"/>'
    return f'<svg viewBox="0 -4 {width} {height + 24}" role="img">{"".join(parts)}{axis}{ticks}</svg>'


def bars(now: dict[str, int], before: dict[str, int] | None, *, limit: int = 30) -> list[dict[str, Any]]:
    """The most frequent labels: name, count, share of the longest bar now and before (as shares of all rows)."""
    total, total_before = sum(now.values()) or 1, sum((before or {}).values()) or 1
    old = {name: (before or {}).get(name, 0) / total_before for name in now}
    top = max([count / total for count in now.values()] + list(old.values()), default=1.0) or 1.0
    chosen = sorted(now.items(), key=lambda item: (-item[1], item[0]))[:limit]
    if len(now) <= limit:
        chosen = list(now.items())
    return [
        {"name": name, "count": count, "now": count / total / top, "before": old[name] / top if before else None}
        for name, count in chosen
    ]


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts) or 1
    return [count / total for count in counts]


def _records(rows: pd.DataFrame, shown: Mapping[int, str]) -> list[dict[str, Any]]:
    return [
        {
            "name": row["name"],
            "split": row["split"],
            "label": row["label"] if pd.notna(row["label"]) else "",
            "reasons": row["reasons"],
            "picture": shown.get(int(row["index"])),
        }
        for _, row in rows.iterrows()
    ]


def _rank(outcome: Outcome) -> int:
    """Failures first, then warnings, then what was not checked."""
    return ("failed", "warning", "not checked", "met").index(mark(outcome))
