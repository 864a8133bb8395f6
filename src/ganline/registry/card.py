"""The model card: what the model is, how it was measured, what it is not for. Content only: no dates, no hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganline.registry.bundle import ModelSpec
    from ganline.training.config import TrainConfig

HEADLINE = ("fd", "fd_second", "kid", "precision", "recall", "density", "coverage", "class_coverage", "label_accuracy",
            "intra_class_diversity", "copied_share", "c_t", "modes", "modes_kl")  # fmt: skip
"""Figures that a terminal and a card show, in this order; the report has all of them."""


def metric_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name with protocol, value with interval and floor) of the headline figures, published extractors' included."""
    keys = [*HEADLINE, *(key for key in metrics if key.startswith("fd_") and key not in HEADLINE)]
    return [(metrics[key]["name"], told(metrics[key])) for key in keys if key in metrics]


def told(record: Mapping[str, Any]) -> str:
    """One record in a line: mean, interval over seeds, split, what real images score."""
    parts = [f"{record['value']:.4g}"]
    if "interval" in record:
        low, high = record["interval"]
        parts[0] += f" [{low:.4g}, {high:.4g}] over {len(record['seeds'])} seeds"
    if "split" in record:
        parts.append(f"{record['split']} split")
    if record.get("floor") is not None:
        ratio = f", ratio {record['ratio']:.1f}" if record.get("ratio") else ""
        parts.append(f"real images {record['floor']:.4g}{ratio}")
    if record.get("num_modes"):
        parts.append(f"of {record['num_modes']}")
    return "; ".join(parts)


def extractor_lines(metrics: Mapping[str, Any]) -> list[str]:
    """One line for each network that the distances are measured by: its part, its task, how often it is right."""
    return [
        f"{PARTS.get(role, role)} extractor `{each['name']}`" + skill(each)
        for role, each in dict(metrics.get("extractors") or {}).items()
    ]


PARTS = {"first": "primary", "second": "holdout"}
"""Role of an extractor in metrics.json -> what it is called. Nothing is chosen by the holdout extractor."""


def skill(facts: Mapping[str, Any]) -> str:
    """', classifier, right on 92.4 % of real validation images'; less where less is known."""
    accuracy = facts.get("validation_accuracy")
    right = "" if accuracy is None else f", right on {100 * accuracy:.1f} % of real validation images"
    return (f", {facts['task']}" if facts.get("task") else "") + right


def listed(labels: Sequence[str], *, limit: int = 100) -> str:
    """Labels in one line; of many, the first ones and how many there are."""
    shown = ", ".join(labels[:limit])
    return shown if len(labels) <= limit else f"{shown} … ({len(labels)} in all)"


def model_card(spec: ModelSpec, metrics: Mapping[str, Any], train: TrainConfig) -> str:
    """Markdown for card.md and the registry's description."""
    labels = listed(spec.conditioning.labels) or "none (unconditional)"
    table = "\n".join(f"| `{name}` | {value} |" for name, value in metric_rows(metrics))
    extractors = "\n".join(f"- {line}" for line in extractor_lines(metrics))
    size = f"{spec.image.resolution} x {spec.image.resolution}, {'grey' if spec.image.channels == 1 else 'RGB'}"
    return f"""# {spec.dataset}: {spec.model.name} generator

Paints {size} images in one pass. Trained on {spec.dataset} for {train.total_kimg:g} kimg
({train.objective.adversarial} loss, batch {train.batch}, seed {train.seed}). Classes: {labels}.

| metric | value |
|---|---|
{table}

{extractors}

Brackets hold the 95 % interval of the mean over generator seeds. Figures are taken from features of the extractor in
their name: they are not comparable with those of another extractor, and no distance is FID unless its name says so.
Real images score what the last column says at the same N.

**For**: {size} images like those of {spec.dataset}, and as a base for fine-tuning (`train.init_from`).
**Not for**: evidence, identification, or decisions about people. It can only repeat what its training images hold,
their imbalances included.
"""
