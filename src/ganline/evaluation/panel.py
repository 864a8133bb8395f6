"""The panel: every figure of one generator, from one pass over each seed's images, each with its protocol.

A figure is a function of the fakes' and the reals' Features. The same functions, given real images in place of fakes,
say what real images score: the floor.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ganline.data.loader import Split
from ganline.devices import Compute
from ganline.errors import GateError
from ganline.evaluation.classes import class_figures, figures_per_class, is_covered
from ganline.evaluation.config import NEIGHBOURS
from ganline.evaluation.features import FIRST, SECOND, FeatureExtractor, Features, look, split_batches
from ganline.evaluation.frechet import fit_gaussian, frechet_distance
from ganline.evaluation.kid import kernel_distance
from ganline.evaluation.memorisation import c_t, copied_share
from ganline.evaluation.modes import mode_records
from ganline.evaluation.names import BETTER, IN_HALVES, PIXELS, full_name, key_of, metric_of, role_of
from ganline.evaluation.neighbours import nearest
from ganline.evaluation.prdc import prdc
from ganline.evaluation.reference import Reference, kernel_terms_of, radii_of
from ganline.evaluation.uncertainty import spread
from ganline.models.sampling import sample
from ganline.models.spec import Generator

log = logging.getLogger(__name__)

NEIGHBOURHOODS = (FIRST, SECOND)
"""Roles whose precision, recall, density and coverage are told."""
MANY_CLASSES = 100
SHOWN_CLASSES = 20


@dataclass
class SeedFigures:
    """One seed's figures: key -> value; key -> the two halves' values; key -> a value for each class, float64 [K]."""

    values: dict[str, float]
    halves: dict[str, tuple[float, float]] = field(default_factory=dict)
    classes: dict[str, torch.Tensor] = field(default_factory=dict)


def frechet_distances(fake: Features, real: Features) -> dict[str, float]:
    """FD under every extractor."""
    return {
        key_of("fd", role): frechet_distance(fit_gaussian(features), fit_gaussian(real.by[role]))
        for role, features in fake.by.items()
    }


def distances(fake: Features, real: Features, kernel_terms: Mapping[str, float]) -> dict[str, float]:
    """FD and KID under every extractor; `kernel_terms` are self_term of the real features."""
    return frechet_distances(fake, real) | {
        key_of("kid", role): kernel_distance(features, real.by[role], real_term=kernel_terms[role])
        for role, features in fake.by.items()
    }


def neighbourhoods(fake: Features, real: Features, radii: Mapping[str, torch.Tensor] | None = None) -> dict[str, float]:
    """Precision, recall, density, coverage; `radii` are those of the real features where they are known."""
    figures: dict[str, float] = {}
    for role in (role for role in NEIGHBOURHOODS if role in fake.by):
        found = prdc(fake.by[role], real.by[role], k=NEIGHBOURS, real_radii=radii[role] if radii else None)
        figures |= {key_of(name, role): value for name, value in found.items()}
    return figures


def pixel_figures(fake: Features, real: Features) -> dict[str, float]:
    """Mean of each pixel statistic as a share of real images'."""
    assert fake.pixels is not None and real.pixels is not None
    return {
        name: float(fake.pixels[name].double().mean() / real.pixels[name].double().mean().clamp(min=1e-12))
        for name in PIXELS
    }


def memorisation_figures(fake: Features, real: Reference, to_train: torch.Tensor | None = None) -> dict[str, float]:
    """Share of near copies of training images, and C_T. `to_train` [N, 2] are distances where they are known."""
    if to_train is None:
        to_train = nearest(fake.by[FIRST], real.train.by[FIRST], k=2)[0]
    found = c_t(
        fake=to_train[:, 0],
        real=real.test_to_train[:, 0],
        fake_cells=cells_of(fake, real),
        real_cells=cells_of(real.test, real),
    )
    return {"copied_share": copied_share(to_train)} | ({} if found.value is None else {"c_t": found.value})


def cells_of(seen: Features, real: Reference) -> torch.Tensor:
    """Where C_T compares: the class that is seen in each image; without classes the nearest of `real.centres`."""
    if real.centres is None:
        assert seen.classes is not None
        return seen.classes
    return nearest(seen.by[FIRST], real.centres, k=1)[1][:, 0]


def figures_of(fake: Features, real: Reference, *, memorisation_n: int) -> SeedFigures:
    """All figures of one set of images. `memorisation_n` of them are compared with every training image."""
    whole, *halves = ({role: float(t[i]) for role, t in real.kernel_terms.items()} for i in range(3))
    values = distances(fake, real.test, whole) | neighbourhoods(fake, real.test, real.radii)
    found = SeedFigures(values)
    for half, target, terms in zip(fake.halves(), real.test.halves(), halves, strict=True):
        for key, value in distances(half, target, terms).items():
            if key in IN_HALVES:
                found.halves[key] = (*found.halves.get(key, ()), value)  # type: ignore[assignment]
    if fake.pixels is not None:
        values |= pixel_figures(fake, real.test)
    if fake.classes is not None:
        values |= class_figures(fake, real.test, real.train_histogram)
        found.classes = figures_per_class(fake, real.test, len(real.labels))
    values |= memorisation_figures(fake.rows(slice(memorisation_n)), real)
    return found


def floor_figures(real: Reference) -> dict[str, float]:
    """What real images score. Random training images stand for a generator, as many as the reference has.

    Extractors were trained on them, so distances come out a little high (about a seventh on Fashion-MNIST, where fd at
    n = 5,000 is 0.43 between test halves and 0.47 to 0.57 from training images). Where it would mislead, validation
    images stand for it instead: memorisation, accuracy and variety of classes.
    """
    floors = figures_of(real.floor, real, memorisation_n=1).values
    if real.val.classes is not None:
        floors |= class_figures(real.val, real.test, real.train_histogram)
    floors |= memorisation_figures(real.val, real, real.val_to_train)
    return {key: value for key, value in floors.items() if math.isfinite(value)}


