"""What changed from one model to another, in sentences: differences whose interval leaves out zero, and no others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ganline.evaluation.uncertainty import Difference
from ganline.page.glossary import (
    METRICS,
    Record,
    better,
    figure,
    is_number,
    listed,
    metric,
    number,
    pair,
    records,
    split_key,
    spoken,
    titled,
)
from ganline.page.words import Remark, classes_are

Judgement = Literal["better", "worse", "changed", "unsure"]

CLASS_CHANGE = 0.05
"""Least change of a class's own figure that is worth a name."""
TELL_CLASSES = ("recall", "coverage", "class_coverage")
"""Figures whose change the missing classes explain; the first one that surely changed names them."""


@dataclass(frozen=True)
class Changes:
    """Sentences on what surely got worse, better, or changed to no known end; titles of what cannot be told apart."""

    worse: tuple[Remark, ...]
    better: tuple[Remark, ...]
    changed: tuple[Remark, ...]
    unsure: tuple[str, ...]


def judge(difference: Difference, champion: Record, challenger: Record) -> Judgement:
    """Whether a difference is sure, and to which side. 'changed': sure, but without a floor no side is the good one."""
    a, b = difference.champion, difference.challenger
    if not difference.is_sure or (b - a) * difference.value < 0:
        return "unsure"  # the second: halves and the whole of the images contradict each other
    direction = better(difference.key, champion)
    if direction != "real":
        return "better" if (difference.value < 0) == (direction == "lower") else "worse"
    floor = number(champion, "floor")
    if floor is None:
        return "changed"
    return "better" if abs(b - floor) < abs(a - floor) else "worse"


def changes(metrics: tuple[Mapping[str, Any], Mapping[str, Any]], differences: Mapping[str, Difference]) -> Changes:
    """Champion's and challenger's metrics and their paired differences -> what to say about them."""
    champion, challenger = records(metrics[0]), records(metrics[1])
    keys = [key for key in champion if key in differences and key in challenger]
    verdicts = {key: judge(differences[key], champion[key], challenger[key]) for key in keys}
    sure = [key for key in keys if verdicts[key] != "unsure"]
    teller = next((key for key in TELL_CLASSES if key in sure), None)
    remarks = {key: Remark(key, sentence(differences[key], champion, challenger, teller)) for key in sure}

    def those(judgement: Judgement) -> tuple[Remark, ...]:
        return tuple(remarks[key] for key in sure if verdicts[key] == judgement)

    unsure = tuple(titled(key) for key in keys if verdicts[key] == "unsure")
    return Changes(those("worse"), those("better"), those("changed"), unsure)


def sentence(
    difference: Difference, champion: Mapping[str, Record], challenger: Mapping[str, Record], teller: str | None
) -> str:
    """'recall fell from 0.83 to 0.61: classes 3 and 8 are missing'."""
    key = difference.key
    before, after = pair(difference.champion, difference.challenger, metric(key).style)
    verb = "fell" if difference.value < 0 else "rose"
    why = class_news(champion, challenger) if key == teller else ""
    if split_key(key)[0] in ("label_accuracy", "intra_class_diversity"):
        why = moved_classes(champion[key], challenger[key], fell=verb == "fell")
    floor = number(champion[key], "floor")
    if better(key, champion[key]) == "real" and floor is not None:
        nearer = abs(difference.challenger - floor) < abs(difference.champion - floor)
        why = f"{'nearer to' if nearer else 'further from'} real images ({figure(floor)})"
    return f"{spoken(key)} {verb} from {before} to {after}{why and f': {why}'}"


def class_news(champion: Mapping[str, Record], challenger: Mapping[str, Record]) -> str:
    """Classes that the challenger lost or won back; '' where there is none."""
    before, after = (side.get("class_coverage", {}).get("missing") or [] for side in (champion, challenger))
    lost, back = [name for name in after if name not in before], [name for name in before if name not in after]
    told = [classes_are(lost, None, "missing")] if lost else []
    if back:
        told.append(classes_are(back, None, "back"))
    return "; ".join(told)


def moved_classes(champion: Record, challenger: Record, *, fell: bool) -> str:
    """'mostly Shirt (0.69 to 0.52)': the classes that moved most, in the direction of the whole."""
    before, after = champion.get("per_class") or {}, challenger.get("per_class") or {}
    moves = [
        (after[name] - before[name], name)
        for name in before
        if is_number(before[name]) and is_number(after.get(name)) and abs(after[name] - before[name]) >= CLASS_CHANGE
    ]
    chosen = sorted((move, name) for move, name in moves if (move < 0) == fell)
    if not fell:
        chosen.reverse()
    told = [
        f"{name} ({figure(before[name], 'share', digits=2)} to {figure(after[name], 'share', digits=2)})"
        for _, name in chosen[:3]
    ]
    return f"mostly {listed(told)}" if told else ""


def in_order(keys: Sequence[str]) -> list[str]:
    """Keys of differences in the glossary's order."""
    order = list(METRICS)
    return sorted(keys, key=lambda key: (order.index(base) if (base := split_key(key)[0]) else len(order), key))
