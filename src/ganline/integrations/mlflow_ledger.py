"""The ledger of a registered model, kept with it as tags; and the lock under which one decision at a time is written.

A line is the tag `ganline.ledger.000001` …, at most 5,000 characters (the width of MLflow's column, which sqlite does
not hold itself to, but Postgres does); the seal is `ganline.seal`. What does not fit (the verdict with full names and
words, the compare page) lies in a run, whose id the line carries.

On one machine a file lock is enough. Two machines that share a server have no file in common, but the server makes a
registered model of one name only once: NAME.lock is the lock. Its tags hold a token and a beat, which its holder
renews with every write. A lock whose tags another process saw unchanged for PATIENCE seconds, by that process's own
clock, is a dead one's. It is taken over by renaming it after its token: of several that wait only one can, because
neither the old name nor the new one is free a second time.
"""

from __future__ import annotations

import json
import logging
import shlex
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ganline.errors import RegistryError
from ganline.integrations.mlflow_registry import CHALLENGER, CHAMPION, PROMOTION_TAG, TAKEN_BACK
from ganline.integrations.mlflow_store import (
    Store,
    embedded_store,
    is_embedded,
    lock,
    open_store,
    store_uri,
    translated,
)
from ganline.integrations.mlflow_versions import Version, connect, holder, versions
from ganline.registry.ledger import Ledger, Line, Model, figures, read_ledger

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

LINE_TAG, SEAL_TAG = "ganline.ledger.", "ganline.seal"
TOKEN_TAG, BEAT_TAG = "ganline.lock", "ganline.beat"
MODEL_TAG, QUESTION_TAG = "ganline.promotion", "ganline.question"
TAGS = "SELECT key, value FROM registered_model_tags WHERE name = ?"
PATIENCE, POLL, LONGEST = 60.0, 0.5, 100.0
"""Seconds: until an unchanged lock is a dead one's, between looks, and until waiting is given up.

The last is below LOCK_SECONDS: who waits for a server holds this machine's lock, and others wait behind it.
"""


def model_tags(name: str) -> dict[str, str]:
    """Tags of a registered model, from the embedded database directly where it is that; empty if there is none."""
    if is_embedded():
        database = embedded_store()
        if database is None:
            return {}
        try:
            with closing(connect(database)) as connection:
                return dict(connection.execute(TAGS, (name,)).fetchall())
        except sqlite3.Error as error:
            log.debug("reading the embedded registry directly failed (%s): asking MLflow", error)
    with translated(store_uri()):
        return tags_or_none(open_store().client, name) or {}


def tags_or_none(client: MlflowClient, name: str) -> dict[str, str] | None:
    """Tags of a registered model as the server has them now; None if there is no such model."""
    from mlflow.exceptions import MlflowException

    try:
        return dict(client.get_registered_model(name).tags)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def ledger_of(name: str) -> Ledger:
    """The ledger as it stands, checked; empty for a model that has none."""
    return from_tags(model_tags(name))


def from_tags(tags: Mapping[str, str]) -> Ledger:
    numbers = {key: key.removeprefix(LINE_TAG) for key in tags if key.startswith(LINE_TAG)}
    texts = {int(number): tags[key] for key, number in numbers.items() if number.isdecimal()}
    return read_ledger(texts, tags.get(SEAL_TAG))


def present(ledger: Ledger, known: Sequence[Version]) -> Model | None:
    """The ledger's champion, unless its version was deleted."""
    champion = ledger.champion
    return champion if champion and champion.version in [version.version for version in known] else None


def gone(ledger: Ledger, champion: Model | None) -> str:
    """That the ledger's champion was deleted, in words; empty if the present `champion` is the ledger's."""
    before = ledger.champion
    return f"the champion before (version {before.version}) was deleted" if before and champion is None else ""


def is_moved(ledger: Ledger, known: Sequence[Version]) -> bool:
    """Whether the alias is elsewhere than with the champion. Read without the lock, a decision may be between them."""
    champion = present(ledger, known)
    return holder(known, CHAMPION) != (champion and champion.version)


