"""Who was champion, since when and why: an append-only ledger of numbered lines, each chained to the one before.

A line is one JSON text; `previous` is the sha256 of the text before it, so a line that was changed or taken out shows.
The last line has none after it: the `seal`, written last, names its number and hash.

A decision is written in this order: line, alias, what the version's page says, seal. The line comes first because it
is the truth: a kill after it leaves a seal that lags behind, and whoever comes next finishes what the line says (every
step may be done twice). The other way round a kill would leave a champion whose promotion nobody recorded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, get_args

from ganline.errors import GateError, RegistryError
from ganline.registry.promotion import Row, Verdict

Action = Literal["first", "promoted", "refused", "forced", "rollback"]
MOVES = frozenset(get_args(Action)) - {"refused"}
FORMAT = 1
NO_LINE = "0" * 64
MAX_LINE = 5000
"""Characters: the width of MLflow's column for tags of a registered model."""
MAX_REASON, MAX_NAME = 500, 60
DIGITS = 5
AS_THEY_ARE = ("protocol", "rules", "reference", "run")
HEAD = ("line", "when (UTC)", "who", "action", "champion", "about", "figures", "why")
ROW_FIELDS = ("rule", "champion", "challenger", "bound", "passed", "change", "low", "high")


@dataclass(frozen=True)
class Model:
    """A version and the bundle that it holds."""

    version: int
    bundle: str


@dataclass(frozen=True)
class Question:
    """What was asked: may `challenger` take the place of `champion`, under this protocol and these rules.

    `reference` names the real images that answered, where both were scored on them.
    """

    champion: str | None
    challenger: str
    protocol: str
    rules: str
    reference: str | None = None


@dataclass(frozen=True)
class Entry:
    """A decision before it has its place in the ledger: `before` is the champion it met, `after` whom it is about."""

    action: Action
    before: Model | None
    after: Model
    time: str
    by: str
    reason: str = ""
    protocol: str | None = None
    rules: str | None = None
    reference: str | None = None
    rows: tuple[Row, ...] = ()
    run: str | None = None


@dataclass(frozen=True)
class Line:
    """An entry in its place. `text` is what is stored."""

    number: int
    previous: str
    entry: Entry
    text: str

    @property
    def moves(self) -> bool:
        """Whether the entry's `after` became champion."""
        return self.entry.action in MOVES

    @property
    def hash(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def seal(self) -> str:
        return f"{self.number}:{self.hash}"

    def plain(self) -> dict[str, Any]:
        """The line as stored, for `history --json`."""
        return {**json.loads(self.text), "sha256": self.hash}

    def cells(self) -> tuple[str, ...]:
        """As a line of a table under HEAD: `champion` is the one that it met, `about` whom it decides on."""
        entry = self.entry
        when = entry.time.removesuffix("+00:00").replace("T", " ")
        before = told(entry.before) if entry.before else ""
        about = told(entry.after)
        return (str(self.number), when, entry.by, entry.action, before, about, figures(entry.rows), entry.reason)


def write_line(entry: Entry, *, number: int, previous: str) -> Line:
    """An entry as the line of this number. Reasons and names are cut to what MLflow can hold."""
    content = {
        "format": FORMAT,
        "number": number,
        "time": entry.time,
        "action": entry.action,
        "from": entry.before and asdict(entry.before),
        "to": asdict(entry.after),
        **{name: getattr(entry, name) for name in AS_THEY_ARE},
        "by": cut(entry.by, MAX_NAME),
        "reason": cut(entry.reason, MAX_REASON),
        "verdict": [[rounded(getattr(row, name)) for name in ROW_FIELDS] for row in entry.rows],
        "previous": previous,
    }
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    if len(text) > MAX_LINE:
        raise RegistryError(f"a ledger line has {len(text)} characters", expected=f"at most {MAX_LINE}")
    return read_line(text)


def read_line(text: str) -> Line:
    """A stored text as a line. Raises ValueError, KeyError or TypeError if it is none."""
    content = json.loads(text)
    if content.get("format") != FORMAT:
        raise ValueError(f"it is of format {content.get('format')}, and this ganline reads format {FORMAT}")
    if content["action"] not in get_args(Action):
        raise ValueError(content["action"])
    entry = Entry(
        before=None if content["from"] is None else Model(**content["from"]),
        after=Model(**content["to"]),
        rows=tuple(read_row(dict(zip(ROW_FIELDS, row, strict=True))) for row in content["verdict"]),
        **{name: content[name] for name in ("action", "time", "by", "reason", *AS_THEY_ARE)},
    )
    return Line(int(content["number"]), str(content["previous"]), entry, text)


def read_row(fields: Mapping[str, Any]) -> Row:
    """A stored rule. The metric's full name and the words lie in the run that the line names."""
    found = "was not measured" if fields["challenger"] is None else f"is {fields['challenger']:.4g}"
    if fields["low"] is not None:
        found += f", changed by {fields['change']:+.3g} [{fields['low']:+.3g}, {fields['high']:+.3g}]"
    return Row(metric=fields["rule"], why=f"{fields['rule']}: {found} (asked: {fields['bound']})", **fields)


def rounded(found: Any) -> Any:
    """A figure with few digits: the whole verdict lies in the run that the line names."""
    return float(f"{found:.{DIGITS}g}") if isinstance(found, float) else found


def cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 2]} …"


