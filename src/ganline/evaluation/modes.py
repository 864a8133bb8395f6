"""Modes covered, and how unevenly: the two figures of Stacked-MNIST. A mode is a class of the extractor's classifier.

Metz et al. 2016 (arXiv 1611.02163) count a mode when one of 25,600 samples is classified as it, and take the divergence
KL(generated || reference) in nats between the histograms of classes; Srivastava et al. 2017 (arXiv 1705.07761) and Lin
et al. 2018 (arXiv 1712.04086) the same with 26,000 samples. The published code of the last has the uniform distribution
as reference. Here it is the histogram of the training labels, which a perfect generator would match; the divergence
from uniform stands beside it, for comparison with published figures. Classifiers differ from paper to paper.

Counting costs: n samples of the reference itself have a divergence of about (modes - 1) / (2 n), 0.019 for 1,000 modes
and n = 26,000 (2 n KL is about chi-squared). So real images of the reference split are measured too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ganline.data.loader import Split
from ganline.errors import GateError
from ganline.evaluation.extractor import Extractor
from ganline.evaluation.measure import count_name, random_rows, spread


def num_covered(seen: np.ndarray) -> int:
    """How many different classes occur in int64 [N]."""
    return len(np.unique(seen))


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    """KL(p || q) = sum p ln(p / q) of two histograms [K] (counts or shares), in nats; infinite where q lacks a class.

    With equal shares as q it is ln K minus the entropy of p.
    """
    p, q = np.asarray(p, dtype=np.float64), np.asarray(q, dtype=np.float64)
    p, q = p / p.sum(), q / q.sum()
    there = p > 0
    with np.errstate(divide="ignore"):
        return float(max((p[there] * np.log(p[there] / q[there])).sum(), 0.0))


def mode_records(
    seen: Mapping[int, np.ndarray], *, train_labels: np.ndarray, extract: Extractor, real: Split, num_modes: int
) -> dict[str, Any]:
    """Records `modes` and `modes_kl`: mean and spread over seeds, each seed's value, and what real images score.

    `seen` holds the classes of one seed's samples, int64 [N], N the same for every seed. The floor is that of as many
    real images, or of all where there are fewer (`floor_n`). Raises GateError where training lacks a class.
    """
    n = len(next(iter(seen.values())))
    reference, uniform = np.bincount(train_labels, minlength=num_modes), np.ones(num_modes)
    if not reference.all():
        raise GateError(
            f"{(reference == 0).sum()} of {num_modes} classes have no training image: the divergence has no value",
            expected="every class among the training labels",
            remedy="more images (data.source.num_train), or evaluate.modes_n: null",
        )
    counts = {seed: np.bincount(classes, minlength=num_modes) for seed, classes in seen.items()}
    kls = {str(seed): divergence(count, reference) for seed, count in counts.items()}
    covered = {str(seed): num_covered(classes) for seed, classes in seen.items()}
    classes = extract.split_classes(real)
    rows = random_rows(len(classes), n, "modes")
    real_count = np.bincount(classes[rows], minlength=num_modes)
    common = {
        "extractor": extract.name,
        "n": n,
        "seeds": sorted(seen),
        "num_modes": num_modes,
        "floor_n": len(rows),
        "extractor_accuracy": float((classes == real.labels).mean()),
    }
    suffix = f"{extract.name}_n{count_name(n)}"
    kl = spread(list(kls.values())) | {
        "name": f"modes_kl_{suffix}",
        "per_seed": kls,
        "floor": divergence(real_count, reference),
        "value_from_uniform": float(np.mean([divergence(count, uniform) for count in counts.values()])),
        "floor_from_uniform": divergence(real_count, uniform),
    }
    modes = spread(list(covered.values())) | {
        "name": f"modes_{suffix}",
        "per_seed": covered,
        "floor": num_covered(classes[rows]),
        "kl": kl["value"],
    }
    return {"modes": common | modes, "modes_kl": common | kl}
