"""Imports run one way, and the core works without the production line's libraries."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "ganline"

# A module may import from its own layer and from those above it in this list.
LAYERS = [
    {
        "errors",
        "files",
        "environment",
        "seeds",
        "leash",
        "home",
        "network",
        "outputs",
        "doctor",
        "torchvision_shim",
        "schedules",
        "overlay",
        "sharing",
        "extras",
    },
    {"side_by_side", "git", "snapshot"},
    {"images", "devices", "ranks", "draws"},
    {"data"},
    {"models"},
    {"losses", "augment"},
    {"training"},
    {"evaluation"},
    {"language"},
    {"acceleration"},
    {"registry"},
    {"serving"},
    {"page"},
    {"integrations", "api"},
    {"config"},
    {"lineage"},
    {"stages", "workspace", "where_set"},
    {"scoring", "preflight"},
    {"comparing"},
    {"weighing", "speeding"},
    {"promoting"},
    {"effects"},
    {"line"},
    {"cli", "command_help", "__main__"},
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
HEAVY = {"prefect", "mlflow", "dvc", "great_expectations"}


def room_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def modules() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_from_rooms_below_it(path: Path) -> None:
    own = LEVEL[room_of(path)]
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "ganline" and len(parts) > 1 and parts[1] in LEVEL:
            assert LEVEL[parts[1]] <= own, f"{path.name} (layer {own}) imports {name} (layer {LEVEL[parts[1]]})"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_edges_name_the_libraries_of_the_line(path: Path) -> None:
    if room_of(path) in {"integrations", "leash"}:
        return
    assert not {name.split(".")[0] for name in imported(path)} & HEAVY


def test_the_core_trains_and_measures_with_none_of_them_importable() -> None:
    code = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"prefect", "mlflow", "dvc", "great_expectations"}:
            raise ImportError(f"{name} is not to be had")
sys.meta_path.insert(0, Refuse())
import ganline.training.loop, ganline.evaluation.panel, ganline.serving.generate, ganline.registry.bundle
import ganline.data.manifest, ganline.data.prepare, ganline.data.fetching, ganline.api
print("core ok")
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "core ok", result.stderr
