"""The gate between raw data and training: judge, set aside what may be set aside, judge the rest, decide.

How an expectation is judged is somebody else's business (`Judge`; ganline.integrations.expectations asks Great
Expectations). What follows from the outcomes is decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ganline.data.suites import Expectation
from ganline.errors import GateError, listed

SHOWN = 20


@dataclass(frozen=True)
class Outcome:
    """What became of one expectation. `rows` are the manifest indices that fail it, where it is about single rows."""

    expectation: Expectation
    success: bool
    observed: str
    unexpected: int = 0
    rows: tuple[int, ...] = ()
    checked: bool = True

    @property
    def refuses(self) -> bool:
        return not self.success and self.expectation.meta.severity == "critical"


Tables = Mapping[str, pd.DataFrame]
Judge = Callable[[Tables, Sequence[Expectation]], list[Outcome]]


@dataclass(frozen=True)
class Verdict:
    """The gate's decision with its reasons."""

    outcomes: tuple[Outcome, ...]
    num_rows: int
    refused: pd.DataFrame
    """Rows that the data was refused for: index, file, item, split, label, reasons."""
    quarantined: pd.DataFrame
    """Rows that were set aside: the same columns."""
    remarks: tuple[str, ...] = ()
    drift: pd.DataFrame | None = None
    """feature, psi, limit; None where there was no previous version."""
    suite: str = ""
    about: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        return any(outcome.refuses for outcome in self.outcomes)

    def message(self) -> str:
        """What failed and the first rows that made it fail, for a terminal."""
        lines = []
        for outcome in self.outcomes:
            if not outcome.success:
                mark = "failed" if outcome.refuses else "warning"
                lines.append(f"{mark}: {outcome.expectation.meta.title}: {outcome.observed}")
        lines += self.remarks
        shown = self.refused.head(SHOWN)
        lines += [f"  {row['name']}: {row['reasons']}" for _, row in shown.iterrows()]
        if len(self.refused) > len(shown):
            more = len(self.refused) - len(shown)
            lines.append(f"  ... and {more} more rows (refused.csv beside the report lists all)")
        return "\n    ".join(lines)

    def raise_if_failed(self, *, report: str | None = None) -> None:
        """Raise the GateError that stops the line."""
        if self.failed:
            where = f"see {report}; " if report else ""
            raise GateError(
                f"the data does not meet the suite {self.suite}:\n    {self.message()}",
                expected="every critical expectation met",
                remedy=(
                    f"{where}mend the data and run again with ACCEPT=1 (or `ganline fetch --accept`), or let a share "
                    "of bad rows be set aside: validate.quarantine"
                ),
            )

    def result(self) -> dict[str, Any]:
        """The verdict as JSON: the same data and suite give the same bytes on every machine."""
        return {
            "success": not self.failed,
            "suite": self.suite,
            "rows": self.num_rows,
            "quarantined": len(self.quarantined),
            "refused": len(self.refused),
            "remarks": list(self.remarks),
            "drift": None if self.drift is None else self.drift.to_dict(orient="records"),
            "expectations": [
                {
                    "id": outcome.expectation.id,
                    "type": outcome.expectation.type,
                    "title": outcome.expectation.meta.title,
                    "severity": outcome.expectation.meta.severity,
                    "checked": outcome.checked,
                    "success": outcome.success,
                    "observed": outcome.observed,
                    "unexpected": outcome.unexpected,
                }
                for outcome in self.outcomes
            ],
        }


