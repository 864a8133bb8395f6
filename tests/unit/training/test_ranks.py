"""Two ranks that share each batch do what one process does, and one process does what it did before.

After a change of the maths that is meant, and for a new variant: `python -m tests.unit.training.test_ranks NAME …`
writes the golden losses of these variants, or of all if none is named.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ganline import ranks
from ganline.draws import Draws
from ganline.errors import ConfigError
from ganline.files import read_json, write_json
from ganline.training.tracker import read_lines
from tests.unit.conftest import make_digits
from tests.unit.training.rank_worker import result
from tests.unit.variants import TRAININGS

ROOT = Path(__file__).parents[3]
GOLDEN = Path(__file__).with_name("golden.json")
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


@pytest.fixture(scope="module")
def one_process(digits, tmp_path_factory) -> Path:
    """The results of this process, for every variant."""
    out = tmp_path_factory.mktemp("one")
    for name in TRAININGS:
        result(name, digits, out)
    return out


def losses(folder: Path, name: str) -> dict[str, float]:
    """Mean losses and gradient norms of a run's last tick."""
    last = read_lines(folder / "work" / name / "history.jsonl")[-1]
    return {key: last[key] for key in ("loss_D", "loss_G", "grad_norm_D", "grad_norm_G")}


def golden(name: str) -> dict[str, float]:
    """The stored losses of a variant."""
    stored = read_json(GOLDEN)
    command = f"python -m tests.unit.training.test_ranks {shlex.quote(name)}"
    assert name in stored, f"no golden losses of {name!r}; when its maths is right, store them: {command}"
    return stored[name]


def store_golden(names: Sequence[str] = ()) -> None:
    """Train the named variants, or all, and store their losses; those of others stay."""
    if unknown := sorted(set(names) - TRAININGS.keys()):
        raise SystemExit(f"no variant {', '.join(unknown)} in TRAININGS; there are: {', '.join(TRAININGS)}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepared = make_digits(folder / "digits")
        for name in names or TRAININGS:
            result(name, prepared, folder)
        new = {name: losses(folder, name) for name in names or TRAININGS}
    write_json(GOLDEN, (read_json(GOLDEN) if names else {}) | new)


@pytest.mark.parametrize("name", TRAININGS)
def test_twenty_steps_in_float64_give_the_stored_losses(name, one_process) -> None:
    assert losses(one_process, name) == pytest.approx(golden(name), rel=1e-6)


def test_storing_one_variant_leaves_the_others_alone(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(sys.modules[__name__], "GOLDEN", tmp_path / "golden.json")
    write_json(tmp_path / "golden.json", {"dcgan": {"loss_D": 1.0}})
    with pytest.raises(
        AssertionError, match=r"no golden losses of 'mlp least squares'.*test_ranks 'mlp least squares'"
    ):
        golden("mlp least squares")
    store_golden(["mlp least squares"])
    assert golden("mlp least squares").keys() == {"loss_D", "loss_G", "grad_norm_D", "grad_norm_G"}
    assert golden("dcgan") == {"loss_D": 1.0}
    with pytest.raises(SystemExit, match="no variant gan in TRAININGS; there are: mlp"):
        store_golden(["gan"])


@pytest.mark.parametrize("name", TRAININGS)
def test_two_ranks_equal_one_process_after_twenty_steps(name, one_process, two_ranks) -> None:
    one, two = (load_file(folder / f"{name}.safetensors") for folder in (one_process, two_ranks))
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


if __name__ == "__main__":
    store_golden(sys.argv[1:])
