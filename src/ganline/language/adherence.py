"""Whether images show what was asked for, without a human: the extractor's class and the attributes, measured again.

An extractor errs on real images too, so its share of right classes is told beside what it reaches on real test images
of the same classes, and as a ratio to that. Attributes are exact: half of random images of the class lie on the asked
side of its median, a third in the asked third.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ganline.data.loader import Split, rows_as_tensor
from ganline.devices import Compute
from ganline.images import to_pixels
from ganline.language.attributes import HIGH, LOW, NONE, measured
from ganline.language.prompts import KINDS, Prompts, parts_of
from ganline.seeds import generator

BATCH = 64

Figures = dict[str, Any]
Classify = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""uint8 images [N, C, H, W] -> features [N, F] and logits [N, K]: an extractor that classifies."""
Paint = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""z [N, z_dim] and prompts' embeddings [N, E] -> images [N, C, H, W] in about [-1, 1]."""


def adherence(
    images: torch.Tensor, concepts: torch.Tensor, *, classes: torch.Tensor, accuracy: torch.Tensor, prompts: Prompts
) -> Figures:
    """Figures of images uint8 [N, C, H, W] that were asked to show `concepts` int64 [N].

    `classes` int64 [N] is what the extractor sees, `accuracy` float64 [K] how often it is right on real images of each
    class. Returns n, `class_share`, `class_expected` (the extractor on real images of the asked classes) and their
    ratio; for each attribute how many images were asked for it, and the shares that lie on the asked side of the
    class's median and in the asked third; and `whole_share`, of the images with the class and all sides right.
    """
    asked = [parts_of(int(concept), len(prompts.attributes)) for concept in concepts]
    label = torch.tensor([own for own, _ in asked], dtype=torch.int64)
    levels = torch.tensor([own for _, own in asked], dtype=torch.int64).view(len(asked), len(prompts.attributes))
    values, marks = measured(prompts.attributes, images.cpu()), prompts.marks[label]
    named = levels != NONE
    sides = beyond(values, marks[:, :, 1], marks[:, :, 1], levels)
    thirds = beyond(values, marks[:, :, 0], marks[:, :, 2], levels)
    right, expected = classes.cpu() == label, share(accuracy.cpu()[label])
    figures: Figures = {"n": len(images), "class_share": share(right), "class_expected": expected}
    figures["class_ratio"] = figures["class_share"] / expected if expected > 0 else None
    figures["whole_share"] = share(right & (sides | ~named).all(1))
    figures["attributes"] = {
        name: {
            "n": int(named[:, a].sum()),
            "side_share": share(sides[named[:, a], a]),
            "third_share": share(thirds[named[:, a], a]),
        }
        for a, name in enumerate(prompts.attributes)
        if named[:, a].any()
    }
    return figures


def beyond(values: torch.Tensor, low: torch.Tensor, high: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """Whether each value lies below `low` where LOW was asked, above `high` where HIGH was, bool [N, A]."""
    return ((levels == LOW) & (values < low)) | ((levels == HIGH) & (values > high))


def share(values: torch.Tensor) -> float:
    return float(values.double().mean())


def accuracy_by_class(classify: Classify, split: Split, num_classes: int) -> torch.Tensor:
    """How often an extractor is right on the real images of each class, float64 [K]; 0 for a class without any."""
    right = torch.zeros(num_classes, dtype=torch.float64)
    for start in range(0, len(split), 4 * BATCH):
        seen = classify(rows_as_tensor(split, start, start + 4 * BATCH))[1].argmax(1).cpu()
        labels = torch.from_numpy(split.labels[start : start + 4 * BATCH])
        right += torch.bincount(labels[seen == labels], minlength=num_classes)
    counts = torch.bincount(torch.from_numpy(split.labels), minlength=num_classes)
    return right / counts.clamp(min=1)


@torch.inference_mode()
def measure_adherence(
    paint: Paint,
    prompts: Prompts,
    *,
    z_dim: int,
    classify: Classify,
    accuracy: torch.Tensor,
    compute: Compute,
    seed: int,
    n: int = 2000,
    kinds: Sequence[str] = KINDS,
) -> dict[str, Figures]:
    """Kind of prompt -> figures, each of about n images: every prompt of the kind equally often, at least once.

    Beside `adherence`'s figures the number of prompts, and the worst prompt with its share of right classes. Kinds
    without a prompt are left out.
    """
    found: dict[str, Figures] = {}
    for kind in kinds:
        embeddings, concepts, texts = prompts.of_kind(kind)
        if not len(concepts):
            continue
        rows = torch.arange(len(concepts)).repeat(math.ceil(n / len(concepts)))
        images, seen = [], []
        for chunk, own in enumerate(rows.split(BATCH)):
            z = torch.randn(BATCH, z_dim, generator=generator(seed, f"adherence {kind}", chunk))[: len(own)]
            told = embeddings[own].to(compute.device, compute.dtype)
            with compute.precision():
                painted = to_pixels(paint(z.to(compute.device, compute.dtype), told))
            images.append(painted.cpu())
            seen.append(classify(painted)[1].argmax(1).cpu())
        classes, asked = torch.cat(seen), concepts[rows]
        figures = adherence(torch.cat(images), asked, classes=classes, accuracy=accuracy, prompts=prompts)
        by_prompt = (classes == asked // 3 ** len(prompts.attributes)).view(-1, len(concepts)).double().mean(0)
        worst = int(by_prompt.argmin())
        found[kind] = figures | {
            "num_prompts": len(concepts),
            "worst_prompt": {"text": texts[worst], "class_share": float(by_prompt[worst])},
        }
    return found
