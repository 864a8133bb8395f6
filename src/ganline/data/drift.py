"""Drift between two versions of a data set: the population stability index of each feature, with its own noise level.

PSI = sum over bins of (a - e) ln(a / e), a the actual and e the expected share. Without any drift and with B bins it is
distributed like (1/n + 1/m) chi2(B - 1) (Yurdakul and Naranjo 2020, "Statistical properties of the population stability
index"): with few rows it exceeds every fixed threshold by chance, so the limit is never below that law's 99.9 % point.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import chi2

from ganline.data.profile import FEATURES, bin_counts, label_counts

CONFIDENCE = 0.999


def psi(expected: list[int], actual: list[int]) -> float:
    """Population stability index of two histograms over the same bins; half a count is added to each bin."""
    e, a = np.asarray(expected, dtype=np.float64) + 0.5, np.asarray(actual, dtype=np.float64) + 0.5
    e, a = e / e.sum(), a / a.sum()
    return float(((a - e) * np.log(a / e)).sum())


def noise(*, bins: int, n: int, m: int) -> float:
    """What the PSI of two samples of one distribution exceeds in one of a thousand cases."""
    return float((1 / n + 1 / m) * chi2.ppf(CONFIDENCE, bins - 1)) if bins > 1 and n and m else 0.0


def drift_table(manifest: pd.DataFrame, previous: dict[str, Any], *, threshold: float) -> pd.DataFrame:
    """A row a feature (mean, std, entropy, label) with its psi against the previous profile and its limit."""
    before = previous["all"]
    pairs: dict[str, tuple[list[int], list[int]]] = {}
    for name in FEATURES:
        distribution = before["features"][name]
        actual = bin_counts(manifest[name].dropna().to_numpy(), distribution["edges"])
        pairs[name] = (distribution["edge_counts"], actual)
    labels = label_counts(manifest)
    names = sorted(labels.keys() | before["labels"].keys())
    pairs["label"] = ([before["labels"].get(each, 0) for each in names], [labels.get(each, 0) for each in names])
    rows = [
        {
            "feature": name,
            "psi": round(psi(expected, actual), 6),
            "limit": round(max(threshold, noise(bins=len(expected), n=sum(expected), m=sum(actual))), 6),
        }
        for name, (expected, actual) in pairs.items()
    ]
    return pd.DataFrame(rows)
