"""A study's figures as the tables of docs/results.md and README.md, and without the records of each seed as JSON.

make speedup PRESET=speedup-fashion
python benchmarks/speedup.py .ganline/ws/speedup-fashion --out benchmarks/results/speedup-fashion.json
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ganline.files import read_json, write_json
from ganline.stages.places import SPEEDUP

KEPT = ("name", "value", "interval", "floor", "n", "split", "seeds")
FIGURES = ("fd", "fd_second", "recall", "coverage", "label_accuracy", "class_coverage")


def without_seeds(study: dict[str, Any]) -> dict[str, Any]:
    """The study, its records cut to what tables need."""
    for variant in study["variants"]:
        quality = variant["quality"]
        variant["quality"] = {
            key: {name: quality[key][name] for name in KEPT if name in quality[key]}
            for key in FIGURES
            if key in quality
        }
    return study


def tables(study: dict[str, Any]) -> Iterator[str]:
    protocol = study["protocol"]
    seeds, threads, batch = len(protocol["seeds"]), protocol["threads"], protocol["batch"]
    yield f"n = {protocol['n']}, {seeds} seeds, {protocol['split']} split, {threads} thread, batch {batch}"
    yield "| model, form | p50, p95 ms | images/s | cold | bytes | fd (second) | recall | label accuracy |"
    yield "|---|---|---|---|---|---|---|---|"
    for each in study["variants"]:
        timing, quality = each["timing"], each["quality"]
        low, high = quality["fd"]["interval"]
        second, recall = quality["fd_second"]["value"], quality["recall"]["value"]
        accuracy = quality["label_accuracy"]["value"]
        yield (
            f"| {each['model']}, {each['form']} | {timing['p50_ms']:.3g}, {timing['p95_ms']:.3g} "
            f"| {timing['throughput']:,.0f} | {timing['cold_ms'] / 1000:.2g} s | {each['num_bytes'] / 1e6:.2f} MB "
            f"| {quality['fd']['value']:.3f} [{low:.3f}, {high:.3f}] ({second:.3f}) | {recall:.3f} | {accuracy:.3f} |"
        )
    yield "\n| way | training seeds | fd: mean (each) | second | recall | label accuracy | seconds |"
    yield "|---|---|---|---|---|---|---|"
    for name, way in study["ablation"].items():
        each = ", ".join(f"{value:.3f}" for value in way["fd"]["per_seed"].values())
        others = " | ".join(f"{way[key]['value']:.3f}" if key in way else "" for key in FIGURES[1:3] + FIGURES[4:5])
        seconds = way.get("train_seconds")
        yield (
            f"| {name}: {way['what']} | {len(way['seeds'])} | {way['fd']['value']:.3f} ({each}) | {others} "
            f"| {seconds and round(seconds)} |"
        )
    for part in ("verdict", "language", "tokenizer", "likelihood", "between", "bank", "prompts", "failed", "machine"):
        yield f"\n{part}: {study[part]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("root", type=Path, help="a workspace where `ganline speedup` ran")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    study = without_seeds(read_json(arguments.root / SPEEDUP / "study.json"))
    print("\n".join(tables(study)))
    if arguments.out:
        write_json(arguments.out, study)


if __name__ == "__main__":
    main()