@dataclass(frozen=True)
class Ledger:
    """All lines, oldest first; what is wrong with them; and the seal."""

    lines: tuple[Line, ...] = ()
    problems: tuple[str, ...] = ()
    seal: str | None = None

    @property
    def champion(self) -> Model | None:
        """Who is champion by the ledger."""
        return next((line.entry.after for line in reversed(self.lines) if line.moves), None)

    @property
    def unsealed(self) -> Line | None:
        """The last line if a kill left it half done."""
        return self.lines[-1] if self.lines and self.seal != self.lines[-1].seal else None

    def reigns(self) -> list[Model]:
        """Champions in force, oldest first: a rollback takes back those after its target."""
        stack: list[Model] = []
        for line in self.lines:
            if not line.moves:
                continue
            if line.entry.action == "rollback" and line.entry.after in stack:
                del stack[stack.index(line.entry.after) + 1 :]
            else:
                stack.append(line.entry.after)
        return stack

    def champions(self) -> list[Model]:
        """Everybody who ever was champion, each once, the oldest first."""
        return list(dict.fromkeys(line.entry.after for line in self.lines if line.moves))

    def answer(self, question: Question) -> Line | None:
        """The line that answers this question already, the newest first. A rollback answers none."""
        for line in reversed(self.lines):
            entry = line.entry
            asked = (entry.before and entry.before.bundle, entry.after.bundle, entry.protocol, entry.rules)
            if entry.rows and asked == (question.champion, question.challenger, question.protocol, question.rules):
                return line
        return None

    def rejudged(self, question: Question) -> int:
        """How often this very pair was judged under another protocol or other rules."""
        entries = [line.entry for line in self.lines if line.entry.rows]
        pair, asked = (question.champion, question.challenger), (question.protocol, question.rules)
        met = {(e.protocol, e.rules) for e in entries if (e.before and e.before.bundle, e.after.bundle) == pair}
        return len(met - {asked})

    def decisions(self, reference: str | None) -> int:
        """How often these real images have decided between two models."""
        return sum(reference is not None and line.entry.reference == reference for line in self.lines)

    def require_whole(self) -> None:
        """Raise RegistryError if a line was changed or is missing: nothing is written behind such a one."""
        if self.problems:
            raise RegistryError(
                "the ledger is not whole: " + "; ".join(self.problems),
                expected="lines that nobody edits: each holds the hash of the one before",
                remedy="restore the tags ganline.ledger.* of the registered model from the registry's backup",
            )


def read_ledger(texts: Mapping[int, str], seal: str | None) -> Ledger:
    """Check the chain of numbered texts. What is wrong is told in words; readable lines are kept."""
    lines, problems, previous, expected = [], [], NO_LINE, 1
    for number, text in sorted(texts.items()):
        if number != expected:
            problems.append(missing(expected, number - 1))
        digest = hashlib.sha256(text.encode()).hexdigest()
        try:
            line = read_line(text)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            problems.append(f"line {number} cannot be read: {error}")
        else:
            lines.append(line)
            if line.number != number:
                problems.append(f"line {number} says that it is line {line.number}")
            if number == expected and line.previous != previous:
                problems.append(
                    f"line {number - 1} is not the one that line {number} was written after: one was changed"
                )
        previous, expected = digest, number + 1
    return Ledger(tuple(lines), (*problems, *seal_problems(lines, seal)), seal)


