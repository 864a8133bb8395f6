"""What kind of images a model makes. Versions of one registered model make the same kind: others cannot be compared.

Pure: plain values from model.json and dataset.json, without opening networks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

SHOWN_CLASSES = 8
EXPECTED = "versions of one model make the same kind of image: data set, size, channels, classes by name and order"


@dataclass(frozen=True)
class Kind:
    """Images of a model or of prepared data. `labels` name the classes in the order of their numbers; None: unknown."""

    dataset: str
    resolution: int
    channels: int
    labels: tuple[str, ...] | None

    def __str__(self) -> str:
        colour = "grey" if self.channels == 1 else "RGB"
        text = f"{self.dataset}, {self.resolution} px, {colour}"
        return text if self.labels is None else f"{text}, {describe_classes(self.labels)}"


def kind_of_model(content: Mapping[str, Any]) -> Kind:
    """The kind that a bundle's model.json tells. Raises KeyError or TypeError for something else."""
    image = content["image"]
    return Kind(content["dataset"], image["resolution"], image["channels"], tuple(content.get("labels", ())))


def kind_of_data(content: Mapping[str, Any]) -> Kind:
    """The kind that prepare's dataset.json tells."""
    return Kind(content["name"], content["resolution"], content["channels"], tuple(content["labels"]))


def differences(new: Kind, old: Kind) -> list[str]:
    """What keeps two kinds from being compared, in words; empty if nothing does. Unknown classes are not compared."""
    found = []
    if new.dataset != old.dataset:
        found.append(f"data set {new.dataset}, not {old.dataset}")
    if new.resolution != old.resolution:
        found.append(f"{new.resolution} px, not {old.resolution} px")
    if new.channels != old.channels:
        found.append(f"{new.channels} channels, not {old.channels}")
    if new.labels is not None and old.labels is not None and new.labels != old.labels:
        added = [label for label in new.labels if label not in old.labels]
        missing = [label for label in old.labels if label not in new.labels]
        if added:
            found.append(f"more classes: {listed(added)}")
        if missing:
            found.append(f"without classes: {listed(missing)}")
        if not added and not missing:
            found.append("the same classes in another order: their numbers mean other things")
    return found


def describe_classes(labels: Collection[str]) -> str:
    """'classes cat, dog', the first few of many with their number."""
    return f"classes {listed(labels)}" if labels else "no classes"


def listed(labels: Collection[str]) -> str:
    few = ", ".join(list(labels)[:SHOWN_CLASSES])
    return few if len(labels) <= SHOWN_CLASSES else f"{few} … ({len(labels)} in all)"
