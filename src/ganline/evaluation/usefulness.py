"""What generated images are worth as training data, told by classifiers that are tested on real images.

Classification Accuracy Score (Ravuri & Vinyals 2019, arXiv 1905.10887): a classifier is trained on generated images
alone, with the labels that were asked for, and tested on real ones. What G paints badly, never paints or paints for
another label is missing from its training, so its accuracy falls short of that of a classifier trained on real images.

Data augmentation: a classifier trained on a share of the real images and on generated ones, less one trained on the
same real images alone. Both take equally many steps of equally many images from the same initial weights: in place of
half of each batch come generated images. So the mixture sees every real image half as often, and where real images
abound a generator must be as good as they are to break even.

Deviations from the paper: its ResNet-50 is a network of two convolutions here, trained for seconds, on images averaged
down to at most 32 px, without flips or crops: gains are over no augmentation at all. Classes are asked for as often as
training images have them: evening out uneven ones is no merit of G. Figures compare generators with each other and
with real images under this protocol, not with published scores.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from ganline.data.loader import Batches, Prepared, Split
from ganline.devices import Compute
from ganline.errors import GateError
from ganline.evaluation.config import UsefulnessConfig
from ganline.evaluation.uncertainty import spread
from ganline.images import to_network, to_pixels
from ganline.models.sampling import label_histogram, sample
from ganline.models.spec import Generator
from ganline.seeds import derive, generator

log = logging.getLogger(__name__)

LARGEST_SIDE = 32
"""Larger images are averaged down to this side: time and memory do not grow with the resolution."""
LABEL_SMOOTHING = 0.1
READ_BATCH = 1024
TEST_BATCH = 250  # activations stay in a core's cache
MANY_CLASSES = 100
GENERATED = "generated"
MIXING = "half of each batch real, half generated"


class Pool(Split):
    """A split in memory: `images` uint8 [N, C, h, w] of at most LARGEST_SIDE pixels, `labels` int64 [N]."""

    def __init__(self, images: np.ndarray, labels: np.ndarray):
        self.images, self.labels = images, labels

    def first(self, n: int) -> Pool:
        return Pool(self.images[:n], self.labels[:n])


def measure_usefulness(
    G: Generator, *, num_classes: int, prepared: Prepared, split: str, config: UsefulnessConfig, compute: Compute
) -> tuple[dict[str, Any], str | None]:
    """Records `cas`, `cas_real` and `augmentation_…pct`, tested on `split` (test or val), and None.

    Where nothing can be measured there are no records, and the reason in words. Values are means over training seeds,
    intervals t-intervals over them: they do not tell how much another set of generated images would change. Raises
    GateError if G was trained on other classes than the data has.
    """
    if reason := why_not(num_classes, prepared, split):
        return {}, reason
    train, test = prepared.split("train"), in_memory(prepared.split(split))
    fakes = generated(G, label_histogram(train.labels, num_classes), config=config, compute=compute)
    seen: dict[str, dict[int, np.ndarray]] = {}
    for seed in config.seeds:
        for key, pools in curricula(train, fakes, seed=seed, config=config).items():
            net = train_classifier(pools, num_classes=num_classes, seed=seed, config=config, compute=compute)
            seen.setdefault(key, {})[seed] = predictions(net, test, compute)
        cas, ceiling = (float((seen[key][seed] == test.labels).mean()) for key in (GENERATED, real(1.0)))
        log.info("usefulness: seed %d, accuracy %.4f after generated images, %.4f after real ones", seed, cas, ceiling)
    found = records(
        seen,
        test=test.labels,
        num_train=len(train),
        num_fakes=len(fakes),
        prepared=prepared,
        split=split,
        config=config,
    )
    return found, None


def why_not(num_classes: int, prepared: Prepared, split: str) -> str | None:
    """Why nothing can be measured, in words; None if it can. Raises GateError where G knows other classes."""
    if len(prepared.labels) < 2:
        return f"{prepared.name} has fewer than two labels: there is nothing that a classifier could learn"
    if not num_classes:
        return "the generator is not told a class: its images carry no labels to train on"
    if num_classes != len(prepared.labels):
        raise GateError(
            f"the generator knows {num_classes} classes, {prepared.name} has {len(prepared.labels)}",
            expected="a generator that was trained on this data set",
            remedy="measure it with the data that it was trained on",
        )
    empty = [name for name in ("train", split) if not len(prepared.split(name))]
    return f"{prepared.name} has no image in its {empty[0]} split" if empty else None


def curricula(train: Split, fakes: Pool, *, seed: int, config: UsefulnessConfig) -> dict[str, tuple[Pool, ...]]:
    """What each classifier of a seed is trained on. A smaller share of the real images is part of every larger one."""
    order = torch.randperm(len(train), generator=generator(seed, "usefulness rows")).numpy()
    # No classifier sees more images: a random part of the split then is as good as all of it.
    pool = in_memory(train, order[: config.steps * config.batch])
    found: dict[str, tuple[Pool, ...]] = {GENERATED: (fakes,), real(1.0): (pool,)}
    for share in config.shares:
        own = pool.first(num_real(share, len(train)))
        found |= {real(share): (own,), both(share): (own, fakes)}
    return found


def real(share: float) -> str:
    """The classifier that is trained on a share of the real images alone."""
    return f"real {share:g}"


def both(share: float) -> str:
    """The classifier that is trained on the same real images and on generated ones."""
    return f"both {share:g}"


def num_real(share: float, size: int) -> int:
    """Images in a share of the training split, at least one."""
    return max(1, round(share * size))


def reduced(images: torch.Tensor) -> torch.Tensor:
    """uint8 [N, C, H, W] averaged down to at most LARGEST_SIDE pixels a side: uint8 [N, C, h, w]."""
    if images.shape[-1] <= LARGEST_SIDE:
        return images
    return to_pixels(nn.functional.interpolate(to_network(images), size=(LARGEST_SIDE, LARGEST_SIDE), mode="area"))


def in_memory(split: Split, rows: np.ndarray | None = None) -> Pool:
    """Those rows of a split (all if None), in their order."""
    rows = np.arange(len(split)) if rows is None else rows
    parts = np.array_split(rows, -(-len(rows) // READ_BATCH))
    images = np.concatenate([reduced(torch.from_numpy(np.array(split.images[part]))).numpy() for part in parts])
    return Pool(images, np.array(split.labels[rows]))


def generated(G: Generator, label_weights: torch.Tensor, *, config: UsefulnessConfig, compute: Compute) -> Pool:
    """Generated images and the labels asked for, in proportion to `label_weights` [num_classes]."""
    n = config.num_generated or config.steps * config.batch
    seed = derive(config.seeds[0], "usefulness latents")
    images, asked = [], []
    num_classes = len(label_weights)
    drawn = sample(G, n=n, seed=seed, num_classes=num_classes, label_weights=label_weights, compute=compute)
    for made, labels in drawn:
        assert labels is not None, "num_classes is not 0"
        images.append(reduced(made).cpu().numpy())
        asked.append(labels.cpu().numpy())
    return Pool(np.concatenate(images), np.concatenate(asked))


def build_classifier(*, channels: int, side: int, width: int, num_classes: int) -> nn.Sequential:
    """Two strided convolutions and two linear layers: image [N, C, side, side] in [-1, 1] -> logits [N, K].

    Striding at once is what makes it fast: on 28 px a step takes half the time of a FeatureNet of width 8.
    """
    last = math.ceil(math.ceil(side / 2) / 2)
    return nn.Sequential(
        nn.Conv2d(channels, width, 5, stride=2, padding=2, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * width * last**2, 8 * width),
        nn.ReLU(),
        nn.Linear(8 * width, num_classes),
    )


def train_classifier(
    pools: Sequence[Pool], *, num_classes: int, seed: int, config: UsefulnessConfig, compute: Compute
) -> nn.Module:
    """Cross-entropy with Adam and a one-cycle learning rate; of every batch each pool gives an equal part.

    Initial weights and the order of a pool's images depend on the seed alone.
    """
    _, channels, side, _ = pools[0].images.shape
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "usefulness weights"))
        net = build_classifier(channels=channels, side=side, width=config.width, num_classes=num_classes)
    net = compute.place(net).train()
    share, device = config.batch // len(pools), compute.device
    streams = [
        Batches(pool, batch=share, seed=derive(seed, "usefulness order", i), mirror=False, device=device)
        for i, pool in enumerate(pools)
    ]
    optimizer = torch.optim.Adam(net.parameters(), lr=config.lr, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=config.steps)
    for k in range(config.steps):
        images, labels = (torch.cat(parts) for parts in zip(*(stream.get(k) for stream in streams), strict=True))
        with compute.precision():
            logits = net(images.to(compute.dtype))
        loss = nn.functional.cross_entropy(logits.float(), labels, label_smoothing=LABEL_SMOOTHING)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


@torch.inference_mode()
def predictions(net: nn.Module, test: Pool, compute: Compute) -> np.ndarray:
    """The class seen in every image, int64 [N]."""
    classes = []
    for start in range(0, len(test), TEST_BATCH):
        images = to_network(torch.from_numpy(test.images[start : start + TEST_BATCH]).to(compute.device))
        with compute.precision():
            logits = net(images.to(compute.dtype).contiguous(memory_format=torch.channels_last))
        classes.append(logits.argmax(1).cpu().numpy())
    return np.concatenate(classes)


def over_seeds(values: dict[int, float]) -> dict[str, Any]:
    """Mean, spread and t-interval over training seeds, and each seed's value."""
    return spread(list(values.values())) | {"per_seed": {str(seed): value for seed, value in values.items()}}


