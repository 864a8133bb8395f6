"""Two ranks that share each batch do what one process does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ganline import ranks
from ganline.draws import Draws
from ganline.errors import ConfigError
from tests.unit.training.rank_worker import result
from tests.unit.variants import TRAININGS

ROOT = Path(__file__).parents[3]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture(scope="module")
def two_ranks(digits, tmp_path_factory) -> Path:
    """The results of two gloo ranks, for every variant."""
    out = tmp_path_factory.mktemp("two")
    command = [*TORCHRUN, "-m", "tests.unit.training.rank_worker", str(digits.folder), str(out)]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.mark.parametrize("name", TRAININGS)
def test_two_ranks_equal_one_process_after_twenty_steps(name, digits, two_ranks, tmp_path) -> None:
    result(name, digits, tmp_path)
    one, two = (load_file(folder / f"{name}.safetensors") for folder in (tmp_path, two_ranks))
    assert one.keys() == two.keys()
    apart = {key: (one[key].double() - two[key].double()).abs().max().item() for key in one}
    assert max(apart.values()) < 1e-9, sorted(apart.items(), key=lambda item: -item[1])[:5]


def as_rank(monkeypatch, rank: int, size: int) -> None:
    monkeypatch.setattr(ranks, "rank", lambda: rank)
    monkeypatch.setattr(ranks, "size", lambda: size)


def test_draws_do_not_depend_on_the_number_of_ranks(monkeypatch) -> None:
    def numbers(n: int) -> torch.Tensor:
        draws = Draws(0, "noise", 3, batch=8, device=torch.device("cpu"))
        return torch.cat([draws.normal(n, 2).view(2, -1, 2), draws.uniform(n, 2).view(2, -1, 2)], dim=2)

    whole = numbers(16)  # two groups (reals, fakes) of eight
    parts = []
    for rank in range(4):
        as_rank(monkeypatch, rank, 4)
        parts.append(numbers(4))
    assert torch.equal(whole, torch.cat(parts, 1))


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch) -> None:
    as_rank(monkeypatch, 0, 3)
    with pytest.raises(ConfigError, match="a batch of 16 cannot be shared by 3 ranks") as caught:
        ranks.rows(16)
    assert "18" in str(caught.value)
