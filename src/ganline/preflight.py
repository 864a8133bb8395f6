"""What register, promote or the gate would refuse, asked before anything is trained.

A check is a plain function of Facts: it returns the error that a later step would raise, or None. What is not known yet
(None in Facts) is not judged; the same checks run again when it is known. `ganline run` and the flow ask before fetch
and after prepare, `register` and `promote` ask the same functions last, so that the first and the last step agree.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ganline.config import PARAMS, Config
from ganline.environment import asked_ranks, check_share
from ganline.errors import ConfigError, GanlineError, GateError, RegistryError
from ganline.evaluation.config import LEAST_IN_CELL, NEIGHBOURS
from ganline.files import read_json
from ganline.integrations.mlflow_ledger import champion_version, ledger_and_versions, require_own_moves
from ganline.integrations.mlflow_registry import model_json
from ganline.integrations.mlflow_versions import Version
from ganline.registry.kind import EXPECTED, Kind, differences, kind_of_data, kind_of_model
from ganline.registry.ledger import Ledger
from ganline.stages.places import PREPARE
from ganline.where_set import checkout_of, preset_file


@dataclass(frozen=True)
class Registered:
    """What the registry holds under register.name. `unreadable` says why the champion's bundle could not be read."""

    ledger: Ledger = field(default_factory=Ledger)
    known: Sequence[Version] = ()
    champion: int | None = None
    champion_kind: Kind | None = None
    unreadable: GanlineError | None = None


@dataclass(frozen=True)
class Facts:
    """What is known at some moment of a run; None where it is not known yet."""

    config: Config
    root: Path
    """The workspace: what its params.yaml names by a relative path lies here."""
    kind: Kind
    """What the run makes, or made."""
    who: str = "this run"
    registered: Registered = field(default_factory=Registered)
    counts: dict[str, int] | None = None
    """Images of each split."""
    empty_classes: int | None = None
    """Classes without a training image."""

    @property
    def name(self) -> str:
        return self.config.register_.name

    @property
    def classifies(self) -> bool | None:
        """Whether the first extractor tells classes apart."""
        task, labels = self.config.extractor.task, self.kind.labels
        if task != "auto":
            return task != "rotation"
        return None if labels is None else len(labels) > 1

    @property
    def asks_classes(self) -> bool | None:
        """Whether generated images carry the class that was asked for."""
        if not self.config.train.model.class_conditional:
            return False
        return None if self.kind.labels is None else bool(self.kind.labels)

    @property
    def max_n(self) -> int:
        """Images of the reference: at most what the configuration says, exactly that where splits are counted."""
        section = self.config.reference
        if self.counts is None:
            return section.n
        return min(section.n, self.counts[section.split], self.counts["train"])


Check = Callable[[Facts], GanlineError | None]


def is_decided_on_test_images(facts: Facts) -> GanlineError | None:
    return off_the_test_split(facts.config)


def off_the_test_split(config: Config) -> GanlineError | None:
    """The error of a decision on images that tuning reads, None if there is none."""
    if config.reference.split == "test":
        return None
    return GateError(
        f"reference.split is {config.reference.split}: tuning reads those images",
        expected="a champion that is decided on images which tuning never read",
        remedy="set reference.split: test, and run again; to measure on validation images without registering: "
        "`ganline fetch`, then `dvc repro report`",
    )


def is_of_the_champions_kind(facts: Facts) -> GanlineError | None:
    champion = facts.registered.champion_kind
    if champion is None or not (found := differences(facts.kind, champion)):
        return None
    return GateError(
        f"{facts.who} makes {facts.kind};\n  the champion, {facts.name} version {facts.registered.champion}, makes "
        f"{champion}\n  different: {'; '.join(found)}",
        expected=f"{EXPECTED} (--force promotes a model that measures worse, never one of another kind)",
        remedy=name_of_its_own(facts, champion),
    )


def name_of_its_own(facts: Facts, champion: Kind) -> str:
    """How a model of another kind gets a registered name of its own, in the words of what started the run."""
    config, side = facts.config, facts.kind.resolution
    name = f"{facts.name}-{2 if side == champion.resolution else side}"
    path, preset = getattr(config.data.source, "path", None), preset_file(facts.root, checkout_of(facts.root))
    if preset and preset.stem == "folder" and path is not None:
        short = name.removeprefix("ganline-")
        return f"give it a name of its own: make run DATA={shlex.quote(str(path))} RES={side} NAME={short}"
    file = f"presets/{preset.name}" if preset else PARAMS
    return f"give it a name of its own, such as register.name: {name}, in {file}"


def champion_can_be_read(facts: Facts) -> GanlineError | None:
    return facts.registered.unreadable


def ledger_is_whole(facts: Facts) -> GanlineError | None:
    return caught(facts.registered.ledger.require_whole)


