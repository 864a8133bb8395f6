"""The ledger in MLflow: tags that come back as they were, and a lock on a server that survives its holder."""

from __future__ import annotations

import threading

import pytest
from mlflow.exceptions import MlflowException

from ganline.errors import RegistryError
from ganline.integrations import mlflow_ledger, mlflow_store
from ganline.integrations.mlflow_ledger import (
    BEAT_TAG,
    LINE_TAG,
    PATIENCE,
    TOKEN_TAG,
    deciding,
    decision_run,
    ledger_of,
    model_tags,
    server_lock,
)
from ganline.integrations.mlflow_versions import holder, versions
from ganline.registry.ledger import Entry, Model, append, settle

pytestmark = pytest.mark.usefixtures("embedded")

A, B = Model(1, "1" * 64), Model(2, "2" * 64)
WHEN = {"time": "2026-11-25T12:00:00+00:00", "by": "ann"}


@pytest.fixture
def client():
    return mlflow_store.open_store().client


def with_versions(client, name: str) -> None:
    """A model of two versions, the second challenger."""
    client.create_registered_model(name)
    for model in (A, B):
        client.create_model_version(name, source="file:///nowhere", tags={"ganline.bundle": model.bundle})
    client.set_registered_model_alias(name, "challenger", "2")


def test_decisions_are_kept_with_the_model_and_move_its_aliases(client) -> None:
    with_versions(client, "kept")
    with deciding("kept") as (_, shelf):
        append(shelf, settle(shelf)[0], Entry("first", None, A, **WHEN))
        append(shelf, settle(shelf)[0], Entry("promoted", A, B, reason="better", **WHEN))
    ledger = ledger_of("kept")
    assert [line.entry.action for line in ledger.lines] == ["first", "promoted"]
    assert ledger.problems == () and ledger.unsealed is None
    assert [version.aliases for version in versions("kept")] == [(), ("champion",)]
    assert versions("kept")[1].tags["ganline.promotion"] == "promoted over version 1 (line 2): better"
    assert f"{LINE_TAG}000002" in client.get_registered_model("kept").tags


def test_what_is_read_directly_is_what_mlflow_says(client, monkeypatch) -> None:
    with_versions(client, "direct")
    with deciding("direct") as (_, shelf):
        append(shelf, settle(shelf)[0], Entry("first", None, A, **WHEN))
    directly = model_tags("direct")
    assert directly and model_tags("nobody") == {}
    monkeypatch.setattr(mlflow_ledger, "TAGS", "SELECT no_such_column FROM registered_model_tags WHERE name = ?")
    assert model_tags("direct") == directly
    assert model_tags("nobody") == {}


def test_a_refusal_leaves_the_challenger_and_a_rollback_marks_both(client) -> None:
    with_versions(client, "marks")
    with deciding("marks") as (_, shelf):
        append(shelf, settle(shelf)[0], Entry("first", None, A, **WHEN))
        append(shelf, settle(shelf)[0], Entry("refused", A, B, reason="worse", **WHEN))
        assert holder(versions("marks"), "challenger") == 2
        assert versions("marks")[1].tags["ganline.promotion"] == "refused (line 2): worse"
        append(shelf, settle(shelf)[0], Entry("forced", A, B, reason="I want it", **WHEN))
        append(shelf, settle(shelf)[0], Entry("rollback", B, A, reason="ugly", **WHEN))
    first, second = versions("marks")
    assert (first.aliases, second.aliases) == (("champion",), ())
    assert first.tags["ganline.promotion"] == "rollback to this version (line 4): ugly"
    assert second.tags["ganline.promotion"] == "taken back by a rollback (line 4): ugly"


def test_a_decision_has_one_run_however_often_it_is_begun(client) -> None:
    store = mlflow_store.open_store()
    first = decision_run(store, "runs", "q1", verdict={"passed": True}, page="<p>compare</p>")
    assert decision_run(store, "runs", "q1", verdict={"passed": True}, page=None) == first
    assert decision_run(store, "runs", "q2", verdict={"passed": True}, page=None) != first
    assert sorted(item.path for item in client.list_artifacts(first)) == ["compare.html", "verdict.json"]
    assert client.get_run(first).data.tags["ganline.promotion"] == "runs"
    assert client.get_run(first).info.status == "FINISHED"


class Clock:
    """Time that passes by sleeping; `meanwhile` happens during a sleep."""

    def __init__(self, meanwhile=lambda now: None) -> None:
        self.now, self.meanwhile = 0.0, meanwhile

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.meanwhile(self.now)


def names(client) -> set[str]:
    return {model.name for model in client.search_registered_models() if ".lock" in model.name}


def test_the_lock_is_gone_after_the_block_also_when_it_fails(client) -> None:
    with server_lock(client, "a.lock") as beat:
        assert names(client) == {"a.lock"}
        beat()
        assert client.get_registered_model("a.lock").tags[BEAT_TAG] == "1"
    assert names(client) == set()
    with pytest.raises(ValueError), server_lock(client, "a.lock"):
        raise ValueError
    assert names(client) == set()


def test_a_lock_that_is_held_is_waited_for(client) -> None:
    order = []

    def release(now: float) -> None:
        if now >= 3.0 and names(client):
            order.append("released")
            client.delete_registered_model("b.lock")

    client.create_registered_model("b.lock", tags={TOKEN_TAG: "other"})
    clock = Clock(release)
    with server_lock(client, "b.lock", clock=clock, sleep=clock.sleep):
        order.append("held")
    assert order == ["released", "held"]
    assert clock.now < 6.0


