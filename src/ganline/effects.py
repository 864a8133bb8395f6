"""What the line does outside the DAG: get data and pin it, verify it, register the result, decide who is champion.

Each is idempotent. DVC would restore such a step from its run cache without doing it; so the CLI and the flow call
these functions.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganline.config import PARAMS, Config, load_config
from ganline.errors import ConfigError, GanlineError, RegistryError, printable
from ganline.extras import check_extra
from ganline.files import read_json, sha256_file, sha256_json, write_bytes, write_json, write_text
from ganline.home import home
from ganline.integrations import dvc_repo
from ganline.lineage import train_recipe
from ganline.sharing import describe_left_out
from ganline.snapshot import Patch, base_commit, patch
from ganline.stages import GOALS
from ganline.stages.places import (
    DATA,
    EXTRACTOR,
    MANIFEST,
    METRICS,
    MODEL,
    NEIGHBOURS,
    PREPARE,
    PREVIOUS_PROFILE,
    REPORT,
    SAMPLES,
    TRAIN,
    USEFULNESS,
    VALIDATE,
)
from ganline.stages.training import work_folder
from ganline.workspace import others_at_work

if TYPE_CHECKING:
    from ganline.integrations.mlflow_registry import Lineage, Registration
    from ganline.integrations.mlflow_tracking import Status
    from ganline.promoting import Outcome

log = logging.getLogger(__name__)

REPLAY_FILES = (PARAMS, "data.dvc", "dvc.yaml", "dvc.lock")
SKIPPED = ".dvc/tmp/skipped-files.tsv"  # a tab between name and reason


def fetch(root: Path, *, accept: bool = False) -> None:
    """Make data/ hold the configured data set, as data.dvc records it; with `accept`, as a new version.

    A model named by `train.init_from` is fetched too and pinned by hash. Raises FetchError, DataError.
    """
    from ganline.data.fetching import fetch as fetch_data

    config = load_config(root)
    check_installed(config)
    report = fetch_data(config.data, root / DATA, accept=accept)
    write_text(root / SKIPPED, "".join(f"{printable(name)}\t{reason}\n" for name, reason in report.skipped.items()))
    log.info("%s", replace(report, skipped_list=str(root / SKIPPED)))
    before = dvc_repo.data_version(root)
    profile = root / MANIFEST / "profile.json"
    if accept and before and profile.exists() and before != dvc_repo.folder_hash(root / DATA):
        # The version that is being replaced is what the next one's drift is measured against.
        write_json(root / PREVIOUS_PROFILE, read_json(profile))
    if dvc_repo.record_version(root, accept=accept):
        log.info("data version %s recorded in data.dvc", dvc_repo.data_version(root))
    pin_init_from(config, root)


def check_installed(config: Config, goal: str = "model") -> None:
    """Whether the packages are here that a goal of the DAG needs beside the core, and the sentence encoder's bytes are
    right: asked before anything runs. Raises ConfigError."""
    if config.tracking.tensorboard:
        check_extra("tensorboard", needed_by="tracking.tensorboard")
    if config.reference.pretrained:
        check_extra("pretrained", needed_by="reference.pretrained")
    if goal == "speedup":
        from ganline.language.encoder_folder import check_encoder

        check_extra("study", needed_by="the speed-up study")
        check_encoder(config.captions.encoder)


def preflight(root: Path, *, prepared: bool = False) -> None:
    """Refuse now what register or promote would refuse: before fetch, and again when the data is `prepared`.

    Raises GateError, ConfigError or RegistryError with everything that was found. Changes nothing.
    """
    from ganline.preflight import after_prepare, before_fetch, require

    require((after_prepare if prepared else before_fetch)(load_config(root), root))


def warn_of_refusals(root: Path) -> None:
    """Say what `ganline register` or `ganline promote` would refuse. Fetch serves others too: it only warns."""
    from ganline.preflight import before_fetch, problems

    try:
        found = problems(before_fetch(load_config(root), root))
    except GanlineError as error:
        found = [error]
    for each in found:
        log.warning("a model that is trained now could not become champion: %s", each)


def source_is_unchanged(root: Path) -> bool:
    """Whether the source has now what data/ holds: a folder of images may have changed, published files cannot."""
    from ganline.data.checksums import read_sums

    return load_config(root).data.source.plan().files == read_sums(root / DATA)


def verify(root: Path) -> None:
    """Compare every raw byte with the source's checksums and with data.dvc. Raises DataError."""
    from ganline.data.checksums import verify as verify_data

    files = verify_data(load_config(root).data, root / DATA)
    dvc_repo.check_version(root)
    log.info("verify: %d files are what the source and data.dvc say", len(files))