def alias_is_where_the_ledger_says(facts: Facts) -> GanlineError | None:
    if facts.registered.ledger.problems or facts.registered.ledger.unsealed:
        return None  # the one is told already, the other is finished by the next decision
    return caught(lambda: require_own_moves(facts.name, facts.registered.ledger, facts.registered.known))


def gate_has_enough_images(facts: Facts) -> GanlineError | None:
    return too_many(facts, "promotion.n", facts.config.promotion.n)


def ranks_can_share_each_batch(facts: Facts) -> GanlineError | None:
    return caught(lambda: check_share(facts.config.train.batch, asked_ranks(), "train.batch"))


def evaluation_has_enough_images(facts: Facts) -> GanlineError | None:
    return too_many(facts, "evaluate.n", facts.config.evaluate.n)


def too_many(facts: Facts, key: str, n: int | None) -> GanlineError | None:
    """The error of more images a seed than the reference has, or can have."""
    if n is None or n <= facts.max_n:
        return None
    where = f"reference.n is {facts.config.reference.n}"
    if facts.counts is not None:
        where += f", the {facts.config.reference.split} split has {facts.counts[facts.config.reference.split]}"
        where += f" and the train split {facts.counts['train']} images"
    return GateError(
        f"{key} is {n}, but the reference holds {facts.max_n} images at most: {where}",
        expected="as many as the reference, or fewer: a distance has equal N on both sides",
        remedy=f"lower {key} or set it to null, or raise reference.n where the splits have more images",
    )


def reference_has_neighbours(facts: Facts) -> GanlineError | None:
    if facts.counts is None or facts.max_n > NEIGHBOURS:
        return None
    return GateError(
        f"the reference would hold {facts.max_n} images of the {facts.config.reference.split} split",
        expected=f"at least {NEIGHBOURS + 1}: recall and coverage look at {NEIGHBOURS} neighbours of each",
        remedy="add images, or raise manifest.test_share",
    )


def modes_can_be_counted(facts: Facts) -> GanlineError | None:
    modes_n = facts.config.evaluate.modes_n
    if modes_n is None:
        return None
    if facts.classifies is False:
        return GateError(
            f"evaluate.modes_n is {modes_n}, but the extractor tells no classes apart",
            expected="extractor.task: classifier or channels, and images with labels",
            remedy="set it, or evaluate.modes_n: null",
        )
    if facts.empty_classes:
        return GateError(
            f"{facts.empty_classes} classes have no training image, and evaluate.modes_n asks to count modes",
            expected="every class among the training labels",
            remedy="add images, or set evaluate.modes_n: null",
        )
    return None


def published_weights_are_there(facts: Facts) -> GanlineError | None:
    paths = [facts.root / Path(each.weights).expanduser() for each in facts.config.reference.pretrained]
    missing = [str(path) for path in paths if not path.is_file()]
    if not missing:
        return None
    return ConfigError(
        f"reference.pretrained names files that do not exist: {', '.join(missing)}",
        expected="the published weights on this machine: nothing is downloaded",
        remedy="correct the paths, or take the networks out of reference.pretrained",
    )


def thresholds_can_be_met(facts: Facts) -> GanlineError | None:
    """The gate fails a rule that params.yaml sets and whose figure is missing: some figures can never be there."""
    reasons = [f"promotion.{rule}: {reason}" for rule, reason in impossible_rules(facts)]
    if not reasons:
        return None
    return GateError(
        "the gate could never pass what this run makes:" + "".join(f"\n    {reason}" for reason in reasons),
        expected="rules whose figures this data and this configuration have",
        remedy="set these rules to null, or change what they need",
    )


def impossible_rules(facts: Facts) -> list[tuple[str, str]]:
    """(rule, why no model of this run can keep it). Rules left at their default do not apply without their figure."""
    config, floors, guards = facts.config, facts.config.promotion.floors, facts.config.promotion.guards
    n = min(each for each in (facts.max_n, config.evaluate.n, config.promotion.n) if each is not None)
    modes_n = config.evaluate.modes_n
    no_classes = "the extractor tells no classes apart" if facts.classifies is False else ""
    no_labels = "generated images carry no class that was asked for" if facts.asks_classes is False else ""
    no_modes = "evaluate.modes_n is null: modes are not counted" if modes_n is None else no_classes
    compared = min(n, config.evaluate.memorisation_n)
    no_cells = f"C_T needs {LEAST_IN_CELL} images, {compared} are compared" if compared < LEAST_IN_CELL else ""
    lacking = {
        "class_coverage_min": no_classes,
        "label_accuracy_min": no_classes or no_labels,
        "modes_min": no_modes,
        "c_t_min": no_cells,
    }
    found = [
        (f"floors.{rule}", reason)
        for rule, reason in lacking.items()
        if reason and rule in floors.model_fields_set and getattr(floors, rule) is not None
    ]
    rule = "class_coverage_drop_max"
    is_asked = rule in guards.model_fields_set and guards.class_coverage_drop_max is not None
    if no_classes and is_asked and facts.registered.champion is not None:
        found.append((f"guards.{rule}", no_classes))
    if facts.kind.labels is not None and facts.classifies and len(facts.kind.labels) > 1:
        classes = len(facts.kind.labels)
        least = floors.class_coverage_min
        if least is not None and n < least * classes:
            found.append(("floors.class_coverage_min", f"{n} images a seed cannot show {least:g} of {classes} classes"))
        most = min(modes_n or 0, classes)
        if modes_n is not None and floors.modes_min is not None and floors.modes_min > most:
            found.append(("floors.modes_min", f"{modes_n} images of {classes} classes have {most} modes at most"))
    return found


