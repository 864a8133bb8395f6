"""Run presets one after the other, and collect what they came to: README's table of presets.

    python benchmarks/presets.py default mnist cifar10 digits --out benchmarks/results/presets.json --into README.md
    python benchmarks/presets.py --collect --out benchmarks/results/presets.json

`default` runs as `make run` does, in the checkout; another NAME as `make run PRESET=NAME`. What OMP_NUM_THREADS says is
recorded as the machine's threads. A row holds the metrics that the tables show, the seconds of training at the median
rate, the watchdog's alarms, and the machine. `--collect` runs nothing and reads what is there. Rows of other presets in
the file stay. With --into the table replaces what stands between `<!-- presets:begin -->` and `<!-- presets:end -->`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganline.config import load_config
from ganline.training.tracker import read_lines

ROOT = Path(__file__).parents[1]
DEFAULT = "default"
MARKS = ("<!-- presets:begin -->", "<!-- presets:end -->")
SHOWN = ("fd", "fd_second", "label_accuracy", "class_coverage", "recall", "recall_second", "modes", "modes_kl")
KEPT = ("name", "value", "interval", "std", "floor", "ratio", "n", "split", "seeds")
HEAD = (
    "command",
    "data",
    "training",
    "distance, primary extractor",
    "distance, holdout extractor",
    "right class (real images)",
    "accuracy of the primary (classes) and the holdout extractor (rotations)",
)


def work_of(workspace: Path, home: Path) -> Path:
    """The work folder whose history is the workspace's."""
    history = (workspace / "artifacts" / "train" / "history.jsonl").read_bytes()
    return next(path.parent for path in home.glob("work/*/history.jsonl") if path.read_bytes() == history)


def row_of(workspace: Path, home: Path) -> dict[str, Any]:
    """What a finished workspace came to."""
    work, config = work_of(workspace, home), load_config(workspace)
    lines = read_lines(work / "system.jsonl")
    rate = statistics.median(line["images_per_second"] for line in lines)
    outcome = json.loads((work / "outcome.json").read_text())
    metrics = json.loads((workspace / "artifacts" / "evaluate" / "metrics.json").read_text())
    records = {key: {name: metrics[key].get(name) for name in KEPT} for key in SHOWN if key in metrics}
    return {
        "resolution": config.prepare.resolution,
        "model": config.train.model.model_dump(mode="json"),
        "seed": config.train.seed,
        "kimg": config.train.total_kimg,
        "images_per_second": round(rate),
        "training_seconds": round(lines[-1]["nimg"] / rate),
        "alarms": outcome.get("alarms", []),
        "machine": json.loads((work / "machine.json").read_text()),
        "metrics": {key: metrics[key] for key in ("dataset", "extractors")} | records,
    }


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: a line a preset, in the order in which they were measured."""
    lines = [f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD)]
    return "\n".join([*lines, *(f"| {' | '.join(cells(name, row))} |" for name, row in rows.items())])


def cells(name: str, row: Mapping[str, Any]) -> list[str]:
    metrics = row["metrics"]
    right = metrics.get("label_accuracy")
    return [
        "`make run`" if name == DEFAULT else f"`make run PRESET={name}`",
        f"{metrics['dataset']}, {row['resolution']} px, N = {metrics['fd']['n']:,}",
        f"{row['kimg']:g} kimg",
        *(distance(metrics[key]) for key in ("fd", "fd_second")),
        f"{right['value']:.3f} ({right['floor']:.3f})" if right else "no labels",
        ", ".join(f"{each['validation_accuracy']:.3f}" for each in metrics["extractors"].values()),
    ]


def distance(record: Mapping[str, Any]) -> str:
    """'1.05 [1.01, 1.09] (0.303), 3.5 times'."""
    low, high = record["interval"]
    real = f"({record['floor']:.3g}), {record['ratio']:.2g} times"
    return f"{record['value']:.3g} [{low:.3g}, {high:.3g}] {real}"


def replace_table(page: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The page with a new table between the marks."""
    begin, end = MARKS
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n{table(rows)}\n{end}{rest.partition(end)[2]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("presets", nargs="*")
    parser.add_argument("--collect", action="store_true", help="read what is there, run nothing")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout that is run and read")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--into", type=Path, help="the page whose table is replaced")
    options = parser.parse_args()
    home = options.root / ".ganline"
    rows = json.loads(options.out.read_text()) if options.out.exists() else {}
    for name in options.presets:
        preset = [] if name == DEFAULT else ["--preset", name]
        subprocess.run([sys.executable, "-m", "ganline", "run", *preset], cwd=options.root, check=True)
    places = {DEFAULT: options.root} | {path.name: path for path in sorted((home / "ws").glob("*"))}
    names = list(places if options.collect else options.presets)
    for name in names:
        if (places[name] / "artifacts" / "evaluate" / "metrics.json").is_file():
            rows[name] = row_of(places[name], home)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(rows, indent=1) + "\n")
    if options.into:
        options.into.write_text(replace_table(options.into.read_text(), rows))
    print(table(rows))


if __name__ == "__main__":
    main()