def records(
    seen: dict[str, dict[int, np.ndarray]],
    *,
    test: np.ndarray,
    num_train: int,
    num_fakes: int,
    prepared: Prepared,
    split: str,
    config: UsefulnessConfig,
) -> dict[str, Any]:
    """The records of `measure_usefulness` from the classes seen by each classifier, and the true ones int64 [N]."""
    net, budget = f"convnet{config.width}", f"{config.steps}x{config.batch}"
    protocol = f"{net}_{budget}_{split}_n{len(test)}"
    accuracy = {key: {seed: float((own == test).mean()) for seed, own in each.items()} for key, each in seen.items()}
    common: dict[str, Any] = {
        "n": len(test),
        "split": split,
        "seeds": sorted(config.seeds),
        "better": "higher",
        "floor": None,
        "classifier": {
            "net": net,
            "resolution": min(prepared.resolution, LARGEST_SIDE),
            "steps": config.steps,
            "batch": config.batch,
            "lr": config.lr,
        },
    }
    chance = float(np.bincount(test).max() / len(test))
    cas, ceiling = over_seeds(accuracy[GENERATED]), over_seeds(accuracy[real(1.0)])
    found: dict[str, Any] = {
        "cas": common | cas | {"name": f"cas_{protocol}", "floor": ceiling["value"], "num_generated": num_fakes},
        "cas_real": common | ceiling | {"name": f"cas_real_{protocol}", "num_real": num_train},
    }
    for key, source in (("cas", GENERATED), ("cas_real", real(1.0))):
        found[key] |= {"chance": chance} | per_class(list(seen[source].values()), test, prepared.labels)
    for share in config.shares:
        alone, mixed = accuracy[real(share)], accuracy[both(share)]
        key = f"augmentation_{100 * share:g}pct"
        found[key] = common | over_seeds({seed: mixed[seed] - alone[seed] for seed in config.seeds})
        found[key] |= {
            "name": f"{key}_{protocol}",
            "real_alone": float(np.mean(list(alone.values()))),
            "with_generated": float(np.mean(list(mixed.values()))),
            "num_real": num_real(share, num_train),
            "num_generated": num_fakes,
            "mixing": MIXING,
        }
    return found


def per_class(seen: Sequence[np.ndarray], test: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """Mean accuracy on each class's images, None where there are none; nothing of more than MANY_CLASSES."""
    if len(labels) > MANY_CLASSES:
        return {}
    hits = np.mean([own == test for own in seen], axis=0)
    return {
        "per_class": {
            label: float(hits[test == k].mean()) if (test == k).any() else None for k, label in enumerate(labels)
        }
    }