def pin_init_from(config: Config, root: Path) -> None:
    """Get the model that training starts from, and write its bundle hash into params.yaml: part of the recipe."""
    init = config.train.init_from
    if init is None:
        return
    from ganline.api import bundle_folder
    from ganline.registry.bundle import copy_bundle, open_bundle

    bundle = open_bundle(bundle_folder(init.model))
    if init.bundle not in (None, bundle.hash):
        kept = home(root) / "bundles" / str(init.bundle)
        if not kept.is_dir():
            raise ConfigError(
                f"train.init_from.bundle is {init.bundle}, but {init.model} is now {bundle.hash}",
                remedy="name a version instead of an alias, or remove the key `bundle` to pin the present one",
            )
        return
    folder = home(root) / "bundles" / bundle.hash
    if not folder.is_dir():
        copy_bundle(bundle.folder, folder)
    if init.bundle is None:
        set_param(root / PARAMS, ("train", "init_from", "bundle"), bundle.hash)
        log.info("train.init_from: %s pinned as bundle %s", init.model, bundle.hash)


def set_param(path: Path, keys: tuple[str, ...], value: str) -> None:
    """Set one key of a YAML file, its comments and order kept."""
    import io

    from ruamel.yaml import YAML

    round_trip = YAML()
    round_trip.preserve_quotes = True
    content = round_trip.load(path.read_text(encoding="utf-8"))
    section: Any = content
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = value
    buffer = io.BytesIO()
    round_trip.dump(content, buffer)
    write_bytes(path, buffer.getvalue())


@dataclass(frozen=True)
class Training:
    """A training as its followers see it: where it tells, and the MLflow run that it belongs to."""

    folder: Path
    run_id: str
    machine: dict[str, Any]
    exact: bool | None = None
    """Whether all of it ran on this machine, so that its bits can be had again; None if that is not known (yet)."""

    def follow(self, *, tensorboard: bool) -> None:
        """Bring MLflow (and TensorBoard, if asked) up to what the trainer has told so far. Cheap if it is nothing."""
        from ganline.integrations.mlflow_tracking import follow

        follow(self.run_id, self.folder)
        if tensorboard:
            from ganline.integrations.tensorboard import follow_tensorboard

            follow_tensorboard(self.folder, self.folder / "tensorboard")


def begun_training(config: Config, root: Path) -> Training | None:
    """The training of the workspace's recipe if it has begun on this machine, else None."""
    work = work_folder(root, train_recipe(config, root / PREPARE, root / EXTRACTOR))
    if not (work / "history.jsonl").exists():
        return None
    machine, outcome = read_json(work / "machine.json"), work / "outcome.json"
    exact = read_json(outcome)["exact"] if outcome.exists() else None
    return Training(work, tracking_run(config, root, machine), machine, exact)


def restored_training(config: Config, root: Path) -> Training:
    """A training whose result came from DVC's cache: its history is an out, its machine is not known here."""
    return Training(root / TRAIN, tracking_run(config, root, None), {"restored": "from the DVC cache"})


def tracking_run(config: Config, root: Path, machine: dict[str, Any] | None) -> str:
    """Id of the MLflow run of this recipe on this machine; on whichever machine there was one, if None."""
    from ganline.integrations.mlflow_tracking import find_or_start_run

    return find_or_start_run(
        train_recipe(config, root / PREPARE, root / EXTRACTOR),
        machine,
        name=f"{config.register_.name}-{config.train.model.name}",
        params=config.model_dump(mode="json", by_alias=True),
    )


def end_own_runs(root: Path, status: Status) -> None:
    """End the MLflow run of the workspace's recipe if it is RUNNING: its line failed or was stopped.

    A store's trouble is said, and hides nothing else.
    """
    try:
        recipe = train_recipe(load_config(root), root / PREPARE, root / EXTRACTOR)
    except (GanlineError, OSError):
        return  # what a training needs is not there, so none has begun
    end_runs(status, recipe=recipe)


def end_abandoned_runs(root: Path) -> None:
    """End as KILLED the MLflow runs that a killed line left RUNNING, unless lines of other workspaces are at work."""
    if not others_at_work(root):
        end_runs("KILLED")


def end_runs(status: Status, *, recipe: str | None = None) -> None:
    """End runs of this home that are RUNNING while nobody trains them; a store's trouble is a warning."""
    from ganline.integrations.mlflow_runs import end_idle_runs

    try:
        for name in end_idle_runs(home() / "work", status, recipe=recipe):
            log.info("the MLflow run %s is %s: its training stopped", name, status)
    except GanlineError as error:
        log.warning("MLflow cannot end a run just now: %s", error)


