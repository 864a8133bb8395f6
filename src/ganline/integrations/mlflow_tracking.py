"""MLflow follows the trainer's files (history.jsonl, system.jsonl, samples/); the trainer knows nothing of it.

A run is found by content (the tags `ganline.recipe` and `ganline.machine`), so a resumed training continues its run.
No step is logged twice: what was logged is asked of MLflow, whose log_batch is one transaction for a whole line.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from ganline.files import sha256_json
from ganline.integrations.jsonl import LineReader, numbers
from ganline.integrations.mlflow_store import Store, lock, open_store, store_uri, translated
from ganline.sharing import without_userinfo

HISTORY, SYSTEM, SAMPLES = "history.jsonl", "system.jsonl", "samples"
# Each line holds nimg, so the steps of this metric are the steps that were logged.
MARKERS = {HISTORY: "nimg", SYSTEM: "system/nimg"}
RECIPE_TAG, MACHINE_TAG = "ganline.recipe", "ganline.machine"
MAX_METRICS, MAX_PARAMS = 1000, 100

# Sections and keys of params.yaml that may be logged; anything else (paths, hosts, tokens) stays here.
LOGGED_PARAMS = (
    "data.name",
    "data.source.name",
    "prepare",
    "extractor",
    "reference",
    "train",
    "evaluate",
)
SECRET = re.compile(r"token|secret|password|credential|api_?key", re.IGNORECASE)

Status = Literal["FINISHED", "FAILED", "KILLED"]


def find_or_start_run(
    recipe: str, machine: Mapping[str, Any] | None, *, name: str, params: Mapping[str, Any] | None = None
) -> str:
    """Id of the run of this recipe on this machine: the same one on every call, whoever asks.

    `machine` is what `devices.machine` returns; None (a result from a cache) takes the newest run of the recipe.
    `params` are the sections of params.yaml; only LOGGED_PARAMS leave, and URLs lose their userinfo.
    Raises RegistryError if the store fails.
    """
    query = f"tags.`{RECIPE_TAG}` = '{recipe}'"
    if machine is not None:
        query += f" AND tags.`{MACHINE_TAG}` = '{sha256_json(dict(machine))}'"
    with lock("runs"), translated(store_uri()):
        store = open_store()
        found = store.client.search_runs([store.experiment_id], filter_string=query, max_results=1)
        if found:
            run = found[0]
        else:
            told = dict(machine or {"restored": "from the DVC cache"})
            tags = {RECIPE_TAG: recipe, MACHINE_TAG: sha256_json(told)}
            tags |= {f"{MACHINE_TAG}.{key}": str(value) for key, value in told.items()}
            run = store.client.create_run(store.experiment_id, run_name=name, tags=tags)
        log_missing_params(store, run.info.run_id, known=run.data.params, params=params or {})
        return str(run.info.run_id)


def log_missing_params(store: Store, run_id: str, *, known: Mapping[str, str], params: Mapping[str, Any]) -> None:
    """Log the allowed parameters that the run does not have yet (MLflow refuses to change one)."""
    from mlflow.entities import Param

    missing = [Param(key, value[:6000]) for key, value in allowed(params) if key not in known]
    for start in range(0, len(missing), MAX_PARAMS):
        store.client.log_batch(run_id, params=missing[start : start + MAX_PARAMS])


def allowed(params: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(dotted name, text) of every parameter that may be logged."""
    for key, value in flatten(params):
        listed = any(key == entry or key.startswith(f"{entry}.") for entry in LOGGED_PARAMS)
        if listed and not SECRET.search(key):
            yield key, str(scrub(value))


def flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings by dotted names."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def scrub(value: Any) -> Any:
    """The value, its URLs without `user:password@`."""
    if isinstance(value, list | tuple):
        return [scrub(item) for item in value]
    return without_userinfo(value) if isinstance(value, str) and "://" in value else value


def follow(run_id: str, work: Path) -> int:
    """Log what the trainer wrote to `work` since the last call, by this process or another. Returns new lines.

    Cheap where nothing is new: two file sizes and one folder listing. Raises RegistryError if the store fails;
    the next call then asks MLflow again for what arrived.
    """
    return follower(store_uri(), run_id, work).poll()


@lru_cache(maxsize=8)
def follower(uri: str, run_id: str, work: Path) -> Follower:
    """One follower a run and process: it remembers how far it has read."""
    with translated(uri):
        return Follower(open_store(), run_id, work)


