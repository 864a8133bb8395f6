"""Made-up scores of a model, as `ganline.scoring` gives them: for tests of what is decided by them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

SEEDS = range(101, 111)


@dataclass(frozen=True)
class Scores:
    figures: dict[str, Any]
    latency_ms: float = 1.0


def record(key: str, values, *, halves=None, **more: Any) -> dict[str, Any]:
    values = [float(value) for value in values]
    found = {"name": f"{key}_x_n512", "seeds": list(SEEDS), "split": "test", "n": 512, "value": float(np.mean(values))}
    found["per_seed"] = {str(seed): value for seed, value in zip(SEEDS, values, strict=True)}
    if halves is not None:
        found["per_half"] = {str(seed): [float(v) for v in pair] for seed, pair in zip(SEEDS, halves, strict=True)}
    return found | more


def model(
    *,
    shift: float = 0.0,
    noise: float = 0.02,
    seed: int = 0,
    tilt: float = 0.0,
    latency_ms: float = 1.0,
    drop: tuple[str, ...] = (),
    **changes: Any,
) -> Scores:
    """Scores of a model whose distances are `shift` above 1; `tilt` moves the halves of the reference apart."""
    rng = np.random.default_rng(seed)
    figures: dict[str, Any] = {}
    for key in ("fd", "kid", "fd_second", "kid_second"):
        own = 1.0 + changes.pop(key, shift)
        halves = own + rng.normal(0, noise, (10, 2)) + np.array([tilt, -tilt])
        figures[key] = record(key, own + rng.normal(0, noise, 10), halves=halves, ratio=own / 0.3)
    for key, default in {
        "recall": 0.8,
        "coverage": 0.9,
        "class_coverage": 1.0,
        "copied_share": 0.01,
        "c_t": 0.0,
    }.items():
        figures[key] = record(key, np.full(10, changes.pop(key, default)), floor=0.01)
    assert not changes
    return Scores({key: value for key, value in figures.items() if key not in drop}, latency_ms)
