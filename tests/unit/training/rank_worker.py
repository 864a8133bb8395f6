"""What each rank of test_ranks.py runs: every variant for 20 steps in float64; the first rank saves the result."""

from __future__ import annotations

import sys
from pathlib import Path

from safetensors.torch import save_file

from ganline import ranks
from ganline.data.loader import Prepared
from ganline.training.state import pack
from tests.unit.training.test_loop import run_training
from tests.unit.variants import TRAININGS, training


def result(name: str, prepared: Prepared, out: Path) -> None:
    """Train one variant in a work folder below `out`; its whole state in `out/NAME.safetensors`."""
    section = training(name, precision="fp64", checkpoint_seconds=1e9)
    for network in ("G", "D"):
        # A bias before BatchNorm has a gradient of rounding errors alone, which Adam's usual 1e-8 makes into steps.
        section[f"{network}_optimizer"] |= {"eps": 1e-5}
    steps = 20 * section["batch"] * section["objective"].get("n_critic", 1) / 1000
    state = run_training(prepared, section | {"total_kimg": steps}, out / "work" / name)
    assert state.step == 20
    if ranks.is_first():
        save_file(pack(state), out / f"{name}.safetensors")


if __name__ == "__main__":
    with ranks.joined():
        for variant in TRAININGS:
            result(variant, Prepared(Path(sys.argv[1])), Path(sys.argv[2]))
