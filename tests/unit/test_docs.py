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


def test_every_preset_is_in_the_docs() -> None:
    pages = "".join((ROOT / page).read_text() for page in ("README.md", "docs/presets.md"))
    for path in (ROOT / "presets").glob("*.yaml"):
        assert path.stem == "folder" or f"PRESET={path.stem}`" in pages or f"PRESET={path.stem} " in pages


def test_the_table_of_presets_in_the_readme_is_what_was_measured() -> None:
    presets, readme = script("benchmarks/presets.py"), (ROOT / "README.md").read_text()
    rows = read_json(ROOT / "benchmarks/results/presets.json")
    assert rows.keys() == {"default", "mnist", "cifar10", "digits"}
    assert presets.replace_table(readme, rows) == readme, "run benchmarks/presets.py with --into README.md"


@pytest.mark.parametrize("preset", ["speedup-fashion", "speedup-mnist"])
def test_results_tell_what_a_study_found(preset) -> None:
    speedup, study = script("benchmarks/speedup.py"), read_json(ROOT / f"benchmarks/results/{preset}.json")
    begin, end = speedup.marks(study)
    told = (ROOT / "docs/results.md").read_text().split(begin)[1].split(end)[0].strip()
    assert told == speedup.section(study), "run benchmarks/speedup.py with --into"


def test_the_readme_holds_the_figures_of_the_study() -> None:
    study = read_json(ROOT / "benchmarks/results/speedup-fashion.json")
    best = study["verdict"]["best"]
    sides = {f"{each['model']} {each['form']}": each for each in study["variants"]}
    gan, lm = sides[best["student"]], sides[best["teacher_best"]]
    students, prompted = study["ablation"]["s2"], study["ablation"]["prompt"]
    figures = [
        f"| {lm['macs'] / 1e6:.1f} M | {gan['macs'] / 1e6:.2f} M | {lm['macs'] / gan['macs']:.0f} times fewer",
        f"| {best['teacher_first_ms']:.2f} ms | {best['student_first_ms']:.3f} ms | {best['first_ratio']:.0f} times",
        f"| {best['teacher_throughput_value']:,.0f} | {best['student_throughput']:,.0f} |",
        f"{math.floor(best['throughput_ratio'])} times as many",
        f"| {best['teacher_ms']:.2f} ms | {best['student_ms']:.3f} ms | {best['latency_ratio']:.0f} times less",
        *(f"| {lm['quality'][key]['value']:.3f} | {gan['quality'][key]['value']:.3f} |" for key in ("fd", "fd_second")),
        f"({students['fd']['value']:.2f})",
        f"({students['fd_second']['value']:.2f})",
        f"(distance {prompted['fd']['value']:.2f} and {prompted['fd_second']['value']:.2f})",
        f"nearer: {best['difference']:.3f} [{best['interval'][0]:.3f}, {best['interval'][1]:.3f}]",
        *prompt_ratios(study["prompts"]["paths"]),
    ]
    readme = (ROOT / "README.md").read_text()
    assert not [each for each in figures if " ".join(each.split()) not in " ".join(readme.split())]
    assert [round(students[key]["value"] / lm["quality"][key]["value"]) for key in ("fd", "fd_second")] == [4, 8]


def prompt_ratios(paths: dict) -> list[str]:
    """How README gives the GAN's gain from a prompt, with the encoder: int8 against int8."""
    gan, lm = paths["prompt int8"], paths["teacher int8"]
    batches = "images_per_second_at_batch_64"
    return [
        f"the GAN is {lm['p50_ms'] / gan['p50_ms']:.0f} times as fast in a warm loop",
        f"{lm['first_ms'] / gan['first_ms']:.1f} times after other work",
        f"{gan[batches] / lm[batches]:.1f} times in batches",
    ]


def test_the_page_of_the_study_holds_its_figures() -> None:
    study = read_json(ROOT / "benchmarks/results/speedup-fashion.json")
    best, rows = study["verdict"]["best"], study["prompts"]["adherence"]
    figures = [
        *(f"[{low:+.3f}, {high:+.3f}]" for low, high in (each["interval"] for each in best["confirmed"].values())),
        *(
            f"{100 * each['ratio']:.0f} %"
            for kind, each in rows.items()
            if "sentences never" in kind or "nouns never" in kind
        ),
    ]
    alone = study["ablation"]["narrow"]["fd_second"]["per_seed"].values()
    figures.append(f"({min(alone):.3f} to {max(alone):.3f})")
    page = (ROOT / "docs" / "speedup.md").read_text()
    assert not [each for each in figures if each not in page]
