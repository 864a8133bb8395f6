"""Documentation that can be checked is checked."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def configuration_page() -> str:
    spec = importlib.util.spec_from_file_location("make_configuration", ROOT / "docs" / "make_configuration.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.page())


def test_the_configuration_page_is_what_the_classes_say() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert page == configuration_page(), "run python docs/make_configuration.py"


def test_every_key_of_the_configuration_has_a_meaning() -> None:
    rows = [line.split(" | ") for line in configuration_page().splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    assert not [row[0] for row in rows if not row[-1].rstrip("| ")]


def test_every_relative_link_leads_somewhere() -> None:
    broken = []
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "mlflow" / "README.md"]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert not broken


def test_every_preset_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for path in (ROOT / "presets").glob("*.yaml"):
        assert path.stem == "folder" or f"PRESET={path.stem}" in readme
