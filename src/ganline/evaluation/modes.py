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
import torch

from ganline.errors import GateError
from ganline.evaluation.classes import divergence
from ganline.evaluation.features import random_rows
from ganline.evaluation.names import count_name
from ganline.evaluation.uncertainty import spread


def num_covered(seen: torch.Tensor) -> int:
    """How many different classes occur in int64 [N]."""
    return len(seen.unique())


def mode_records(
    seen: Mapping[int, torch.Tensor],
    *,
    train_histogram: torch.Tensor,
    real_seen: torch.Tensor,
    real_labels: torch.Tensor,
    extractor: str,
    split: str,
) -> dict[str, Any]:
    """Records `modes` and `modes_kl`: mean and spread over seeds, each seed's value, and what real images score.

    `seen` holds the classes of one seed's samples, int64 [N], N the same for every seed; `train_histogram` [K] counts
    the training labels. The floor is that of N of the split's real images (`real_seen`, int64 [M]), or of all where
    there are fewer (`floor_n`). Raises GateError where training lacks a class.
    """
    n, num_modes = len(next(iter(seen.values()))), len(train_histogram)
    if not train_histogram.all():
        raise GateError(
            f"{int((train_histogram == 0).sum())} of {num_modes} classes have no training image: "
            "the divergence has no value",
            expected="every class among the training labels",
            remedy="more images (data.source.num_train), or evaluate.modes_n: null",
        )

    def counted(classes: torch.Tensor) -> torch.Tensor:
        return torch.bincount(classes, minlength=num_modes)

    uniform = torch.ones_like(train_histogram)
    kls = {str(seed): divergence(counted(classes), train_histogram) for seed, classes in seen.items()}
    covered = {str(seed): num_covered(classes) for seed, classes in seen.items()}
    real = real_seen[random_rows(len(real_seen), n, "modes")]
    common = {
        "extractor": extractor,
        "n": n,
        "split": split,
        "seeds": sorted(seen),
        "num_modes": num_modes,
        "floor_n": len(real),
        "extractor_accuracy": float((real_seen == real_labels).double().mean()),
    }
    suffix = f"{extractor}_n{count_name(n)}"
    kl = spread(list(kls.values())) | {
        "name": f"modes_kl_{suffix}",
        "better": "lower",
        "per_seed": kls,
        "floor": divergence(counted(real), train_histogram),
        "value_from_uniform": float(np.mean([divergence(counted(classes), uniform) for classes in seen.values()])),
        "floor_from_uniform": divergence(counted(real), uniform),
    }
    modes = spread(list(covered.values())) | {
        "name": f"modes_{suffix}",
        "better": "higher",
        "per_seed": covered,
        "floor": num_covered(real),
        "kl": kl["value"],
    }
    return {"modes": common | modes, "modes_kl": common | kl}
