"""Who is champion: what `ganline promote`, `rollback` and `history` share, and what the flow does after registering.

A decision is measured without a lock (it takes a minute) and written under one. Whoever finds another champion there
than it measured against stops, and nothing is written.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ganline import preflight
from ganline.config import Config, load_config
from ganline.errors import ConfigError, RegistryError
from ganline.files import sha256_json
from ganline.home import home
from ganline.integrations.mlflow_ledger import (
    deciding,
    decision_run,
    gone,
    is_moved,
    ledger_and_versions,
    ledger_of,
    present,
    require_own_moves,
)
from ganline.integrations.mlflow_registry import CHALLENGER, CHAMPION, FLOORS_TAG, PROMOTION_TAG, alias_of, bundle_name
from ganline.integrations.mlflow_versions import Version, find_version, holder, no_such_model, resolve, versions
from ganline.registry.ledger import (
    HEAD,
    Action,
    Entry,
    Ledger,
    Line,
    Model,
    Question,
    append,
    figures,
    require_champion,
    settle,
    verdict_of,
)
from ganline.registry.promotion import Verdict, table
from ganline.stages.places import MODEL
from ganline.weighing import Answer, Instruments, ask, instruments, measure, model_of, reuse_notes, whole, workspace_of
from ganline.workspace import Workspace

ADOPTED = "it was champion before the ledger began"
SAID: dict[Action, str] = {
    "first": "the first champion",
    "promoted": "promoted",
    "refused": "refused",
    "forced": "forced",
    "rollback": "rolled back",
}


@dataclass(frozen=True)
class Outcome:
    """What came of it. `kept`: nothing was to be decided. `version` is None where no version is meant."""

    name: str
    action: Action | Literal["kept"]
    version: int | None
    alias: str | None
    told: str
    verdict: Verdict | None = None
    notes: tuple[str, ...] = ()

    @property
    def refused(self) -> bool:
        return self.action == "refused"

    def __str__(self) -> str:
        who = self.name if self.version is None else f"{self.name} version {self.version}, alias {self.alias or 'none'}"
        return f"{who}; {self.told}"

    def report(self) -> str:
        """The verdict's table, what else is to be known, and the outcome."""
        table = "" if self.verdict is None else f"{self.verdict.table()}\n"
        return "\n".join([table, *self.notes, str(self)]).lstrip("\n")


def promote(
    base: Workspace,
    name: str | None = None,
    *,
    version: int | None = None,
    force: bool = False,
    reason: str = "",
    tools: Instruments | None = None,
) -> Outcome:
    """Decide whether the challenger (or `version`) becomes champion, and write it down. `name`: by default this one's.

    Raises ConfigError if `force` has no reason or no workspace here can measure `name`; RegistryError if there is no
    such model or version, or the ledger is not whole; GateError if the champion changed meanwhile.
    """
    if force and not reason.strip():
        raise ConfigError("--force was given without a reason", remedy="say why: --reason 'TEXT'; the ledger keeps it")
    name = name or load_config(base.root).register_.name
    ledger, known = settled(name)
    require_own_moves(name, ledger, known)
    champion, alias = present(ledger, known), holder(known, CHAMPION)
    number = version if version is not None else holder(known, CHALLENGER)
    if number is None:
        told = f"no version waits for a decision; champion: {'none' if alias is None else f'version {alias}'}"
        return Outcome(name, "kept", None, None, told)
    candidate = resolve(name, str(number))
    if number == alias:
        return Outcome(name, "kept", number, CHAMPION, "it is champion already")
    root = workspace_of(base, name, model_of(candidate).bundle)
    config, tools = load_config(root), tools or instruments()
    kind, registered = preflight.read_kind(candidate), preflight.registered_of(ledger, known)
    made = preflight.of_model(config, root, kind, f"version {number}", registered)
    preflight.require(made, preflight.UNDECIDABLE)
    question = ask(root, config, champion, candidate, tools)
    line = ledger.answer(question)
    answer = Answer(verdict_of(line), line) if line else measure(root, config, champion, candidate, tools)
    return decide(name, question, answer, candidate, champion, ledger, force=force, reason=reason.strip(), tools=tools)


