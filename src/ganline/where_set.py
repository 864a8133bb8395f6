"""Which file decides a key of params.yaml, so that a remedy sends its reader there.

The params.yaml of an isolated workspace is made anew from the checkout's, a preset, and DATA, RES and NAME of the
command: a change there has no effect. Imports nothing heavy where a message names no key.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from ganline.errors import GanlineError
from ganline.home import home, main_checkout

PARAMS = "params.yaml"
OF_THE_COMMAND = {"DATA": "data.source.path", "RES": "prepare.resolution", "NAME": "register.name"}
KEY = re.compile(r"\b[a-z_]+(?:\.[A-Za-z0-9_]+)+")


def with_places(error: GanlineError) -> str:
    """An error's message, with a line for each place that decides keys which it names, such as `extractor.epochs`."""
    message = str(error)
    try:
        return message + places_of_keys(message, error.root or root_around(Path.cwd()))
    except (GanlineError, OSError):  # often for the very reason that the error names
        return message


def places_of_keys(message: str, root: Path | None) -> str:
    """A line for each place at `root` that decides keys which a message names; "" without any."""
    if root is None:
        return ""
    sections = mapping(main_checkout(root) / PARAMS).keys() | mapping(root / PARAMS).keys()
    places: dict[str, list[str]] = {}
    for key in dict.fromkeys(KEY.findall(message)):
        if key.partition(".")[0] in sections and is_key(key):
            places.setdefault(where_set(root, key), []).append(key)
    lines = [f"\n  ({', '.join(keys)}: set {place})" for place, keys in places.items()]
    return "".join(lines)


def is_key(dotted: str) -> bool:
    from ganline.config import is_key

    return is_key(dotted)


def where_set(root: Path, key: str) -> str:
    """What decides a key at `root`, as words after "set": a file, or a variable of the command."""
    if not is_isolated(root):
        return f"in {PARAMS}"
    checkout = checkout_of(root)
    base, preset = checkout / PARAMS, preset_file(root, checkout)
    if preset is None:
        return f"in {base}"
    overlay, own = mapping(preset), mapping(root / PARAMS)
    for variable, decided in OF_THE_COMMAND.items():
        differs = not own or value(own, key) not in (None, value(overlay, key))  # the workspace may not be made yet
        if preset.stem == "folder" and key == decided and differs:
            return f"by {variable}=…"
    return f"in {preset if decides(overlay, mapping(base), key) else base}"


def checkout_of(root: Path) -> Path:
    """The checkout of a workspace; that around the present folder for one elsewhere that is not made yet."""
    around = main_checkout(root)
    return around if (around / ".git").exists() else main_checkout()


def is_isolated(root: Path) -> bool:
    return root.parent == home(root) / "ws"


def preset_file(root: Path, base: Path) -> Path | None:
    """The preset of the checkout `base` that an isolated workspace is made of; None where there is none."""
    if not is_isolated(root):
        return None
    of_folder = ["folder"] if root.name.startswith("folder-") else []
    names = [root.name, root.name.removeprefix("refresh-"), *of_folder]
    files = (base / "presets" / f"{name}.yaml" for name in names)
    return next((path for path in files if path.is_file()), None)


def decides(overlay: Any, base: Any, key: str) -> bool:
    """Whether an overlay sets a key, by itself or by another variant in its place (see `overlay.merge`)."""
    for part in key.split("."):
        if not isinstance(overlay, dict) or not isinstance(base, dict):
            return True
        if overlay.get("name", base.get("name")) != base.get("name"):
            return True
        if part not in overlay:
            return False
        overlay, base = overlay[part], base.get(part)
    return True


def value(content: Any, key: str) -> Any:
    """What stands at a dotted key; None where nothing does."""
    for part in key.split("."):
        content = content.get(part) if isinstance(content, dict) else None
    return content


def mapping(path: Path) -> dict[str, Any]:
    """A YAML file's mapping; empty where it cannot be read: this serves another error's message."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def root_around(start: Path) -> Path | None:
    """The nearest folder with a params.yaml."""
    start = start.resolve()
    return next((folder for folder in (start, *start.parents) if (folder / PARAMS).is_file()), None)
