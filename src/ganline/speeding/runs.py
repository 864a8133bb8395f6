"""A study as an MLflow run of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganline.config import Config
from ganline.files import sha256_file, sha256_json
from ganline.speeding.pages import PAGE, PICTURE, RACE, STUDY
from ganline.stages.places import QUALITY, SPEEDUP

if TYPE_CHECKING:
    from ganline.acceleration.study import Study


def log_study(config: Config, root: Path, found: Study) -> None:
    """A run of its own in MLflow: every variant's figures, the ratios, the pages."""
    from ganline.integrations.mlflow_tracking import find_or_start_run, finish

    run_id = find_or_start_run(
        sha256_json([found.plain(), sha256_file(root / QUALITY)]),
        dict(found.machine),
        name=f"{config.register_.name}-speedup",
        params=config.model_dump(mode="json", by_alias=True),
    )
    figures: dict[str, Any] = {}
    for variant in found.variants:
        own = {"p50_ms": variant.timing.p50_ms, "p95_ms": variant.timing.p95_ms}
        own |= {"images_per_second": variant.timing.throughput, "cold_ms": variant.timing.cold_ms}
        own |= {"bytes": variant.num_bytes, "macs": variant.macs}
        name = variant.name.replace(" ", "/")
        figures |= {f"{name}/{key}": {"name": f"{name}/{key}", "value": value} for key, value in own.items()}
        figures |= {
            f"{name}/{key}": record | {"name": f"{name}/{record['name']}"}
            for key, record in variant.quality.items()
            if key in ("fd", "fd_second", "recall", "coverage", "label_accuracy")
        }
    for kind in ("equal", "nearer", "best"):
        for key in ("latency_ratio", "first_ratio", "throughput_ratio"):
            if found.verdict[kind]:
                name = f"{kind}_quality/{key}"
                figures[name] = {"name": name, "value": found.verdict[kind][key]}
    finish(run_id, metrics=figures, artifacts=[root / SPEEDUP / name for name in (STUDY, PAGE, RACE, PICTURE)])