def seal_problems(lines: Sequence[Line], seal: str | None) -> list[str]:
    """A seal may lag one line behind (a kill); it may not name a line that is not there, or another text."""
    if seal is None:
        return ["the seal is missing"] if len(lines) > 1 else []
    number = int(seal.partition(":")[0]) if seal.partition(":")[0].isdecimal() else -1
    sealed = next((line for line in lines if line.number == number), None)
    last = lines[-1].number if lines else 0
    if sealed is None:
        return [missing(last + 1, number)] if number > last else [f"the seal names no line: {seal!r}"]
    if sealed.seal != seal:
        return [f"line {number} was changed after it was sealed"]
    return [] if last - number <= 1 else [f"the seal names line {number}, but there are {last}"]


def missing(first: int, last: int) -> str:
    return f"line {first} is missing" if first == last else f"lines {first} to {last} are missing"


class Shelf(Protocol):
    """Where one model's ledger and aliases are kept. Every write may be repeated."""

    def read(self) -> tuple[Ledger, int | None]:
        """The ledger, and the version that holds the alias champion."""
        ...

    def add(self, line: Line) -> None: ...
    def point(self, version: int) -> None:
        """Give the alias champion, in one call; the alias challenger is taken from the same version after it."""
        ...

    def tell(self, line: Line) -> None:
        """Say on the versions' pages what was decided."""
        ...

    def seal(self, text: str) -> None: ...


def settle(shelf: Shelf) -> tuple[Ledger, int | None]:
    """Finish a decision that a kill cut short; the ledger and the version with the alias. To be called in the lock."""
    ledger, alias = shelf.read()
    ledger.require_whole()
    if (line := ledger.unsealed) is None:
        return ledger, alias
    finish(shelf, line)
    return shelf.read()


def finish(shelf: Shelf, line: Line) -> None:
    """Everything after the line itself."""
    if line.moves:
        shelf.point(line.entry.after.version)
    shelf.tell(line)
    shelf.seal(line.seal)


def append(shelf: Shelf, ledger: Ledger, entry: Entry) -> Line:
    """Write one decision. To be called in the lock, with the ledger that `settle` returned."""
    previous = ledger.lines[-1].hash if ledger.lines else NO_LINE
    line = write_line(entry, number=len(ledger.lines) + 1, previous=previous)
    shelf.add(line)
    finish(shelf, line)
    return line


def require_champion(found: Model | None, alias: int | None, expected: Model | None) -> None:
    """Raise GateError if the champion is not the one that was measured against."""
    if found != expected or alias != (expected and expected.version):
        raise GateError(
            f"the champion changed meanwhile: {told(expected)} when measuring began, {told(found)} now",
            expected="the same champion from the measurement to the decision",
            remedy="run the same command again: it measures against the new champion",
        )


def told(model: Model | None) -> str:
    return "none" if model is None else f"version {model.version}"


def verdict_of(line: Line) -> Verdict:
    """The verdict that a line keeps, with its figures rounded."""
    return Verdict(line.entry.rows)


def figures(rows: Iterable[Row]) -> str:
    """The short form of a verdict's figures: the distance by both extractors, its change where two were compared."""
    by_rule = {row.rule: row for row in rows if row.challenger is not None}
    pair, holdout = by_rule.get("min_improvement"), by_rule.get("fd_second")
    if pair is not None and pair.change is not None:
        beside = "" if holdout is None else f"; by the holdout extractor {moved(holdout)}"
        return f"distance {moved(pair)}{beside}"
    for rule, called in (("max", "distance"), ("ratio_max", "distance over that of real images")):
        if (row := by_rule.get(f"floors.fd_{rule}")) is not None:
            holdout = by_rule.get(f"floors.fd_holdout_{rule}")
            beside = "" if holdout is None else f" (by the holdout extractor {holdout.challenger:.4g})"
            return f"{called} {row.challenger:.4g}{beside}"
    return ""


def moved(row: Row) -> str:
    """'1.2 -> 1.1, change -0.1 [-0.12, -0.08]'."""
    return f"{row.champion:.4g} -> {row.challenger:.4g}, change {row.change:+.3g} [{row.low:+.3g}, {row.high:+.3g}]"
