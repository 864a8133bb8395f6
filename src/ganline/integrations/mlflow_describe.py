"""What people see on a version's page, its model's and its run's: description, picture, tags, figures.

Every function may be called again: it finds what is there and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ganline.integrations.mlflow_store import Store
from ganline.integrations.mlflow_tracking import final_metrics
from ganline.integrations.mlflow_versions import Version
from ganline.registry.bundle import ModelSpec, open_bundle
from ganline.registry.promotion import Verdict

# The width of MLflow's column for descriptions.
MAX_DESCRIPTION = 5000
# Relative, so that it works below any host and prefix. The UI drops data: URIs from descriptions.
PICTURE = (
    "![samples](ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files"
    "?artifact_file_path=artifacts/bundle/samples.png)"
)


def describe(
    store: Store,
    version: Version,
    *,
    folder: Path,
    metrics: Mapping[str, Any],
    verdict: Verdict,
    tags: Mapping[str, str],
) -> None:
    """Set tags and descriptions of a version; figures and picture of the model and the run behind it."""
    client, number = store.client, str(version.version)
    for key, value in {**tags, "ganline.floors": str(verdict)}.items():
        client.set_model_version_tag(version.name, number, key, value)
    client.update_model_version(version.name, number, version_text(version, folder, metrics, verdict))
    client.update_registered_model(version.name, model_text(version.name))
    run_id = client.get_logged_model(version.model_id).source_run_id
    if run_id is not None:
        log_figures(store, run_id, version.model_id, final_metrics(metrics))
        if (folder / "samples.png").is_file():
            client.log_artifact(run_id, str(folder / "samples.png"))


def log_figures(store: Store, run_id: str, model_id: str, figures: Mapping[str, float]) -> None:
    """Figures for the model's page and the run's, each once: one that the run has keeps its time and step."""
    from mlflow.entities import Metric

    created = int(store.client.get_logged_model(model_id).creation_timestamp)
    batch = []
    for key, value in figures.items():
        logged = [old for old in store.client.get_metric_history(run_id, key) if old.value == value]
        when, step = (logged[-1].timestamp, logged[-1].step) if logged else (created, 0)
        batch.append(Metric(key, value, when, step, model_id=model_id))
    if batch:
        store.client.log_batch(run_id, metrics=batch)


def version_text(version: Version, folder: Path, metrics: Mapping[str, Any], verdict: Verdict) -> str:
    """The description of a version: picture, what it is, how good, how to use; then the card as far as it fits."""
    spec = open_bundle(folder).spec
    card_file = folder / "card.md"
    card = card_file.read_text(encoding="utf-8").strip() if card_file.is_file() else ""
    address = f"models:/{version.name}/{version.version}"
    parts = [
        PICTURE.format(model_id=version.model_id) if (folder / "samples.png").is_file() else "",
        f"**What it is:** {what_it_is(spec)}",
        "**How good it is:**\n\n" + ("\n".join(map("- {}".format, figure_lines(metrics))) or "- nothing was measured"),
        f"**Floors** (what a model must reach to get an alias): {verdict}",
        f'**Use it:** `ganline.load("{address}").sample(n=16, seed=0)` in Python, or '
        f"`mlflow models serve -m {address} --env-manager local`",
        "**Where it comes from:** the tags below name data, code and machine; the artifacts of its source model hold "
        "the files that replay it (`replay/`), the code (`code/`) and the weights (`artifacts/bundle/`).",
        "---" if card else "",
        card,
    ]
    return shorten("\n\n".join(part for part in parts if part), MAX_DESCRIPTION)


def what_it_is(spec: ModelSpec) -> str:
    """One sentence on the images that a model makes."""
    size, colour = spec.image.resolution, "grey" if spec.image.channels == 1 else "colour"
    labels = spec.conditioning.labels
    classes = f"you may choose the class: {', '.join(labels)}" if labels else "it takes no class"
    images = f"{size} x {size} {colour} images like those of {spec.dataset}"
    return f"a GAN (`{spec.model.name}`) that paints {images}; {classes}."


def figure_lines(metrics: Mapping[str, Any]) -> Iterator[str]:
    """A line a metric that has a name and a value: value, spread, floor, and how it was measured."""
    for record in metrics.values():
        if not isinstance(record, Mapping) or "name" not in record or not isinstance(record.get("value"), int | float):
            continue
        spread = f" ± {record['std']:.2g}" if isinstance(record.get("std"), float) else ""
        notes = []
        if isinstance(record.get("floor"), float):
            notes.append(f"real images against real ones: {record['floor']:.3g}")
        if "n" in record:
            notes.append(f"n = {record['n']}" + (f" of {record['split']}" if "split" in record else ""))
        if seeds := list(record.get("per_seed") or record.get("seeds") or ()):
            notes.append("generator seeds " + ", ".join(map(str, seeds)))
        yield f"`{record['name']}` = **{record['value']:.4g}**{spread}" + (f" ({'; '.join(notes)})" if notes else "")


def shorten(text: str, limit: int) -> str:
    """Whole lines of the text up to `limit` characters."""
    if len(text) <= limit:
        return text
    note = "\n\n… the whole card: `artifacts/bundle/card.md` among the artifacts of the source model"
    return text[: limit - len(note)].rpartition("\n")[0] + note


def model_text(name: str) -> str:
    """The description of the registered model."""
    return (
        f"An image generator made by ganline. `models:/{name}@champion` is the one to use; `@challenger` passed the "
        "floors too and waits for comparison; a version without alias did not pass (its tag `ganline.floors` says why)."
    )