def first_of(real: Reference, n: int) -> Reference:
    """The reference as it would be with n images, its floors at that n."""
    if n == real.n:
        return real
    test = real.test.rows(slice(n))
    few = replace(
        real,
        test=test,
        floor=real.floor.rows(slice(n)),
        radii=radii_of(test),
        kernel_terms=kernel_terms_of(test),
        test_to_train=real.test_to_train[:n],
    )
    return replace(few, floors=floor_figures(few))


def measure(
    G: Generator,
    *,
    num_classes: int,
    extractors: Mapping[str, FeatureExtractor],
    real: Reference,
    seeds: Sequence[int],
    n: int | None = None,
    memorisation_n: int,
    modes_n: int | None = None,
    whole_split: Split | None = None,
    compute: Compute,
) -> dict[str, Any]:
    """Records of every figure: mean and interval over the seeds, n images each (None: as many as the reference).

    Modes are counted in the first `modes_n` of each seed, and in `whole_split`, which the reference's images are of.
    Raises GateError where they cannot be counted.
    """
    if modes_n is not None and not extractors[FIRST].classifies:
        raise GateError(
            f"evaluate.modes_n is {modes_n}, but {extractors[FIRST].name} tells no classes apart",
            expected="extractor.task: classifier or channels",
            remedy="set extractor.task, or evaluate.modes_n: null",
        )
    n = n or real.n
    if n > real.n:
        raise GateError(
            f"{n} images a seed were asked for, but the reference holds {real.n}",
            expected="as many as the reference, or fewer: a distance has equal N on both sides",
            remedy="raise reference.n where the split has more images",
        )
    target = first_of(real, n)
    warn_if_few(n, real)
    per_seed: dict[int, SeedFigures] = {}
    seen: dict[int, torch.Tensor] = {}
    for seed in seeds:
        batches = sample(
            G,
            n=max(n, modes_n or 0),
            seed=seed,
            num_classes=num_classes,
            compute=compute,
            label_weights=real.train_histogram if num_classes else None,
        )
        made = look(batches, extractors)
        per_seed[seed] = figures_of(made.rows(slice(n)), target, memorisation_n=memorisation_n)
        if modes_n is not None and made.classes is not None:
            seen[seed] = made.classes[:modes_n]
        log.info("evaluate: seed %d, %d images", seed, len(made))
    records = {key: record(key, per_seed, target, memorisation_n=min(memorisation_n, n)) for key in keys(per_seed)}
    if modes_n is not None and whole_split is not None:
        first = {FIRST: extractors[FIRST]}
        every = look(split_batches(whole_split, device=compute.device), first, pixels=False)
        assert every.classes is not None and every.labels is not None
        records |= mode_records(
            seen,
            train_histogram=real.train_histogram,
            real_seen=every.classes,
            real_labels=every.labels,
            extractor=real.extractors[FIRST],
            split=real.split,
        )
    return records


def warn_if_few(n: int, real: Reference) -> None:
    for role, features in real.test.by.items():
        if n <= features.shape[1]:
            log.warning(
                "evaluate: N = %d is not above the %d features of %s: distances this small in N are rough",
                n,
                features.shape[1],
                real.extractors[role],
            )


def keys(per_seed: Mapping[int, SeedFigures]) -> list[str]:
    """Figures that every seed has a finite value of."""
    every = [found.values for found in per_seed.values()]
    return [key for key in every[0] if all(math.isfinite(values.get(key, math.nan)) for values in every)]


def record(key: str, per_seed: Mapping[int, SeedFigures], real: Reference, *, memorisation_n: int) -> dict[str, Any]:
    """One figure over all seeds, with its protocol."""
    metric = metric_of(key)
    n = memorisation_n if metric in ("copied_share", "c_t") else real.n
    extractor = None if metric in PIXELS else real.extractors[role_of(key)]
    values = {str(seed): found.values[key] for seed, found in per_seed.items()}
    told: dict[str, Any] = {"name": full_name(key, extractor, n), "better": BETTER[metric]}
    told |= {"extractor": extractor} if extractor else {}
    told |= {"n": n, "split": real.split, "seeds": list(per_seed)} | spread(list(values.values()))
    told |= {"per_seed": values, "floor": real.floors.get(key)}
    if metric == "fd":
        told["ratio"] = told["value"] / told["floor"] if told["floor"] else None
    if key in IN_HALVES:
        told["per_half"] = {str(seed): list(found.halves[key]) for seed, found in per_seed.items()}
    if any(key in found.classes for found in per_seed.values()):
        told |= per_class(key, [found.classes[key] for found in per_seed.values()], real.labels, real.train_histogram)
    return told


def per_class(
    key: str, found: Sequence[torch.Tensor], labels: Sequence[str], histogram: torch.Tensor
) -> dict[str, Any]:
    """Each class's mean over seeds; of more than MANY_CLASSES nothing but the first few missing ones. `histogram` [K]
    counts the training labels."""
    mean = torch.stack(list(found)).nanmean(0)
    few = len(labels) <= MANY_CLASSES
    told: dict[str, Any] = {}
    if few:
        told["per_class"] = {
            label: value if math.isfinite(value) else None for label, value in zip(labels, mean.tolist(), strict=True)
        }
    if key == "class_coverage":
        missing = [
            label for label, there in zip(labels, is_covered(mean, histogram).tolist(), strict=True) if not there
        ]
        told |= {"missing": missing if few else missing[:SHOWN_CLASSES], "num_missing": len(missing)}
    return told
