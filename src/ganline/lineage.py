"""Where a model comes from, by content: the recipe, the machine, the data version, the commit and its patch."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ganline.config import Config
from ganline.files import sha256_file, sha256_json, sha256_tree
from ganline.integrations.dvc_repo import data_version
from ganline.integrations.mlflow_registry import Lineage

SNAPSHOT_MESSAGE = "ganline snapshot of a working tree"
# The rooms that decide the weights: a change in any of them makes saved training state another recipe's.
TRAINING_ROOMS = (
    *("augment.py", "data/loader.py", "devices.py", "draws.py", "images.py", "losses", "models", "ranks.py"),
    *("schedules.py", "seeds.py", "training"),
    *(f"evaluation/{name}.py" for name in ("classes", "config", "extractor", "features", "frechet", "pixels", "probe")),
)
LANGUAGE_ROOMS = tuple(f"language/{name}.py" for name in ("learning", "llama", "sections", "tokenizers"))


def code_hash(rooms: tuple[str, ...] = TRAINING_ROOMS) -> str:
    """Hash of the source code of some rooms, as this process imports it."""
    package = Path(__file__).parent
    hashes = {
        room: sha256_tree(package / room, pattern="**/*.py")
        if (package / room).is_dir()
        else sha256_file(package / room)
        for room in rooms
    }
    return sha256_json(hashes)


def train_recipe(config: Config, prepared: Path, extractor: Path) -> str:
    """What decides a training's result, given the machine: its section, the bytes of its inputs, its code."""
    section = config.train.model_dump(mode="json", exclude={"checkpoint_seconds"})
    return sha256_json([section, sha256_tree(prepared), sha256_tree(extractor), code_hash()])


def recipe_of(
    section: BaseModel, inputs: Sequence[Path], rooms: tuple[str, ...], *, way: BaseModel | None = None
) -> str:
    """What decides another training's result, given the machine: its section, the bytes of its inputs, its code, and
    for a student the way in which it reads them."""
    plain = section.model_dump(mode="json", exclude={"checkpoint_seconds"})
    read = [] if way is None else [way.model_dump(mode="json", include={"reals", "prompts"})]
    return sha256_json([plain, *map(sha256_tree, inputs), code_hash(rooms), *read])


def git(root: Path, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Standard output of a git command; empty where git cannot answer."""
    command = ["git", "-C", str(root), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", env=env, check=False)
    return result.stdout if result.returncode == 0 else ""


def base_commit(root: Path) -> str:
    """The newest commit of the user's own history: a workspace's snapshot is looked through."""
    subject, commit, parent = (git(root, "log", "-1", "--format=%s%n%H%n%P") + "\n\n\n").split("\n")[:3]
    return parent.split()[0] if subject == SNAPSHOT_MESSAGE and parent else commit


def patch(root: Path) -> str:
    """What the working tree changes on its base commit, as `git apply` takes it. What DVC writes travels apart."""
    commit = base_commit(root)
    if not commit:
        return ""
    with temporary_index() as env:  # files that git does not know yet belong to the patch, and its index is not ours
        git(root, "read-tree", commit, env=env)
        git(root, "add", "--all", env=env)
        apart = (":(exclude)dvc.lock", ":(exclude)data.dvc", ":(exclude)expectations/previous.json")
        return git(root, "diff", "--cached", "--binary", commit, "--", ".", *apart, env=env)


@contextmanager
def temporary_index() -> Iterator[dict[str, str]]:
    """Environment in which git works on an index of its own."""
    with tempfile.TemporaryDirectory() as folder:
        yield os.environ | {"GIT_INDEX_FILE": str(Path(folder) / "index")}


def collect(config: Config, root: Path, machine: dict[str, Any], *, exact: bool | None) -> Lineage:
    """The lineage of the artifacts that lie in a workspace. `exact`: all of it was trained on this machine."""
    return Lineage(
        recipe=train_recipe(config, root / "artifacts" / "prepare", root / "artifacts" / "extractor"),
        machine=sha256_json(machine),
        dataset=config.data.source.name,
        commit=base_commit(root) or None,
        data=data_version(root),
        extra={"dirty": str(bool(patch(root))).lower(), "exact": "unknown" if exact is None else str(exact).lower()},
    )