UNDECIDABLE: tuple[Check, ...] = (
    ledger_is_whole,
    alias_is_where_the_ledger_says,
    champion_can_be_read,
    is_of_the_champions_kind,
    is_decided_on_test_images,
    gate_has_enough_images,
)
"""A version that one of these stops can never become champion, not even with --force: register and promote ask them."""

CHECKS: tuple[Check, ...] = (
    *UNDECIDABLE,
    ranks_can_share_each_batch,
    evaluation_has_enough_images,
    reference_has_neighbours,
    modes_can_be_counted,
    thresholds_can_be_met,
    published_weights_are_there,
)
"""All that a run asks before it trains."""


def problems(facts: Facts, checks: Sequence[Check] = CHECKS) -> list[GanlineError]:
    """Everything that would be refused later, as far as it is known now."""
    return [error for check in checks if (error := check(facts)) is not None]


def require(facts: Facts, checks: Sequence[Check] = CHECKS) -> None:
    """Raise what would be refused later: the error itself, or one GateError that tells all of several."""
    found = problems(facts, checks)
    if len(found) == 1:
        raise found[0]
    if found:
        listed = "".join(f"\n- {error}" for error in found).replace("\n", "\n  ")
        raise GateError(f"{len(found)} things would be refused in the end:{listed}", remedy="correct all of them first")


def before_fetch(config: Config, root: Path) -> Facts:
    """What the configuration, the source and the registry tell before anything is fetched. Lists a folder source."""
    registered = read_registered(config.register_.name)
    labels: tuple[str, ...] | None = config.data.source.class_names()
    champion = registered.champion_kind
    open_ended = config.data.source.label_names is None and config.validate_.quarantine > 0
    if open_ended and champion and champion.labels and labels and set(champion.labels) <= set(labels):
        labels = None  # a class whose images are all set aside is none
    image = config.prepare
    kind = Kind(config.data.source.name, image.resolution, image.channels, labels)
    return Facts(config, root, kind, registered=registered)


def after_prepare(config: Config, root: Path) -> Facts:
    """What the prepared data tell, too: the classes and the images of each split."""
    meta = read_json(root / PREPARE / "dataset.json")
    kind = kind_of_data(meta)
    present = np.unique(np.load(root / PREPARE / "train_labels.npy"))
    empty = len(kind.labels or ()) - int((present >= 0).sum())
    registered = read_registered(config.register_.name)
    return Facts(config, root, kind, registered=registered, counts=meta["counts"], empty_classes=empty)


def of_model(config: Config, root: Path, kind: Kind, who: str, registered: Registered) -> Facts:
    """What is known of a model that is made already: `kind`, from its model.json. `root` holds the gate's data."""
    path = root / PREPARE / "dataset.json"
    counts = read_json(path).get("counts") if path.is_file() else None
    return Facts(config, root, kind, who, registered, counts=counts)


def read_registered(name: str) -> Registered:
    """What the registry holds under a name. Raises RegistryError if it cannot be asked."""
    return registered_of(*ledger_and_versions(name))


def registered_of(ledger: Ledger, known: Sequence[Version]) -> Registered:
    """The same from a ledger and versions that were read already."""
    champion = champion_version(ledger, known)
    if champion is None:
        return Registered(ledger, known)
    try:
        kind = read_kind(champion)
    except GanlineError as error:
        return Registered(ledger, known, champion.version, unreadable=error)
    return Registered(ledger, known, champion.version, kind)


def read_kind(version: Version) -> Kind:
    """What kind of images a version makes. Raises RegistryError if its model.json cannot be had or is none."""
    try:
        return kind_of_model(model_json(version))
    except (KeyError, TypeError) as error:
        raise RegistryError(
            f"version {version.version} of {version.name} has no model.json of ours: {error}",
            remedy="name a version that `ganline register` made",
        ) from error


def caught(function: Callable[[], object]) -> GanlineError | None:
    """What a function raises for users, as a value."""
    try:
        function()
    except GanlineError as error:
        return error
    return None
