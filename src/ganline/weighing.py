"""What the gate measures with: a workspace's data, the bundles of two versions, their scores, and the question."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ganline.config import PARAMS, Config, read_yaml
from ganline.errors import ConfigError, GanlineError, GateError
from ganline.files import read_json, sha256_json
from ganline.integrations.dvc_repo import locked_md5, md5_file
from ganline.integrations.mlflow_registry import bundle_name, download_bundle, hash_of
from ganline.integrations.mlflow_versions import Version
from ganline.preflight import off_the_test_split
from ganline.registry.ledger import Ledger, Line, Model, Question
from ganline.registry.promotion import Scored, Verdict, judge, judge_floors
from ganline.stages.places import METRICS, MODEL, PREPARE
from ganline.workspace import Workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """Two models that were scored for a decision, champion first: what a compare page is made of."""

    name: str
    models: tuple[Model, Model]
    folders: tuple[Path, Path]
    scores: tuple[Scored, Scored]
    verdict: Verdict


@dataclass(frozen=True)
class Instruments:
    """How models are scored, what that depends on, and who draws the compare page (HTML), if anybody does."""

    score: Callable[[Path, Config, Sequence[Path]], Sequence[Scored]]
    protocol: Callable[[Path, Config], Mapping[str, Any]]
    page: Callable[[Measured], str] | None = None


def instruments() -> Instruments:
    """The real ones."""
    from ganline import comparing, scoring

    def page(measured: Measured) -> str:
        champion, challenger = (f"{measured.name} version {model.version}" for model in measured.models)
        names = (f"{champion} (champion)", f"{challenger} (challenger)")
        return comparing.comparison(names, measured.folders, measured.scores, measured.verdict).page

    return Instruments(scoring.score, scoring.protocol, page)


@dataclass(frozen=True)
class Answer:
    """A verdict on a question, and where it comes from: measured now, or a line of the ledger."""

    verdict: Verdict
    line: Line | None = None
    measured: Measured | None = None


def ask(root: Path, config: Config, champion: Model | None, candidate: Version, tools: Instruments) -> Question:
    """What is to be decided, in hashes: equal questions have equal answers. Raises GateError off the test split."""
    if error := off_the_test_split(config):
        raise error
    bundle, rules = bundle_of(candidate), sha256_json(config.promotion.rules())[:16]
    if champion is None and metrics_tell(root, config, bundle):
        return Question(None, bundle, sha256_json({"metrics": read_json(root / METRICS)})[:16], rules)
    protocol = tools.protocol(root, config)
    images = sha256_json({key: protocol.get(key) for key in ("reference", "split")})[:16]
    asked = sha256_json(dict(protocol))[:16]
    if champion is None:
        return Question(None, bundle, asked, rules)
    return Question(champion.bundle, bundle, asked, rules, images)


def metrics_tell(root: Path, config: Config, bundle: str) -> bool:
    """Whether metrics.json holds all that floors ask of this bundle: `evaluate` wrote it, and latency is free."""
    if config.promotion.floors.latency_ms_max is not None or not (root / METRICS).is_file():
        return False
    recorded = locked_md5(root, "evaluate", METRICS)
    return own_bundle(root) == bundle and md5_file(root / METRICS) == recorded


def reuse_notes(ledger: Ledger, question: Question) -> tuple[str, ...]:
    """How worn the reference is: each decision on the same real images lets a little of them leak into the choice."""
    if question.reference is None:
        return ()
    notes = [f"decisions on these real images before this one, under this name: {ledger.decisions(question.reference)}"]
    if rejudged := ledger.rejudged(question):
        notes.append(f"decisions on this very pair under another protocol or other rules: {rejudged}")
    return tuple(notes)


def own_bundle(root: Path) -> str | None:
    """Hash of the bundle in artifacts/model, None if there is none."""
    return bundle_name(root / MODEL) if (root / MODEL / "model.json").is_file() else None


def measure(root: Path, config: Config, champion: Model | None, candidate: Version, tools: Instruments) -> Answer:
    """Score what has to be scored, and judge it."""
    new = folder_of(root, candidate.name, model_of(candidate))
    require_fit(root, new, f"version {candidate.version}")
    floors = config.promotion.floors
    if champion is None:
        if metrics_tell(root, config, bundle_of(candidate)):
            return Answer(judge_floors(read_json(root / METRICS), floors))
        (only,) = tools.score(root, config, [new])
        latency = None if floors.latency_ms_max is None else only.latency_ms
        return Answer(judge_floors(only.figures, floors, latency_ms=latency))
    old = folder_of(root, candidate.name, champion)
    require_fit(root, old, f"the champion, version {champion.version},")
    log.info("promote: scoring the champion (version %d) and version %d", champion.version, candidate.version)
    before, after = tools.score(root, config, [old, new])
    verdict = judge(before, after, config.promotion)
    models = (champion, model_of(candidate))
    return Answer(verdict, measured=Measured(candidate.name, models, (old, new), (before, after), verdict))


def whole(measured: Measured) -> dict[str, Any]:
    """All that a decision rests on, for its run."""
    champion, challenger = (
        asdict(model) | {"figures": dict(scores.figures), "latency_ms": scores.latency_ms}
        for model, scores in zip(measured.models, measured.scores, strict=True)
    )
    rows = [asdict(row) for row in measured.verdict.rows]
    return {"passed": measured.verdict.passed, "rows": rows, "champion": champion, "challenger": challenger}


def workspace_of(base: Workspace, name: str, bundle: str) -> Path:
    """The folder whose data the gate measures `name` with: the one that made the bundle, else one of that name."""
    places = [place for place in (base.root, *sorted((base.home / "ws").glob("*"))) if names_model(place, name)]
    if not places:
        raise ConfigError(
            f"no workspace here makes {name}: there is no data to measure it with",
            expected=f"register.name: {name} in the params.yaml of this checkout or of a workspace under .ganline/ws",
            remedy="`make run` it here first (PRESET=… or DATA=…), or run the gate where it was made",
        )
    prepared = [place for place in places if (place / PREPARE / "dataset.json").is_file()]
    if not prepared:
        raise GateError(f"{places[0]} holds no prepared data", remedy="run `make run` or `dvc repro` there first")
    return next((place for place in prepared if own_bundle(place) == bundle), prepared[0])


def names_model(place: Path, name: str) -> bool:
    """Whether params.yaml of a folder has this register.name; a folder without a readable one has not."""
    try:
        section = read_yaml(place / PARAMS).get("register")
    except GanlineError:
        return False
    return isinstance(section, dict) and section.get("name") == name


def folder_of(root: Path, name: str, model: Model) -> Path:
    """Where a version's checked bundle lies: the workspace's own, else fetched from the registry."""
    return root / MODEL if own_bundle(root) == model.bundle else download_bundle(f"models:/{name}/{model.version}")


def require_fit(root: Path, folder: Path, who: str) -> None:
    """Raise GateError if a bundle paints other images than those of the workspace."""
    from ganline.data.loader import Prepared
    from ganline.registry.bundle import open_bundle
    from ganline.scoring import check_fits

    check_fits(open_bundle(folder).spec, Prepared(root / PREPARE), who)


def bundle_of(version: Version) -> str:
    """The hash of a version's bundle. Raises RegistryError if ganline did not register it."""
    return hash_of(version)


def model_of(version: Version) -> Model:
    return Model(version.version, bundle_of(version))