def register(root: Path) -> Registration:
    """Complete the MLflow run and register the bundle. Run again, it changes nothing.

    Raises RegistryError, and GateError for a version that could never become champion.
    """
    from ganline.integrations.mlflow_registry import register as register_bundle
    from ganline.integrations.mlflow_tracking import finish
    from ganline.preflight import UNDECIDABLE, of_model, read_registered, require
    from ganline.registry.kind import kind_of_model

    config = load_config(root)
    for needed in (f"{MODEL}/model.json", METRICS, USEFULNESS, REPORT):
        if not (root / needed).is_file():
            raise RegistryError(f"there is no {needed} to register", remedy="run `dvc repro`, or `make run`")
    model = kind_of_model(read_json(root / MODEL / "model.json"))
    require(of_model(config, root, model, "artifacts/model", read_registered(config.register_.name)), UNDECIDABLE)
    metrics = read_json(root / METRICS)
    training = begun_training(config, root) or restored_training(config, root)
    training.follow(tensorboard=config.tracking.tensorboard)
    told = [root / name for name in (SAMPLES, NEIGHBOURS, f"{VALIDATE}/report.html", METRICS, USEFULNESS, REPORT)]
    finish(training.run_id, metrics=metrics | read_json(root / USEFULNESS), artifacts=told)
    changes = patch(root)
    if changes.left_out:
        log.info("left out of the version: %s", describe_left_out(changes.left_out))
    return register_bundle(
        root / MODEL,
        name=config.register_.name,
        floors=config.promotion.floors,
        metrics=metrics,
        lineage=lineage_of(config, root, training, changes),
        replay_files=replay_of(changes) | {name: root / name for name in REPLAY_FILES},
        run_id=training.run_id,
    )


def replay_of(changes: Patch) -> dict[str, Path | bytes]:
    """The patch, and the names of what a replay may miss. Names outside the code folders stay here: they decide
    nothing, and may tell of other work."""
    listed = "".join(f"{name!a}: {reason}\n" for name, reason in changes.code_left_out.items())
    return {"changes.patch": changes.content, **({"left_out.txt": listed.encode()} if listed else {})}


def lineage_of(config: Config, root: Path, training: Training, changes: Patch) -> Lineage:
    """Where the artifacts of a workspace come from: recipe, machine, data, commit, and whether it was changed."""
    from ganline.integrations.mlflow_registry import Lineage

    exact = "unknown" if training.exact is None else str(training.exact).lower()
    return Lineage(
        recipe=train_recipe(config, root / PREPARE, root / EXTRACTOR),
        machine=sha256_json(training.machine),
        dataset=config.data.source.name,
        commit=base_commit(root),
        data=dvc_repo.data_version(root),
        extra={"dirty": str(bool(changes.content)).lower(), "exact": exact},
    )


def promote(root: Path) -> Outcome:
    """Put the registered bundle to the gate, if it waits for that. A refusal is an outcome, not an error.

    Run again, it changes nothing: one question is measured once. Raises RegistryError, GateError.
    """
    from ganline.promoting import promote_own

    outcome = promote_own(root)
    for line in outcome.report().splitlines():
        log.info("%s", line)
    return outcome


def study_speedup(root: Path) -> str:
    """Measure the times of teacher and students, and write what they say with their quality: see speeding.py."""
    from ganline.speeding import study

    return study(root)


def told_study(root: Path) -> str:
    """What the last study found, and where its pages are."""
    from ganline.speeding import told

    return told(root)


@dataclass(frozen=True)
class Standing:
    """A registered bundle as a second `make run` finds it; `told` is what was last said of it."""

    name: str
    version: int
    alias: str | None
    told: str


def standing(root: Path) -> Standing | None:
    """The decided version of the workspace's bundle if nothing at all is left to do, else None. Fast, no server."""
    from ganline.integrations.mlflow_registry import JUDGED_TAG, alias_of, judgement
    from ganline.integrations.mlflow_versions import find_version
    from ganline.promoting import is_decided, standing_of

    bundle, config = root / MODEL / "model.json", load_config(root)
    if not bundle.is_file() or not dvc_repo.is_current(root, GOALS["model"]):
        return None
    version = find_version(config.register_.name, sha256_file(bundle))
    judged = judgement(read_json(root / METRICS), config.promotion.floors)
    if version is None or version.tags.get(JUDGED_TAG) != judged:
        return None
    if not is_decided(root, config, version):
        return None
    return Standing(version.name, version.version, alias_of(version), standing_of(version))