def promote_own(root: Path, *, tools: Instruments | None = None) -> Outcome:
    """The decision on the version that holds the workspace's artifacts/model, if it waits for one."""
    name = load_config(root).register_.name
    own = find_version(name, bundle_name(root / MODEL))
    if own is None:
        raise RegistryError(f"artifacts/model is no version of {name}", remedy="run `ganline register` first")
    require_own_moves(name, *settled(name))
    own = resolve(name, str(own.version))
    if CHALLENGER in own.aliases and CHAMPION not in own.aliases:
        return promote(Workspace(root, home(root)), name, version=own.version, tools=tools)
    told = "it is champion" if CHAMPION in own.aliases else standing_of(own)
    return Outcome(name, "kept", own.version, alias_of(own), told)


def standing_of(version: Version) -> str:
    """What was last said of a version, by the gate or by its floors."""
    return version.tags.get(PROMOTION_TAG) or version.tags.get(FLOORS_TAG) or "it was not judged yet"


def is_decided(root: Path, config: Config, own: Version, *, tools: Instruments | None = None) -> bool:
    """Whether `promote_own` would find nothing to do, under the present rules and protocol."""
    ledger, known = ledger_of(own.name), versions(own.name)
    if ledger.problems or ledger.unsealed or is_moved(ledger, known):
        return False
    if CHALLENGER not in own.aliases or CHAMPION in own.aliases:
        return True
    line = ledger.answer(ask(root, config, present(ledger, known), own, tools or instruments()))
    return line is not None and not verdict_of(line).passed


def settled(name: str) -> tuple[Ledger, list[Version]]:
    """The ledger with nothing half done, and the versions; a champion from before it becomes its first line."""
    ledger, known = ledger_of(name), versions(name)
    if not known:
        raise no_such_model(name)
    ledger.require_whole()
    if ledger.unsealed is None and not is_moved(ledger, known):
        return ledger, known
    with deciding(name) as (_, shelf):
        ledger, alias = settle(shelf)
        if ledger.champion is None and alias is not None:
            adopted = model_of(resolve(name, str(alias)))
            append(shelf, ledger, Entry("first", None, adopted, now(), user(), ADOPTED))
        return shelf.read()[0], versions(name)


def decide(
    name: str,
    question: Question,
    answer: Answer,
    candidate: Version,
    champion: Model | None,
    before: Ledger,
    *,
    force: bool,
    reason: str,
    tools: Instruments,
) -> Outcome:
    """Write the decision under the lock, unless the ledger has it already. `before` is the ledger at the beginning."""
    verdict, line, number = answer.verdict, answer.line, candidate.version
    action: Action = "refused"
    if verdict.passed:
        action = "promoted" if champion else "first"
    elif force:
        action = "forced"
    notes = reuse_notes(before, question)
    if line is not None:
        notes = (f"measured before under the same protocol and rules (line {line.number}): not measured again",)
        if action == "refused":
            told = f"{SAID[action]}: {'; '.join(verdict.refused)}"
            return Outcome(name, action, number, alias_of(candidate), told, verdict, notes)
    page = tools.page(answer.measured) if answer.measured and tools.page else None  # seconds: not in the lock
    with deciding(name) as (store, shelf):
        ledger, alias = settle(shelf)
        met = ledger.answer(question)
        if met is not None and met.number > len(before.lines) and action != "forced":  # another process was faster
            return outcome_of(name, met, notes)
        require_champion(present(ledger, versions(name)), alias, champion)
        run = line.entry.run if line else None
        if answer.measured is not None:
            run = decision_run(store, name, sha256_json(asdict(question)), verdict=whole(answer.measured), page=page)
        told = reason or ("; ".join(verdict.refused) if action == "refused" else "")
        measured = line and f"as measured for line {line.number}"
        told = "; ".join(part for part in (told, measured, gone(ledger, champion)) if part)
        entry = Entry(
            action=action,
            before=champion,
            after=model_of(candidate),
            time=now(),
            by=user(),
            reason=told,
            protocol=question.protocol,
            rules=question.rules,
            reference=question.reference if answer.measured else None,
            rows=verdict.rows,
            run=run,
        )
        append(shelf, ledger, entry)
    words = {"refused": "; ".join(verdict.refused), "forced": reason}.get(action, figures(verdict.rows))
    told = f"{SAID[action]}: {words}" if words else SAID[action]
    return Outcome(name, action, number, alias_of(resolve(name, str(number))), told, verdict, notes)


