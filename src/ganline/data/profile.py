"""The profile of a data version: counts, label shares, and the distributions that drift is measured on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

FEATURES = {"mean": 255.0, "std": 127.5, "entropy": 8.0}
"""Measured columns of the manifest and the upper end of their range; all begin at 0."""

HISTOGRAM_BINS = 32
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
DECILES = tuple(round(0.1 * i, 1) for i in range(1, 10))
NO_LABEL = "(none)"


def profile_of(manifest: pd.DataFrame) -> dict[str, Any]:
    """A JSON-able summary of a manifest, of all rows and of each split."""
    splits = {str(name): describe_rows(rows) for name, rows in manifest.groupby("split", sort=True)}
    return {"format": 1, "all": describe_rows(manifest), "splits": splits}


def describe_rows(rows: pd.DataFrame) -> dict[str, Any]:
    """Counts of rows and labels, and each feature's distribution."""
    return {
        "rows": len(rows),
        "errors": int(rows["error"].notna().sum()),
        "labels": label_counts(rows),
        "features": {name: _distribution(rows[name].dropna().to_numpy(), high) for name, high in FEATURES.items()},
    }


def label_counts(rows: pd.DataFrame) -> dict[str, int]:
    """How many rows each label has, sorted by label."""
    counts = rows["label"].fillna(NO_LABEL).value_counts().sort_index()
    return {str(label): int(count) for label, count in counts.items()}


def bin_counts(values: np.ndarray, edges: list[float]) -> list[int]:
    """How many values lie in each interval between the edges; the first and the last are open."""
    return np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1).tolist()


def _distribution(values: np.ndarray, high: float) -> dict[str, Any]:
    if not len(values):
        return {"quantiles": {}, "edges": [], "edge_counts": [0], "histogram": [0] * HISTOGRAM_BINS, "high": high}
    # Deciles that coincide are one edge: then a bin holds more than a tenth, which its count says.
    edges = np.unique(np.quantile(values, DECILES, method="lower")).tolist()
    return {
        "quantiles": {f"{q:g}": float(np.quantile(values, q, method="lower")) for q in QUANTILES},
        "edges": edges,
        "edge_counts": bin_counts(values, edges),
        "histogram": np.histogram(values, bins=HISTOGRAM_BINS, range=(0.0, high))[0].tolist(),
        "high": high,
    }
