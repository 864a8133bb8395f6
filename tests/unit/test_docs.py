"""Documentation that can be checked is checked."""

from __future__ import annotations

import importlib.util
import math
import re
from pathlib import Path
from typing import Any

import pytest

from ganline.files import read_json

ROOT = Path(__file__).parents[2]


def script(path: str) -> Any:
    """A script of the repository as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def configuration_page() -> str:
    return str(script("docs/make_configuration.py").page())


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


@pytest.mark.parametrize("preset", ["speedup-fashion", "speedup-mnist"])
def test_results_tell_what_a_study_found(preset) -> None:
    speedup, study = script("benchmarks/speedup.py"), read_json(ROOT / f"benchmarks/results/{preset}.json")
    begin, end = speedup.marks(study)
    told = (ROOT / "docs/results.md").read_text().split(begin)[1].split(end)[0].strip()
    assert told == speedup.section(study), "run benchmarks/speedup.py with --into"


def test_the_readme_tells_the_figures_of_the_study() -> None:
    study = read_json(ROOT / "benchmarks/results/speedup-fashion.json")
    turns = read_json(ROOT / "benchmarks/results/int8_turns.json")["int8"]
    best = study["verdict"]["best"]
    (form,) = [each["quality"] for each in study["variants"] if f"{each['model']} {each['form']}" == best["student"]]
    rows = study["prompts"]["adherence"]
    figures = [
        f"{best['teacher_ms']:.2f} ms",
        f"`narrow` {best['student_ms']:.3f} ms",
        f"{best['latency_ratio']:.0f} times less",
        f"`narrow` {best['student_first_ms']:.2f} ms",
        f"{best['first_ratio']:.0f} times less ({best['early_ratio']:.0f} by the clock",
        f"{turns['teacher int8']['p50_ms'] / turns[best['student']]['p50_ms']:.0f} where only int8",
        f"{best['teacher_throughput_value']:,.0f}",
        f"`narrow` {best['student_throughput']:,.0f}",
        f"{math.floor(best['throughput_ratio'])} times as many",
        f"`narrow` {form['fd']['value']:.3f}",
        f"`narrow` {form['fd_second']['value']:.3f}",
        *(f"[{low:+.3f}, {high:+.3f}]" for low, high in (each["interval"] for each in best["confirmed"].values())),
        *(
            f"{100 * each['ratio']:.0f} %"
            for kind, each in rows.items()
            if "sentences never" in kind or "nouns never" in kind
        ),
        ", ".join(f"{one:.2f}" for one in study["ablation"]["narrow"]["fd"]["per_seed"].values()),
    ]
    readme = (ROOT / "README.md").read_text()
    assert not [each for each in figures if each not in readme], "README tells another study"