def outcome_of(name: str, line: Line, notes: tuple[str, ...] = ()) -> Outcome:
    """What a line of the ledger says, as the outcome of a command."""
    entry, version = line.entry, resolve(name, str(line.entry.after.version))
    told = "; ".join(part for part in (figures(entry.rows), entry.reason) if part)
    words = ": ".join(part for part in (f"{SAID[entry.action]} (line {line.number})", told) if part)
    verdict = verdict_of(line) if entry.rows else None
    return Outcome(name, entry.action, version.version, alias_of(version), words, verdict, notes)


def rollback(name: str, *, to: int | None = None, reason: str = "") -> Outcome:
    """Bring back the champion before the present one, or the earlier champion `to`.

    Raises RegistryError if there is no earlier champion, or `to` is none; it names those there are.
    """
    if not versions(name):
        raise no_such_model(name)
    settled_or_adopted(name)
    with deciding(name) as (_, shelf):
        ledger, alias = shelf.read()
        begun = ledger.unsealed
        ledger, alias = settle(shelf)
        if begun is not None and begun.entry.action == "rollback" and to in (None, begun.entry.after.version):
            return outcome_of(name, begun)
        target = earlier_champion(name, ledger, alias, to)
        known = versions(name)
        moved = f"the alias had been moved by hand to version {alias}" if is_moved(ledger, known) else ""
        told = "; ".join(part for part in (reason.strip(), moved, gone(ledger, present(ledger, known))) if part)
        line = append(shelf, ledger, Entry("rollback", ledger.champion, target, now(), user(), told))
    return outcome_of(name, line)


def settled_or_adopted(name: str) -> None:
    """Write down a champion from before the ledger; a decision that was cut short is left to the caller."""
    if ledger_of(name).unsealed is None:
        settled(name)


def earlier_champion(name: str, ledger: Ledger, alias: int | None, to: int | None) -> Model:
    """Whom a rollback brings back."""
    there = {version.version: version.tags.get("ganline.bundle") for version in versions(name)}
    holding = ledger.champion if ledger.champion and ledger.champion.version == alias else None
    earlier = [model for model in ledger.champions() if model != holding and there.get(model.version) == model.bundle]
    reigns = [model for model in ledger.reigns()[:-1] if model in earlier]
    wanted = [model for model in earlier if model.version == to] if to is not None else reigns[-1:]
    if wanted:
        return wanted[-1]
    known = ", ".join(f"version {model.version}" for model in earlier) or "(there is none)"
    raise RegistryError(
        f"nobody was champion of {name} before the present one"
        if to is None
        else f"version {to} was never its champion",
        expected=f"an earlier champion: {known}",
        remedy=("name one with --to; " if earlier else "")
        + "any other version goes through `ganline promote --version N`",
    )


@dataclass(frozen=True)
class History:
    """A model's ledger, and who has the alias now."""

    name: str
    ledger: Ledger
    known: Sequence[Version]

    @property
    def alias(self) -> int | None:
        return holder(self.known, CHAMPION)

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the ledger, or with the alias by the ledger."""
        if self.ledger.unsealed is None and self.ledger.champion and is_moved(self.ledger, self.known):
            there = "nobody" if self.alias is None else f"version {self.alias}"
            return (*self.ledger.problems, f"the alias champion is with {there}: it was moved by hand")
        return self.ledger.problems

    def plain(self) -> dict[str, Any]:
        """For `--json`."""
        lines = [line.plain() for line in self.ledger.lines]
        return {"name": self.name, "champion": self.alias, "problems": list(self.problems), "lines": lines}

    def __str__(self) -> str:
        lines = [HEAD, *(line.cells() for line in self.ledger.lines)]
        champion = "no champion" if self.alias is None else f"champion: version {self.alias}"
        state = [f"NOT WHOLE: {problem}" for problem in self.problems] or ["the chain of lines is whole"]
        if deleted := gone(self.ledger, present(self.ledger, self.known)):
            state.append(deleted)
        if self.ledger.unsealed is not None and not self.ledger.problems:
            state.append("the last line was cut short: the next promote or rollback finishes it")
        text = table(lines) if self.ledger.lines else "no decision yet"
        return "\n".join([text, "", f"{self.name}: {champion}", *state])


def history(name: str) -> History:
    """Everything that was decided about a model. Raises RegistryError if there is no such model."""
    ledger, known = ledger_and_versions(name)
    if not known:
        raise no_such_model(name)
    return History(name, ledger, known)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def user() -> str:
    """Who asks: the user's name, never the host's."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid {os.getuid()}"