def decide(
    tables: Tables,
    expectations: Sequence[Expectation],
    judge: Judge,
    *,
    quarantine: float,
) -> tuple[tuple[Outcome, ...], pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
    """Outcomes, refused rows, quarantined rows and remarks. An absent table leaves its expectations unchecked."""
    manifest = tables["manifest"]
    checkable = [expectation for expectation in expectations if expectation.meta.table in tables]
    outcomes = _complete(judge(tables, checkable), checkable)
    candidates = _failing_rows(outcomes)
    set_aside: set[int] = set()
    remarks: list[str] = []
    reasons = explain(manifest, outcomes)
    if candidates and quarantine:
        allowed = int(quarantine * len(manifest))
        if len(candidates) <= allowed:
            set_aside = candidates
            rest = {**tables, "manifest": manifest[~manifest["index"].isin(list(set_aside))]}
            again = [expectation for expectation in checkable if expectation.meta.scope == "rows"]
            second = {outcome.expectation.id: outcome for outcome in _complete(judge(rest, again), again)}
            outcomes = [second.get(outcome.expectation.id, outcome) for outcome in outcomes]
            names = reasons.loc[reasons["index"].isin(list(set_aside)), "name"].astype(str).tolist()
            whole = listed(names, whole_list="quarantine.csv beside the report")
            remarks.append(f"{len(names)} of {len(manifest)} rows set aside (at most {allowed} may be): {whole}")
        else:
            remarks.append(f"{len(candidates)} rows fail, more than the {allowed} that may be set aside")
    judged = {outcome.expectation.id: outcome for outcome in outcomes}
    skipped = {each.id: Outcome(each, True, "not checked", checked=False) for each in expectations}
    ordered = tuple({**skipped, **judged}.values())
    refused = explain(manifest, outcomes)
    return ordered, refused, reasons[reasons["index"].isin(list(set_aside))], tuple(remarks)


def explain(manifest: pd.DataFrame, outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """index, name, file, item, split, label and reasons of the rows that fail a critical expectation."""
    reasons: dict[int, list[str]] = {}
    names = row_names(manifest)
    chosen = manifest.set_index("index").loc[sorted(_failing_rows(outcomes))]
    for outcome in outcomes:
        if not outcome.refuses:
            continue
        for index in outcome.rows:
            reasons.setdefault(index, []).append(_sentence(outcome.expectation, chosen.loc[index], names))
    frame = chosen.reset_index()[["index", "file", "item", "split", "label"]]
    frame.insert(1, "name", [names[index] for index in frame["index"]])
    frame["reasons"] = ["; ".join(reasons[index]) for index in frame["index"]]
    return frame


def row_names(manifest: pd.DataFrame) -> pd.Series:
    """By index: the file's name, and the position in it where the file holds several images."""
    several = manifest["file"].duplicated(keep=False)
    names = manifest["file"].where(~several, manifest["file"] + " #" + manifest["item"].astype("string"))
    return names.set_axis(manifest["index"])


def rows_csv(rows: pd.DataFrame) -> str:
    """Refused or quarantined rows as CSV: index, file, item, reasons."""
    return rows[["index", "file", "item", "reasons"]].to_csv(index=False, lineterminator="\n")


def _failing_rows(outcomes: Sequence[Outcome]) -> set[int]:
    return {index for outcome in outcomes if outcome.refuses for index in outcome.rows}


def _sentence(expectation: Expectation, row: pd.Series, names: pd.Series) -> str:
    values = {key: value for key, value in row.items() if isinstance(key, str)}
    for link in ("duplicate_of", "leak_of"):
        if pd.notna(row.get(link)):
            values[f"{link}_name"] = names.get(row[link], row[link])
    column = expectation.kwargs.get("column", "")
    return expectation.meta.row.format_map({**values, "column": column, "value": row.get(column)})


def _complete(outcomes: list[Outcome], expectations: Sequence[Expectation]) -> list[Outcome]:
    """Fail closed: every expectation has exactly one outcome, in order, and there is at least one."""
    if not expectations or [outcome.expectation.id for outcome in outcomes] != [each.id for each in expectations]:
        raise GateError(
            f"{len(outcomes)} outcomes for {len(expectations)} expectations",
            expected="at least one expectation, and one outcome each",
            remedy="correct the suite in expectations/ (validate.suite names the file); the data was not judged",
        )
    return outcomes