def test_a_dead_holder_s_lock_is_taken_over_after_it_was_seen_unchanged_for_long(client) -> None:
    client.create_registered_model("c.lock", tags={TOKEN_TAG: "deadbeefdeadbeef"})
    clock = Clock()
    with server_lock(client, "c.lock", clock=clock, sleep=clock.sleep):
        assert PATIENCE <= clock.now <= PATIENCE + 4.0
        assert names(client) == {"c.lock", "c.lock-deadbeefdead"}
    assert names(client) == set()


def test_a_holder_that_is_slow_but_alive_is_not_robbed(client) -> None:
    client.create_registered_model("d.lock", tags={TOKEN_TAG: "slow"})

    def beat(now: float) -> None:
        if now <= 30.0 and now % 10.0 == 0.0:
            client.set_registered_model_tag("d.lock", BEAT_TAG, str(now))

    clock = Clock(beat)
    with server_lock(client, "d.lock", clock=clock, sleep=clock.sleep):
        assert clock.now >= 30.0 + PATIENCE


def test_of_two_that_find_a_dead_lock_one_takes_it_and_the_other_waits(client) -> None:
    """The second takes its last look, then the first takes over and works: the second must not rename the first's."""
    client.create_registered_model("e.lock", tags={TOKEN_TAG: "deadbeefdeadbeef"})
    genuine, robbed = type(client).rename_registered_model, []

    class Second:
        """A client whose renaming comes late."""

        def __getattr__(self, name):
            return getattr(client, name)

        def rename_registered_model(self, name, new_name):
            if not robbed:
                genuine(client, name, new_name)
                client.create_registered_model("e.lock", tags={TOKEN_TAG: "first"})
                robbed.append(True)
            return genuine(client, name, new_name)

    def release(now: float) -> None:
        if robbed and now >= PATIENCE + 10.0 and client.get_registered_model("e.lock").tags[TOKEN_TAG] == "first":
            client.delete_registered_model("e.lock")
            robbed.append(now)

    clock = Clock(release)
    with server_lock(Second(), "e.lock", clock=clock, sleep=clock.sleep):
        assert len(robbed) == 2, "the first one's lock was taken from it"
    client.delete_registered_model("e.lock-deadbeefdead")


def test_who_lost_the_lock_writes_nothing_more_and_does_not_free_the_other_s(client) -> None:
    with pytest.raises(RegistryError, match="taken over"), server_lock(client, "f.lock") as beat:
        client.delete_registered_model("f.lock")
        client.create_registered_model("f.lock", tags={TOKEN_TAG: "other"})
        beat()
    assert client.get_registered_model("f.lock").tags == {TOKEN_TAG: "other"}
    client.delete_registered_model("f.lock")


def test_a_model_of_the_lock_s_name_is_never_touched(client) -> None:
    client.create_registered_model("g.lock", tags={"theirs": "yes"})
    clock = Clock()
    with (
        pytest.raises(RegistryError, match="is no lock"),
        server_lock(client, "g.lock", clock=clock, sleep=clock.sleep),
    ):
        raise AssertionError
    assert client.get_registered_model("g.lock").tags == {"theirs": "yes"}
    client.delete_registered_model("g.lock")


def test_a_lock_whose_making_was_sent_twice_is_ours(client, monkeypatch) -> None:
    genuine = type(client).create_registered_model

    def twice(self, name, **options):
        genuine(self, name, **options)
        return genuine(self, name, **options)

    monkeypatch.setattr(type(client), "create_registered_model", twice)
    clock = Clock()
    with server_lock(client, "h.lock", clock=clock, sleep=clock.sleep):
        assert clock.now == 0.0
    assert names(client) == set()


def test_who_waits_for_a_server_gives_up_before_those_behind_it_on_this_machine() -> None:
    assert PATIENCE < mlflow_ledger.LONGEST < mlflow_store.LOCK_SECONDS


def test_a_lock_that_another_process_holds_too_long_is_told_with_what_to_do(monkeypatch) -> None:
    monkeypatch.setattr(mlflow_store, "LOCK_SECONDS", 0.1)
    with (
        mlflow_store.lock("held"),
        pytest.raises(RegistryError, match=r"has held .*held\.lock") as error,
        mlflow_store.lock("held"),
    ):
        raise AssertionError
    assert "wait" in str(error.value)
    with mlflow_store.lock("held"):
        pass


def test_waiting_ends_with_a_message_where_others_hold_it_all_the_time(client, monkeypatch) -> None:
    monkeypatch.setattr(mlflow_ledger, "LONGEST", 20.0)
    client.create_registered_model("i.lock", tags={TOKEN_TAG: "busy"})
    clock = Clock(lambda now: client.set_registered_model_tag("i.lock", BEAT_TAG, str(now)))
    with (
        pytest.raises(RegistryError, match="held by others"),
        server_lock(client, "i.lock", clock=clock, sleep=clock.sleep),
    ):
        raise AssertionError
    client.delete_registered_model("i.lock")


def test_only_one_of_many_threads_is_in_the_lock_at_a_time(client) -> None:
    inside, most, done = [0], [0], []

    def work() -> None:
        with server_lock(client, "j.lock", sleep=lambda _: None):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            inside[0] -= 1
            done.append(True)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (most[0], len(done)) == (1, 4)


def test_other_errors_of_the_server_are_not_taken_for_a_held_lock(client, monkeypatch) -> None:
    def broken(self, name, **options):
        raise MlflowException("out of order")

    monkeypatch.setattr(type(client), "create_registered_model", broken)
    with pytest.raises(MlflowException, match="out of order"), server_lock(client, "k.lock"):
        raise AssertionError
