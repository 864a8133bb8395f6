"""Where a model comes from, by content: the recipe, the machine, the data version, the commit and its patch."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ganline.config import Config
from ganline.files import sha256_file, sha256_json, sha256_tree

SNAPSHOT_MESSAGE = "ganline snapshot of a working tree"
# The rooms that decide the weights: a change in any of them makes saved training state another recipe's.
TRAINING_ROOMS = ("data/loader.py", "devices.py", "images.py", "losses", "models", "seeds.py", "training")


def home(root: Path) -> Path:
    """Where state outside the outs lives: GANLINE_HOME, or .ganline in the checkout. Absolute."""
    return Path(os.environ.get("GANLINE_HOME") or root / ".ganline").resolve()


def code_hash(rooms: tuple[str, ...] = TRAINING_ROOMS) -> str:
    """Hash of the source code of some rooms, as this process imports it."""
    package = Path(__file__).parent
    hashes = {
        room: sha256_tree(package / room, pattern="**/*.py") if (package / room).is_dir() else sha256_file(package / room)
        for room in rooms
    }
    return sha256_json(hashes)


def train_recipe(config: Config, prepared: Path) -> str:
    """What decides a training's result, given the machine: its section, the bytes of its inputs, its code."""
    section = config.train.model_dump(mode="json", exclude={"checkpoint_seconds"})
    return sha256_json([section, sha256_tree(prepared), code_hash()])


def git(root: Path, *arguments: str) -> str:
    """Standard output of a git command; empty where git cannot answer."""
    result = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    return result.stdout if result.returncode == 0 else ""


def base_commit(root: Path) -> str:
    """The newest commit of the user's own history: a workspace's snapshot is looked through."""
    subject, commit, parent = (git(root, "log", "-1", "--format=%s%n%H%n%P") + "\n\n\n").split("\n")[:3]
    return parent.split()[0] if subject == SNAPSHOT_MESSAGE and parent else commit


@dataclass(frozen=True)
class Lineage:
    """Tags and files that a registered version carries, enough to replay it."""

    recipe: str
    machine: dict[str, Any]
    dataset: str
    data_version: str
    commit: str
    patch: str

    def tags(self) -> dict[str, str]:
        return {
            "ganline.recipe": self.recipe,
            "ganline.machine": sha256_json(self.machine)[:16],
            "ganline.dataset": self.dataset,
            "ganline.data_version": self.data_version,
            "ganline.commit": self.commit,
            "ganline.dirty": str(bool(self.patch)).lower(),
        }


def data_version(root: Path) -> str:
    """The hash that data.dvc records; empty if there is none yet."""
    path = root / "data.dvc"
    if not path.exists():
        return ""
    return str(yaml.safe_load(path.read_text(encoding="utf-8"))["outs"][0]["md5"])


def collect(config: Config, root: Path, machine: dict[str, Any]) -> Lineage:
    """The lineage of the artifacts that lie in a workspace."""
    commit = base_commit(root)
    return Lineage(
        recipe=train_recipe(config, root / "artifacts" / "prepare"),
        machine=machine,
        dataset=config.data.source.name,
        data_version=data_version(root),
        commit=commit,
        patch=git(root, "diff", "--binary", commit, "--", ".", ":!dvc.lock", ":!data.dvc") if commit else "",
    )
