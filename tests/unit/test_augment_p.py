"""How often augmentation happens: fixed, scheduled, or ADA's feedback by exactly its stated steps."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from ganline.augment import adapt
from ganline.losses.config import AdaConfig, AugmentConfig
from ganline.schedules import Schedule


def test_ada_moves_by_the_images_seen_towards_its_target() -> None:
    config = AdaConfig(target=0.5, kimg=500, every=4)
    p = torch.tensor(0.2, dtype=torch.float64)
    moved = [adapt(p, torch.tensor(r_t), config=config, batch=64).item() - 0.2 for r_t in (0.9, 0.1, 0.5, math.nan)]
    step = 64 * 4 / 500_000
    assert moved == pytest.approx([step, -step, 0.0, 0.0], abs=1e-15)


def test_ada_crosses_the_whole_range_in_kimg() -> None:
    config = AdaConfig(kimg=10, every=4)
    p = torch.tensor(config.start)
    for _ in range(10_000 // (50 * 4)):
        p = adapt(p, torch.tensor(1.0), config=config, batch=50)
    assert p.item() == pytest.approx(1.0)


def test_ada_stays_between_0_and_its_most() -> None:
    config = AdaConfig(kimg=0.1, p_max=0.8)
    assert adapt(torch.tensor(0.7), torch.tensor(1.0), config=config, batch=64).item() == pytest.approx(0.8)
    assert adapt(torch.tensor(0.1), torch.tensor(0.0), config=config, batch=64).item() == 0.0


def test_p_is_fixed_scheduled_or_adaptive() -> None:
    assert not AugmentConfig().is_on
    assert not AugmentConfig(p=0.5, operations=()).is_on
    assert AugmentConfig.model_validate({"p": 0.3}).planned_p(5, 10) == 0.3
    scheduled = AugmentConfig.model_validate({"p": {"start": 0.0, "end": 0.6, "shape": "linear"}})
    assert isinstance(scheduled.p, Schedule) and scheduled.is_on
    assert scheduled.planned_p(5, 10) == pytest.approx(0.3)
    adaptive = AugmentConfig.model_validate({"p": {"start": 0.1, "target": 0.5}})
    assert isinstance(adaptive.p, AdaConfig) and adaptive.is_on
    assert adaptive.planned_p(5, 10) == 0.1


@pytest.mark.parametrize(
    "section",
    [
        {"p": 1.5},
        {"p": {"start": 0.0, "end": 1.2}},
        {"p": {"start": 0.9, "p_max": 0.5}},
        {"p": {"taget": 0.5}},
        {"operations": ["rotate"]},
        {"cutout": 0.0},
    ],
    ids=str,
)
def test_sections_that_make_no_sense_are_refused(section) -> None:
    with pytest.raises(ValidationError):
        AugmentConfig.model_validate(section)