def ledger_and_versions(name: str) -> tuple[Ledger, list[Version]]:
    """The ledger and the versions of a model, both empty if there is none. A move by hand is looked at in the lock."""
    ledger, known = ledger_of(name), versions(name)
    if ledger.unsealed is None and ledger.champion and is_moved(ledger, known):
        with deciding(name) as (_, shelf):
            ledger, known = shelf.read()[0], versions(name)
    return ledger, known


def champion_version(ledger: Ledger, known: Sequence[Version]) -> Version | None:
    """The champion: the ledger's, or before it begins the alias's; None if there is none or it was deleted."""
    model = present(ledger, known)
    number = holder(known, CHAMPION) if ledger.champion is None else model and model.version
    return next((version for version in known if version.version == number), None)


def require_own_moves(name: str, ledger: Ledger, known: Sequence[Version]) -> None:
    """Raise RegistryError if somebody moved the alias past the ledger."""
    if ledger.champion is not None and is_moved(ledger, known):
        alias, number = holder(known, CHAMPION), ledger.champion.version
        there = "was taken away" if alias is None else f"was moved to version {alias}"
        back = f"put it back: ganline rollback {shlex.quote(name)} --to {number}"
        raise RegistryError(
            f"the alias champion of {name} {there} by hand: the ledger has version {number}",
            expected="moves by `ganline promote` and `ganline rollback`, which write down who, when and why",
            remedy=back if present(ledger, known) else f"version {number} was deleted: take the alias away in MLflow",
        )


class MlflowShelf:
    """One model's ledger and aliases in MLflow. `beat` is called before each write: it raises if the lock was lost."""

    def __init__(self, client: MlflowClient, name: str, beat: Callable[[], None]):
        self.client, self.name, self.beat = client, name, beat

    def read(self) -> tuple[Ledger, int | None]:
        """The ledger and the champion's version, as the server has them now."""
        return from_tags(tags_or_none(self.client, self.name) or {}), holder(versions(self.name), CHAMPION)

    def add(self, line: Line) -> None:
        self.beat()
        self.client.set_registered_model_tag(self.name, f"{LINE_TAG}{line.number:06d}", line.text)

    def point(self, version: int) -> None:
        self.beat()
        self.client.set_registered_model_alias(self.name, CHAMPION, str(version))
        if holder(versions(self.name), CHALLENGER) == version:
            self.client.delete_registered_model_alias(self.name, CHALLENGER)

    def tell(self, line: Line) -> None:
        """Tag the versions that a decision is about; one that was deleted since is passed over."""
        self.beat()
        known = {version.version for version in versions(self.name)}
        for version, text in page_texts(line).items():
            if version in known:
                self.client.set_model_version_tag(self.name, str(version), PROMOTION_TAG, text)

    def seal(self, text: str) -> None:
        self.beat()
        self.client.set_registered_model_tag(self.name, SEAL_TAG, text)


def page_texts(line: Line) -> dict[int, str]:
    """Version -> what its tag `ganline.promotion` says after a decision."""
    entry = line.entry
    against = f" over version {entry.before.version}" if entry.before else ""
    told = "; ".join(part for part in (figures(entry.rows), entry.reason) if part)

    def text(words: str) -> str:
        return ": ".join(part for part in (f"{words} (line {line.number})", told) if part)

    if entry.action == "rollback":
        texts = {entry.after.version: text("rollback to this version")}
        return texts | ({entry.before.version: text(TAKEN_BACK)} if entry.before else {})
    words = {"first": "first champion", "promoted": f"promoted{against}", "forced": f"forced{against}"}
    return {entry.after.version: text(words.get(entry.action, "refused"))}


@contextmanager
def deciding(name: str) -> Iterator[tuple[Store, MlflowShelf]]:
    """The store and the shelf of a model, held alone: on this machine, and on a server by all that use it."""
    with lock("promotion"), translated(store_uri()):
        store = open_store()
        if is_embedded():
            yield store, MlflowShelf(store.client, name, beat=lambda: None)
        else:
            with server_lock(store.client, f"{name}.lock") as beat:
                yield store, MlflowShelf(store.client, name, beat)


