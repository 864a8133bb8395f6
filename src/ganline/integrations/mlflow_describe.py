"""What people see on a version's page, its model's and its run's: description, picture, tags, figures.

Every function may be called again: it finds what is there and changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganline.integrations.mlflow_store import Store
from ganline.integrations.mlflow_tracking import final_metrics
from ganline.integrations.mlflow_versions import Version
from ganline.registry.promotion import Verdict

# MLflow's own tag, by which its UI leads from a logged model to its versions.
VERSIONS_TAG = "mlflow.modelVersions"
REPORT = "evaluation.html"
# MLflow looks for figures that a logged model has already in batches of this size only, and fails on larger ones.
AT_ONCE = 100
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
    run_id = link(store, version)
    client.update_model_version(version.name, number, version_text(version, folder, verdict, report_of(store, run_id)))
    client.update_registered_model(version.name, model_text(version.name))
    log_figures(store, run_id, version.model_id, final_metrics(metrics))
    for picture in sorted(folder.glob("*.png")):
        client.log_artifact(run_id, str(picture))


def link(store: Store, version: Version) -> str:
    """Let the model's page name the version, and its run's page the model. Returns the run's id."""
    from mlflow.entities import LoggedModelOutput

    client = store.client
    model = client.get_logged_model(version.model_id)
    run_id = str(model.source_run_id)
    entry = {"name": version.name, "version": str(version.version)}
    entries = json.loads(model.tags.get(VERSIONS_TAG, "[]"))
    if entry not in entries:
        client.set_logged_model_tags(version.model_id, {VERSIONS_TAG: json.dumps([*entries, entry])})
    outputs = client.get_run(run_id).outputs
    if version.model_id not in [output.model_id for output in (outputs.model_outputs if outputs else [])]:
        client.log_outputs(run_id, models=[LoggedModelOutput(version.model_id, step=0)])
    return run_id


def report_of(store: Store, run_id: str) -> str:
    """Where the UI shows the run's report; empty if it has none. Relative, so that it works below any host."""
    if REPORT not in [item.path for item in store.client.list_artifacts(run_id)]:
        return ""
    experiment = store.client.get_run(run_id).info.experiment_id
    return f"#/experiments/{experiment}/runs/{run_id}/artifacts/{REPORT}"


def log_figures(store: Store, run_id: str, model_id: str, figures: Mapping[str, float]) -> None:
    """Figures for the model's page and the run's, each once: one that the run has keeps its time and step."""
    from mlflow.entities import Metric

    created = int(store.client.get_logged_model(model_id).creation_timestamp)
    batch = []
    for key, value in figures.items():
        logged = [old for old in store.client.get_metric_history(run_id, key) if old.value == value]
        when, step = (logged[-1].timestamp, logged[-1].step) if logged else (created, 0)
        batch.append(Metric(key, value, when, step, model_id=model_id))
    for start in range(0, len(batch), AT_ONCE):
        store.client.log_batch(run_id, metrics=batch[start : start + AT_ONCE])


def version_text(version: Version, folder: Path, verdict: Verdict, report: str = "") -> str:
    """The description of a version: title, picture, report, model card, verdict, how to use it, where its parts are."""
    card_file = folder / "card.md"
    card = card_file.read_text(encoding="utf-8").strip() if card_file.is_file() else f"# {version.name}"
    picture = PICTURE.format(model_id=version.model_id) if (folder / "samples.png").is_file() else ""
    address = f"models:/{version.name}/{version.version}"
    # MLflow shows every line break as one.
    tail = "\n\n".join(
        [
            f"**Floors** (what a model must reach to get an alias): {verdict}",
            f'**Use it**: `ganline.load("{address}").sample(n=16, seed=0)` in Python, or over HTTP with '
            f"`mlflow models serve -m {address} --env-manager local`",
            "**Where it comes from**: the tags below name data, code and machine. The artifacts of the source model "
            "hold the weights (`artifacts/bundle/`), the code (`code/`) and the files that replay it (`replay/`).",
        ]
    )
    title, _, rest = card.partition("\n")  # lists of versions show how the text begins
    link = (
        f"**[Report]({report})**: every figure with floor and interval, neighbours, curves, warnings" if report else ""
    )
    space = MAX_DESCRIPTION - len(title) - len(picture) - len(link) - len(tail) - 8
    return "\n\n".join(part for part in (title, picture, link, shorten(rest.strip(), space), tail) if part)


def shorten(text: str, limit: int) -> str:
    """Whole lines of the text up to `limit` characters."""
    if len(text) <= limit:
        return text
    note = "\n\n… the whole card is `artifacts/bundle/card.md` among the artifacts of the source model."
    return text[: limit - len(note)].rpartition("\n")[0] + note


def model_text(name: str) -> str:
    """The description of the registered model."""
    return (
        f"An image generator made by ganline. `models:/{name}@champion` is the one to use; `@challenger` passed the "
        f"floors and waits for `ganline promote {name}`, which alone decides who is champion; a version without alias "
        "did not pass, or was champion before. Tags of a version say why: `ganline.floors`, and `ganline.promotion` "
        f"for what the gate last said of it. `ganline history {name}` tells every decision."
    )
