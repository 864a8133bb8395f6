"""What decides a training's result, by content: configuration, inputs and code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from ganline.config import Config
from ganline.files import sha256_file, sha256_json, sha256_tree

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
