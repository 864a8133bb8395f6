"""The ledger: nothing is changed unseen, and a kill at any step is finished by whoever comes next."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ganline.errors import GateError, RegistryError
from ganline.registry.ledger import (
    MAX_LINE,
    NO_LINE,
    Entry,
    Ledger,
    Line,
    Model,
    Question,
    append,
    figures,
    read_ledger,
    read_line,
    require_champion,
    settle,
    write_line,
)
from ganline.registry.promotion import DROPS, FLOORS, NOT_WORSE, Row

A, B, C = (Model(number, str(number) * 64) for number in (1, 2, 3))
ROW = Row("min_improvement", "fd_x_n512", 1.25, 1.125, "surely lower", True, -0.125, -0.2, -0.05, "words")
WHEN = {"time": "2026-11-25T12:00:00+00:00", "by": "ann"}


class Killed(BaseException):
    pass


class FakeShelf:
    """A registry in memory. The write number `dies_at` happens (or not, with `before`), and the process is gone."""

    def __init__(self) -> None:
        self.texts: dict[int, str] = {}
        self.sealed: str | None = None
        self.alias: int | None = None
        self.told: list[int] = []
        self.writes: list[str] = []
        self.dies_at: int | None = None
        self.before = False

    def write(self, name: str, effect) -> None:
        self.writes.append(name)
        dies = len(self.writes) == self.dies_at
        if dies and self.before:
            raise Killed
        effect()
        if dies:
            raise Killed

    def read(self) -> tuple[Ledger, int | None]:
        return read_ledger(self.texts, self.sealed), self.alias

    def add(self, line: Line) -> None:
        self.write("add", lambda: self.texts.__setitem__(line.number, line.text))

    def point(self, version: int) -> None:
        self.write("point", lambda: setattr(self, "alias", version))

    def tell(self, line: Line) -> None:
        self.write("tell", lambda: self.told.append(line.number))

    def seal(self, text: str) -> None:
        self.write("seal", lambda: setattr(self, "sealed", text))


def entry(action: str, before: Model | None, after: Model, **more) -> Entry:
    return Entry(action, before, after, **(WHEN | more))


def with_lines(*entries: Entry) -> FakeShelf:
    shelf = FakeShelf()
    for each in entries:
        append(shelf, shelf.read()[0], each)
    shelf.writes.clear()
    return shelf


HISTORY = (entry("first", None, A), entry("refused", A, B), entry("promoted", A, B), entry("forced", B, C))


def test_lines_are_numbered_chained_and_sealed() -> None:
    shelf = with_lines(*HISTORY)
    ledger, alias = shelf.read()
    assert [line.number for line in ledger.lines] == [1, 2, 3, 4]
    assert [line.previous for line in ledger.lines] == [NO_LINE, *(line.hash for line in ledger.lines[:-1])]
    assert ledger.problems == ()
    assert ledger.seal == ledger.lines[-1].seal and ledger.unsealed is None
    assert ledger.champion == C and alias == 3
    assert [line.entry for line in ledger.lines] == list(HISTORY)


def test_a_line_comes_back_as_it_was_written() -> None:
    told = entry(
        "promoted", A, B, reason="schöner – 'quoted'", protocol="p", rules="r", reference="i", run="x", rows=(ROW,)
    )
    line = write_line(told, number=7, previous="ab")
    again = read_line(line.text)
    assert again == line
    assert again.entry.rows[0].cells() == ROW.cells()
    assert replace(again.entry, rows=()) == replace(told, rows=())
    assert json.loads(line.text).keys() == {
        *("number", "time", "action", "from", "to", "protocol", "rules", "reference", "run", "by", "reason"),
        *("verdict", "previous", "format"),
    }


def test_the_longest_line_fits_into_mlflow_s_column() -> None:
    rules = ["min_improvement", *NOT_WORSE, *(f"floors.{name}" for name in FLOORS)]
    rules += [*(f"guards.{name}" for name in DROPS), "guards.latency_ratio_max"]
    number = -1.2345678e-101
    words = "surely 0.123 of the champion's lower"
    rows = tuple(
        Row(rule, "m" * 200, number, number, words, False, number, number, number, "w" * 999) for rule in rules
    )
    told = entry(
        "promoted", A, B, reason="x" * 9999, protocol="p" * 16, rules="r" * 16, reference="i" * 16, run="u" * 32
    )
    line = write_line(replace(told, rows=rows, by="n" * 999), number=999_999, previous="f" * 64)
    assert len(line.text) <= MAX_LINE
    assert line.entry.reason.endswith(" …") and line.entry.by.endswith(" …")


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_changed_line_shows(number) -> None:
    shelf = with_lines(*HISTORY)
    shelf.texts[number] = shelf.texts[number].replace('"by":"ann"', '"by":"bob"')
    ledger, _ = shelf.read()
    assert len(ledger.problems) == 1
    assert f"line {number}" in ledger.problems[0]
    with pytest.raises(RegistryError, match="not whole"):
        append_safely(shelf)
    assert shelf.writes == []


def append_safely(shelf: FakeShelf) -> Line:
    ledger, _ = settle(shelf)
    return append(shelf, ledger, entry("refused", ledger.champion, B))


@pytest.mark.parametrize(
    ("gone", "said"), [(1, "line 1 is missing"), (3, "line 3 is missing"), (4, "line 4 is missing")]
)
def test_a_missing_line_shows_the_last_one_too(gone, said) -> None:
    shelf = with_lines(*HISTORY)
    del shelf.texts[gone]
    assert said in shelf.read()[0].problems
    with pytest.raises(RegistryError, match=said):
        append_safely(shelf)


def test_all_lines_missing_shows() -> None:
    shelf = with_lines(*HISTORY)
    shelf.texts.clear()
    assert shelf.read()[0].problems == ("lines 1 to 4 are missing",)


@pytest.mark.parametrize("seal", [None, "nonsense", "1:" + "0" * 64, "9:" + "0" * 64])
def test_a_seal_that_was_changed_or_taken_shows(seal) -> None:
    shelf = with_lines(*HISTORY)
    shelf.sealed = seal
    assert shelf.read()[0].problems


def test_a_line_that_is_no_line_shows() -> None:
    shelf = with_lines(*HISTORY)
    shelf.texts[2] = "{}"
    assert any(problem.startswith("line 2 cannot be read") for problem in shelf.read()[0].problems)


def test_a_line_of_another_format_is_told_and_stops_every_decision() -> None:
    shelf = with_lines(*HISTORY)
    shelf.texts[4] = shelf.texts[4].replace('"format":1', '"format":2')
    with pytest.raises(
        RegistryError, match="line 4 cannot be read: it is of format 2, and this ganline reads format 1"
    ):
        append_safely(shelf)
    assert shelf.writes == []


def test_two_lines_in_each_other_s_place_show() -> None:
    shelf = with_lines(*HISTORY)
    shelf.texts[2], shelf.texts[3] = shelf.texts[3], shelf.texts[2]
    assert "line 2 says that it is line 3" in shelf.read()[0].problems


# A refusal moves no alias: it has three writes.
STEPS = [*(("promoted", step) for step in (1, 2, 3, 4)), *(("refused", step) for step in (1, 2, 3))]


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize(("action", "step"), STEPS)
def test_a_kill_at_any_write_is_finished_by_the_next_run(step, before, action) -> None:
    """The next run settles first; then it finds its decision there, or makes it (nothing had been written)."""
    shelf = with_lines(entry("first", None, A))
    wanted = entry(action, A, B, protocol="p", rules="r", rows=(ROW,))
    shelf.dies_at, shelf.before = step, before
    with pytest.raises(Killed):
        append(shelf, settle(shelf)[0], wanted)
    shelf.dies_at = None
    ledger, alias = settle(shelf)
    question = Question(A.bundle, B.bundle, "p", "r")
    if step == 1 and before:
        assert ledger.answer(question) is None and alias == 1
        append(shelf, ledger, wanted)
        ledger, alias = settle(shelf)
    line = ledger.answer(question)
    assert line is not None and replace(line.entry, rows=()) == replace(wanted, rows=())
    assert line.entry.rows[0].cells() == ROW.cells()
    assert [each.number for each in ledger.lines] == [1, 2]
    assert ledger.problems == () and ledger.unsealed is None
    assert alias == ledger.champion.version == (2 if action == "promoted" else 1)
    assert 2 in shelf.told


def test_settling_twice_writes_nothing_more() -> None:
    shelf = with_lines(*HISTORY)
    settle(shelf)
    assert shelf.writes == []


def test_a_decision_against_another_champion_than_the_present_one_is_stopped() -> None:
    shelf = with_lines(*HISTORY)
    ledger, alias = settle(shelf)
    require_champion(ledger.champion, alias, C)
    for expected in (A, None):
        with pytest.raises(GateError, match="champion changed meanwhile"):
            require_champion(ledger.champion, alias, expected)
    with pytest.raises(GateError, match="champion changed meanwhile"):
        require_champion(ledger.champion, 2, C)
    with pytest.raises(GateError, match="champion changed meanwhile: version 1 when measuring began, version 3 now"):
        require_champion(ledger.champion, 1, A)


def test_reigns_are_taken_back_by_a_rollback_and_champions_are_remembered() -> None:
    shelf = with_lines(*HISTORY)
    assert shelf.read()[0].reigns() == [A, B, C]
    append(shelf, shelf.read()[0], entry("rollback", C, B))
    ledger, alias = shelf.read()
    assert (ledger.reigns(), ledger.champions(), alias) == ([A, B], [A, B, C], 2)
    append(shelf, ledger, entry("rollback", B, C))
    assert shelf.read()[0].reigns() == [A, B, C]
    append(shelf, shelf.read()[0], entry("rollback", C, A))
    assert shelf.read()[0].reigns() == [A]


def test_a_question_is_answered_by_the_newest_line_of_the_same_pair_protocol_and_rules() -> None:
    asked = {"protocol": "p", "rules": "r", "rows": (ROW,)}
    shelf = with_lines(entry("first", None, A), entry("refused", A, B, **asked), entry("forced", A, B, **asked))
    ledger = shelf.read()[0]
    assert ledger.answer(Question(A.bundle, B.bundle, "p", "r")).number == 3
    for other in (
        Question(A.bundle, B.bundle, "q", "r"),
        Question(A.bundle, B.bundle, "p", "s"),
        Question(B.bundle, A.bundle, "p", "r"),
        Question(None, B.bundle, "p", "r"),
    ):
        assert ledger.answer(other) is None


def test_a_pair_s_judgements_under_other_protocols_and_rules_are_counted_once_each() -> None:
    asked = {"protocol": "p", "rules": "r", "rows": (ROW,)}
    shelf = with_lines(
        entry("first", None, A),
        entry("refused", A, B, **asked),
        entry("refused", A, B, **asked | {"rules": "s"}),
        entry("forced", A, B, **asked | {"rules": "s"}),
        entry("refused", B, C, **asked | {"protocol": "q"}),
        entry("rollback", B, A),
    )
    ledger = shelf.read()[0]
    pairs = ((A, B, "p"), (A, B, "q"), (B, C, "p"), (B, A, "p"))
    asked_of = [ledger.rejudged(Question(old.bundle, new.bundle, protocol, "r")) for old, new, protocol in pairs]
    assert asked_of == [1, 2, 1, 0]


def test_decisions_are_counted_by_the_real_images_that_they_were_made_on() -> None:
    shelf = with_lines(
        entry("first", None, A),
        entry("refused", A, B, reference="i"),
        entry("promoted", A, B, reference="i"),
        entry("promoted", B, C, reference="j"),
    )
    ledger = shelf.read()[0]
    assert [ledger.decisions(images) for images in ("i", "j", "k", None)] == [2, 1, 0, 0]


def test_the_short_form_gives_the_distance_by_both_extractors() -> None:
    change = "1.25 -> 1.125, change -0.125 [-0.2, -0.05]"
    assert figures([ROW]) == f"distance {change}"
    holdout = Row("fd_second", "y", 0.2, 0.21, "", True, 0.01, -0.02, 0.04)
    beside = "0.2 -> 0.21, change +0.01 [-0.02, +0.04]"
    assert figures([ROW, holdout]) == f"distance {change}; by the holdout extractor {beside}"
    alone = Row("floors.fd_ratio_max", "x", None, 3.5, "at most 10", True)
    assert figures([alone]) == "distance over that of real images 3.5"
    both = [alone, Row("floors.fd_holdout_ratio_max", "y", None, 76.0, "at most 10", False)]
    assert figures(both) == "distance over that of real images 3.5 (by the holdout extractor 76)"
    assert figures([]) == ""
