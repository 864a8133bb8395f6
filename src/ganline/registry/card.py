"""The model card: what the model is, how it was measured, what it is not for. Content only: no dates, no hosts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ganline.registry.bundle import ModelSpec
from ganline.training.config import TrainConfig


def metric_rows(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """(name with protocol, value with floor and spread) of every metric, in the order to be read."""
    fd = metrics["fd"]
    seeds = ", ".join(sorted(fd["per_seed"], key=int))
    floor = f"floor {fd['floor']:.4f} (real against real), ratio {fd['ratio']:.1f}" if fd["floor"] else "floor 0"
    rows = [(fd["name"], f"{fd['value']:.3f} ± {fd['std']:.3f} over seeds {seeds}; {fd['split']} split; {floor}")]
    for key in ("class_coverage", "label_accuracy"):
        if key in metrics:
            rows.append((metrics[key]["name"], f"{metrics[key]['value']:.3f} (n = {metrics[key]['n']})"))
    if "modes" in metrics:
        modes, kl = metrics["modes"], metrics["modes_kl"]
        found = f"{modes['value']:.1f} ± {modes['std']:.1f} of {modes['num_modes']} (real images {modes['floor']})"
        rows.append((modes["name"], found))
        rows.append((kl["name"], f"{kl['value']:.3f} ± {kl['std']:.3f} nats (real images {kl['floor']:.3f})"))
    if "inception" in metrics:
        record = metrics["inception"]
        rows.append((record["name"], f"{record['value']:.3f} ± {record['std']:.3f}; {record['split']} split"))
    return rows


def listed(labels: Sequence[str], *, limit: int = 100) -> str:
    """Labels in one line; of many, the first ones and how many there are."""
    shown = ", ".join(labels[:limit])
    return shown if len(labels) <= limit else f"{shown} … ({len(labels)} in all)"


def model_card(spec: ModelSpec, metrics: dict[str, Any], train: TrainConfig) -> str:
    """Markdown for card.md and the registry's description."""
    labels = listed(spec.conditioning.labels) or "none (unconditional)"
    table = "\n".join(f"| `{name}` | {value} |" for name, value in metric_rows(metrics))
    size = f"{spec.image.resolution} x {spec.image.resolution}, {'grey' if spec.image.channels == 1 else 'RGB'}"
    return f"""# {spec.dataset}: {spec.model.name} generator

Paints {size} images in one pass. Trained on {spec.dataset} for {train.total_kimg:g} kimg
({train.objective.adversarial} loss, batch {train.batch}, seed {train.seed}). Classes: {labels}.

| metric | value |
|---|---|
{table}

Distances are between features of the extractor named in the metric; they are not comparable with distances of
another extractor, and are not FID unless the name says so. The floor is what real images score at the same N.

**For**: {size} images like those of {spec.dataset}, and as a base for fine-tuning (`train.init_from`).
**Not for**: evidence, identification, or decisions about people. It can only repeat what its training images hold,
their imbalances included.
"""