class Follower:
    """Position in the trainer's files, and what MLflow already has of them."""

    def __init__(self, store: Store, run_id: str, work: Path):
        self.store, self.run_id, self.work = store, run_id, work
        self.readers = {name: LineReader(work / name) for name in MARKERS}
        self.forget()

    def forget(self) -> None:
        """Ask MLflow anew at the next poll, and read the files from their beginning."""
        self.last: dict[str, int] = {}
        self.times: dict[int, float] = {}
        self.pictures: dict[str, int] | None = None
        self.is_running = False
        for reader in self.readers.values():
            reader.restart()

    def poll(self) -> int:
        """Log new lines and pictures; returns the number of new lines."""
        try:
            with translated(self.store.uri):
                system = self.readers[SYSTEM].read()
                self.times |= {line["step"]: line["time"] for line in system if isinstance(line.get("time"), float)}
                count = self.send(HISTORY, self.readers[HISTORY].read(), prefix="")
                count += self.send(SYSTEM, system, prefix="system/")
                self.send_pictures()
                return count
        except BaseException:
            self.forget()
            raise

    def send(self, name: str, lines: Sequence[dict[str, Any]], *, prefix: str) -> int:
        """Log the lines beyond the last step that MLflow has, a whole line in one transaction. Returns their number."""
        if not lines:
            return 0
        if name not in self.last:
            logged = self.store.client.get_metric_history(self.run_id, MARKERS[name])
            self.last[name] = max((metric.step for metric in logged), default=-1)
        fresh = []
        for line in lines:
            if line["step"] > self.last[name]:
                fresh.append(line)
                self.last[name] = line["step"]
        for batch in self.batches(fresh, prefix):
            self.reopen()
            self.store.client.log_batch(self.run_id, metrics=batch)
        return len(fresh)

    def batches(self, lines: Iterable[dict[str, Any]], prefix: str) -> Iterator[list[Any]]:
        """Metrics of whole lines, at most MAX_METRICS at once. A history line happened when its system line did."""
        from mlflow.entities import Metric

        batch: list[Any] = []
        for line in lines:
            when = round(1000 * self.times.get(line["step"], time.time()))
            own = [
                Metric(metric_name(prefix + key), value, when, line["step"])
                for key, value in numbers(line).items()
                if key != "time"
            ]
            if len(batch) + len(own) > MAX_METRICS:
                yield batch
                batch = []
            batch += own
        if batch:
            yield batch

    def reopen(self) -> None:
        """A run that had ended goes on: its training was resumed."""
        if not self.is_running:
            if self.store.client.get_run(self.run_id).info.status != "RUNNING":
                self.store.client.update_run(self.run_id, status="RUNNING")
            self.is_running = True

    def send_pictures(self) -> None:
        """Log each sample picture once; one that a killed process left half sent is sent again."""
        folder = self.work / SAMPLES
        here = {path.name: path.stat().st_size for path in sorted(folder.glob("[!.]*.png"))} if folder.is_dir() else {}
        if not here:
            return
        if self.pictures is None:
            listed = self.store.client.list_artifacts(self.run_id, SAMPLES)
            self.pictures = {Path(item.path).name: item.file_size or 0 for item in listed}
        for name, size in here.items():
            if self.pictures.get(name) != size:
                self.store.client.log_artifact(self.run_id, str(folder / name), SAMPLES)
                self.pictures[name] = size


def finish(
    run_id: str, *, metrics: Mapping[str, Any], artifacts: Sequence[Path] = (), status: Status = "FINISHED"
) -> None:
    """Log final figures (under their names with protocol) and files, and end the run. Again: changes nothing."""
    from mlflow.entities import Metric

    with translated(store_uri()):
        client = open_store().client
        run = client.get_run(run_id)
        now = round(time.time() * 1000)
        known = run.data.metrics
        new = [Metric(key, value, now, 0) for key, value in final_metrics(metrics).items() if known.get(key) != value]
        for start in range(0, len(new), MAX_METRICS):
            client.log_batch(run_id, metrics=new[start : start + MAX_METRICS])
        for path in artifacts:
            if path.is_dir():
                client.log_artifacts(run_id, str(path), path.name)
            elif path.is_file():
                client.log_artifact(run_id, str(path))
        if client.get_run(run_id).info.status != status:
            client.set_terminated(run_id, status=status)


def final_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Figures of metrics.json by MLflow names: NAME, NAME/low and NAME/high (95 %), NAME/floor, NAME/ratio."""
    figures: dict[str, float] = {}
    for record in metrics.values():
        if not isinstance(record, Mapping) or "name" not in record or "value" not in record:
            continue
        name = metric_name(str(record["name"]))
        parts = {name: record["value"]} | {f"{name}/{key}": record.get(key) for key in ("floor", "ratio")}
        parts |= dict(zip((f"{name}/low", f"{name}/high"), record.get("interval") or (), strict=False))
        figures |= {key: float(v) for key, v in parts.items() if isinstance(v, int | float) and math.isfinite(v)}
    return figures


def metric_name(name: str) -> str:
    """The name with characters that MLflow refuses (such as @) as underscores."""
    return re.sub(r"[^\w/.\- :]", "_", name)
