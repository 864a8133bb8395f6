"""Run presets one after the other, and collect what they came to.

    python benchmarks/presets.py fashion-dcgan fashion-sngan --out benchmarks/results/presets.json
    python benchmarks/presets.py --collect --out benchmarks/results/presets.json

Each preset runs as `make run PRESET=NAME` does; what OMP_NUM_THREADS says is recorded as the machine's threads. A row:
metrics.json of the workspace, images/s (median of the log's lines), seconds of training at that rate, the watchdog's
alarms, the machine. `--collect` runs nothing and reads the workspaces that are there. Rows
of other presets in the file stay. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from ganline.config import load_config
from ganline.training.tracker import read_lines

ROOT = Path(__file__).parents[1]


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
    return {
        "model": config.train.model.model_dump(mode="json"),
        "kimg": config.train.total_kimg,
        "images_per_second": round(rate),
        "training_seconds": round(lines[-1]["nimg"] / rate),
        "alarms": outcome.get("alarms", []),
        "machine": json.loads((work / "machine.json").read_text()),
        "metrics": json.loads((workspace / "artifacts" / "evaluate" / "metrics.json").read_text()),
    }


def table(rows: dict[str, Any]) -> str:
    """Markdown: a line a preset."""
    lines = [
        "| preset | training | images/s | distance | floor, ratio | coverage or modes | label accuracy | alarms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in sorted(rows.items()):
        metrics = row["metrics"]
        fd = next(value for key, value in metrics.items() if key.startswith("fd_") or key == "fd")
        shown = metrics.get("modes") or metrics.get("class_coverage")
        modes = "-" if shown is None else f"{shown['value']:.4g}"
        if "modes_kl" in metrics:
            modes += f" modes, KL {metrics['modes_kl']['value']:.3f}"
        accuracy = f"{metrics['label_accuracy']['value']:.3f}" if "label_accuracy" in metrics else "no labels"
        minutes, seconds = divmod(row["training_seconds"], 60)
        lines.append(
            f"| {name} | {row['kimg']:g} kimg, {minutes} min {seconds} s | {row['images_per_second']} | "
            f"`{fd['name']}` {fd['value']:.3g} ± {fd['std']:.2g} | {fd['floor']:.3g}, {fd['ratio']:.3g} | {modes} | "
            f"{accuracy} | {len(row['alarms'])} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("presets", nargs="*")
    parser.add_argument("--collect", action="store_true", help="read the workspaces that are there")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout whose workspaces are read")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    home = options.root / ".ganline"
    rows = json.loads(options.out.read_text()) if options.out.exists() else {}
    for name in options.presets:
        subprocess.run([sys.executable, "-m", "ganline", "run", "--preset", name], cwd=options.root, check=True)
    done = [path.parents[2] for path in (home / "ws").glob("*/artifacts/evaluate/metrics.json")]
    for workspace in done:
        if options.collect or workspace.name in options.presets:
            rows[workspace.name] = row_of(workspace, home)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(rows, indent=2, sort_keys=True) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
