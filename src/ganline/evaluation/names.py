"""How a figure is called: metric, extractor and N in its name, and which way is better."""

from __future__ import annotations

from typing import Literal

from ganline.evaluation.features import FIRST

Better = Literal["lower", "higher", "real"]

# Metric -> which way is better; `real`: best where it equals that of real images.
BETTER: dict[str, Better] = {
    "fd": "lower",
    "kid": "lower",
    "precision": "higher",
    "recall": "higher",
    "density": "real",
    "coverage": "higher",
    "class_coverage": "higher",
    "class_entropy": "real",
    "class_kl": "lower",
    "label_accuracy": "higher",
    "intra_class_diversity": "real",
    "copied_share": "lower",
    "c_t": "real",
    "sharpness": "real",
    "noise": "real",
    "contrast": "real",
    "brightness": "real",
}
PIXELS = ("sharpness", "noise", "contrast", "brightness")
IN_HALVES = ("fd", "kid", "fd_second", "kid_second")
INCEPTION = "inception2015"


def key_of(metric: str, role: str) -> str:
    """The key of a metric under an extractor's role: `fd`, `fd_second`, `fd_inception2015`."""
    return metric if role == FIRST else f"{metric}_{role}"


def metric_of(key: str) -> str:
    """The metric behind a key: `fd_second` -> `fd`."""
    return key if key in BETTER else next(metric for metric in BETTER if key.startswith(f"{metric}_"))


def role_of(key: str) -> str:
    """The role of the extractor behind a key: `fd_second` -> `second`."""
    return key.removeprefix(metric_of(key)).removeprefix("_") or FIRST


def full_name(key: str, extractor: str | None, n: int) -> str:
    """The name with its protocol: `fd_classifier_mnist@1a2b3c4d_n10k`; `fid10k_inception2015` for the real FID."""
    metric = metric_of(key)
    if metric == "fd" and extractor == INCEPTION:
        return f"fid{count_name(n)}_{INCEPTION}"
    return "_".join(part for part in (metric, extractor, f"n{count_name(n)}") if part)


def count_name(n: int) -> str:
    """10000 -> '10k', 512 -> '512'."""
    return f"{n // 1000}k" if n >= 1000 and n % 1000 == 0 else str(n)