@contextmanager
def server_lock(
    client: MlflowClient,
    name: str,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Callable[[], None]]:
    """Hold the registered model `name` as a lock. Yields what renews it, or raises RegistryError if it was lost."""
    token = uuid4().hex
    dead = acquire(client, name, token, clock=clock, sleep=sleep)
    count = 0

    def beat() -> None:
        nonlocal count
        count += 1
        if (tags_or_none(client, name) or {}).get(TOKEN_TAG) != token:
            raise RegistryError(
                f"the lock {name} was taken over while this process stood still",
                remedy="run the same command again: it finishes what was begun",
            )
        client.set_registered_model_tag(name, BEAT_TAG, str(count))

    try:
        yield beat
    finally:
        if (tags_or_none(client, name) or {}).get(TOKEN_TAG) == token:
            client.delete_registered_model(name)
        if dead:
            with suppress(Exception):  # a leftover of somebody who was killed hurts nobody
                client.delete_registered_model(dead)


def acquire(
    client: MlflowClient, name: str, token: str, *, clock: Callable[[], float], sleep: Callable[[float], None]
) -> str | None:
    """Wait for the lock. Returns the name under which a dead holder's lock was put aside, if there was one."""
    from mlflow.exceptions import MlflowException

    started = since = clock()
    seen: dict[str, str] | None = None
    dead, without_token = None, 0
    while True:
        # The server says that it does not exist if it is deleted while the server looks at what is in the way.
        with suppressed(MlflowException, "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"):
            client.create_registered_model(name, tags={TOKEN_TAG: token})
            return dead
        found = tags_or_none(client, name)
        if found is None:
            continue
        owner = found.get(TOKEN_TAG)
        if owner == token:  # the answer to our own request was lost, and it was sent again
            return dead
        without_token = without_token + 1 if owner is None else 0
        if without_token > 5:  # a lock that is being deleted at this moment may lack its tags for one look
            raise RegistryError(
                f"a registered model is called {name}, and is no lock",
                expected="that name free: on a server it is the lock of the promotion",
                remedy="rename that model",
            )
        if found != seen:
            seen, since = found, clock()
        elif owner is not None and clock() - since >= PATIENCE:
            seen = None
            with suppressed(MlflowException, "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"):
                client.rename_registered_model(name, f"{name}-{owner[:12]}")
                dead = f"{name}-{owner[:12]}"
                log.warning("%s was left by a process that is gone: taken over", name)
            continue
        if clock() - started > LONGEST:
            raise RegistryError(f"{name} is held by others all the time", remedy="try again later")
        sleep(POLL)


@contextmanager
def suppressed(kind: type[Exception], *codes: str) -> Iterator[None]:
    """Pass over MLflow's errors of these codes."""
    try:
        yield
    except kind as error:
        if getattr(error, "error_code", None) not in codes:
            raise


def decision_run(store: Store, name: str, question: str, *, verdict: Any, page: str | None) -> str:
    """Id of the run that holds a decision's whole verdict and its page; the same run where the call is repeated."""
    query = f"tags.`{MODEL_TAG}` = '{name}' AND tags.`{QUESTION_TAG}` = '{question}'"
    found = store.client.search_runs([store.experiment_id], filter_string=query, max_results=1)
    if found:
        run_id = str(found[0].info.run_id)
    else:
        tags = {MODEL_TAG: name, QUESTION_TAG: question}
        run_id = str(store.client.create_run(store.experiment_id, run_name=f"promote {name}", tags=tags).info.run_id)
    text = json.dumps(verdict, indent=2, ensure_ascii=False, allow_nan=False)
    store.client.log_text(run_id, text + "\n", "verdict.json")
    if page is not None:
        store.client.log_text(run_id, page, "compare.html")
    store.client.set_terminated(run_id)
    return run_id
