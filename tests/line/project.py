"""A small copy of the project that runs the whole line in seconds: real digits, tiny networks, its own git and DVC."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from ganline.config import read_yaml
from ganline.overlay import merge

ROOT = Path(__file__).parents[2]
TINY = {
    "data": {"source": {"name": "digits"}},
    "manifest": {"validation_share": 0.1, "test_share": 0.2},
    "validate": {"suite": "digits"},
    "extractor": {"width": 8, "feature_dim": 16, "epochs": 1, "min_accuracy": 0.3},
    "judge": {"width": 8, "feature_dim": 16, "epochs": 1, "min_accuracy": 0.2},
    "reference": {"n": 200},
    "usefulness": {"steps": 10, "width": 4, "batch": 16},
    "train": {
        "total_kimg": 0.64,
        "batch": 16,
        "model": {"name": "pixelshuffle", "z_dim": 8, "g_width": 16, "d_width": 8},
        "tick_kimg": 0.064,
        "sample_kimg": 0.32,
        "checkpoint_seconds": 0.0,
        "watch": {"after_share": 1.0},  # nothing is learned in 40 steps
    },
    "tokenizer": {
        "train": {
            "total_kimg": 2.56,  # with less its tokens tell nothing, and it is refused
            "batch": 16,
            "model": {"vocab": 16, "code_dim": 4, "width": 8, "d_width": 8},
            "tick_kimg": 0.064,
            "checkpoint_seconds": 0.0,
        }
    },
    "llm": {
        "total_kimg": 0.64,
        "batch": 16,
        "size": {"width": 32, "layers": 1, "heads": 2},
        "tick_kimg": 0.064,
        "checkpoint_seconds": 0.0,
    },
    "bank": {"n": 128},
    "students": {
        "seeds": [0, 1],
        "at_once": 2,
        "train": {
            "total_kimg": 0.32,
            "batch": 16,
            "model": {"g_width": 16, "d_width": 8},
            "tick_kimg": 0.064,
            "checkpoint_seconds": 0.0,
            "watch": {"after_share": 1.0},
        },
        "ways": {
            "s1": {"mixture": True},
            "s2": {"seeds": [0], "train": {"total_kimg": 0.16}},
            "prompt": {"seeds": [0]},
        },
    },
    "quality": {"seeds": [4001, 4002], "n": 100, "memorisation_n": 20, "ablation_seeds": 2, "adherence_n": 64},
    "speedup": {"rounds": 5, "seconds": 2, "race": 2, "batch": 8},
    "register": {"name": "tiny"},
    "promotion": {"floors": {"class_coverage_min": 0.05, "fd_ratio_max": None, "fd_holdout_ratio_max": None}},
}
STAGES = [
    *("manifest", "validate", "prepare", "extractor", "judge", "reference"),
    *("train", "evaluate", "usefulness", "report", "export"),
]
GOALS = ["report", "export"]
"""What a model needs of the DAG; the speed-up study needs `quality`."""


@dataclass(frozen=True)
class Project:
    """A clone at `root`; commands run in it with its own code, its own state and the variables of `extra`."""

    root: Path
    extra: Mapping[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("GANLINE_", "MLFLOW_TRACKING"))}
        bin_folder = str(Path(sys.executable).parent)
        return env | {
            "PATH": bin_folder + os.pathsep + env["PATH"],
            "PYTHONPATH": str(self.root / "src"),
            "OMP_NUM_THREADS": env.get("OMP_NUM_THREADS", "2"),  # 1 where tests run side by side (conftest.py)
            "PYTHONUNBUFFERED": "1",
            **self.extra,
        }

    def run(self, *command: str, timeout: float = 1400) -> subprocess.CompletedProcess[str]:
        """Run a command (`ganline …`, `dvc …`), standard output and error together in `stdout`."""
        return subprocess.run(
            command,
            cwd=self.root,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )

    def must(self, *command: str, timeout: float = 1400) -> str:
        """Run a command that has to work; its output."""
        result = self.run(*command, timeout=timeout)
        assert result.returncode == 0, f"{command}\n{result.stdout}"
        return result.stdout

    def stages_run(self, output: str) -> list[str]:
        """The stages that a `dvc repro` output says it ran."""
        return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]

    def set_params(self, overlay: dict) -> None:
        path = self.root / "params.yaml"
        path.write_text(yaml.safe_dump(merge(read_yaml(path), overlay), sort_keys=False))

    def outs(self) -> dict[str, bytes]:
        """Every out, by its relative name."""
        folder = self.root / "artifacts"
        return {
            str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
        }


def make_project(folder: Path, overlay: dict | None = None) -> Project:
    """Copy the working tree's tracked and new files (data versions left out), make it tiny, commit it."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in listed:
        if name in ("data.dvc", "dvc.lock") or not (ROOT / name).is_file():
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    project = Project(folder)
    project.set_params(merge(TINY, overlay or {}))
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "tiny"]):
        subprocess.run(
            ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@localhost", *command], check=True
        )
    return project
