"""The gate's own decisions, with a judge of the test's own: quarantine, refusal, and failing closed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ganline.data.gate import Outcome, Tables, Verdict, decide, row_names, rows_csv
from ganline.data.suites import Expectation, load_suites
from ganline.errors import GateError

SUITES = Path(__file__).parents[3] / "expectations"


def expectation(identity: str, column: str = "constant", **meta: str) -> Expectation:
    row = meta.pop("row", "is {column}")
    document = {"title": identity.title(), "row": row, **meta}
    return Expectation.model_validate(
        {"id": identity, "type": "expect_x", "kwargs": {"column": column}, "meta": document}
    )


@pytest.fixture
def manifest() -> pd.DataFrame:
    """100 rows of one file; rows 3 and 50 are flat, row 50 is a leak of row 99 as well."""
    rows = pd.DataFrame({"index": range(100), "file": "images", "item": range(100), "split": "train", "label": "a"})
    rows["constant"] = rows["index"].isin([3, 50])
    rows["leak_of"] = rows["index"].map({50: 99}).astype("Int64")
    rows["duplicate_of"] = pd.array([pd.NA] * 100, dtype="Int64")
    return rows


def judge(tables: Tables, expectations: Sequence[Expectation]) -> list[Outcome]:
    """Rows where `constant` is true, or the other column is not null, are at fault."""
    outcomes = []
    for each in expectations:
        table = tables[each.meta.table]
        if each.kwargs["column"] == "count":
            outcomes.append(Outcome(each, len(table) == 100, str(len(table))))
            continue
        values = table[each.kwargs["column"]]
        at_fault = tuple(table.loc[values if values.dtype == bool else values.notna(), "index"])
        outcomes.append(Outcome(each, not at_fault, f"{len(at_fault)}", len(at_fault), at_fault))
    return outcomes


EXPECTATIONS = (expectation("flat"), expectation("leak", "leak_of", row="copies {leak_of_name}"))


def verdict(manifest: pd.DataFrame, expectations: Sequence[Expectation], quarantine: float) -> Verdict:
    outcomes, refused, quarantined, remarks = decide({"manifest": manifest}, expectations, judge, quarantine=quarantine)
    return Verdict(outcomes, len(manifest), refused, quarantined, remarks)


def test_rows_at_fault_refuse_the_data_and_are_named_with_every_reason(manifest: pd.DataFrame) -> None:
    found = verdict(manifest, EXPECTATIONS, 0.0)
    assert found.failed and len(found.quarantined) == 0
    assert found.refused["reasons"].tolist() == ["is constant", "is constant; copies images #99"]
    assert "images #3: is constant" in found.message()
    assert rows_csv(found.refused).splitlines() == [
        "index,file,item,reasons",
        "3,images,3,is constant",
        "50,images,50,is constant; copies images #99",
    ]
    with pytest.raises(GateError, match="images #50"):
        found.raise_if_failed()


def test_rows_within_the_share_are_set_aside_and_the_rest_passes(manifest: pd.DataFrame) -> None:
    found = verdict(manifest, EXPECTATIONS, 0.02)
    assert not found.failed and found.refused.empty
    assert found.quarantined["index"].tolist() == [3, 50]
    assert found.remarks == ("2 of 100 rows set aside (at most 2 may be): images #3, images #50",)
    found.raise_if_failed()


def test_one_row_more_than_the_share_sets_nothing_aside(manifest: pd.DataFrame) -> None:
    found = verdict(manifest, EXPECTATIONS, 0.019)
    assert found.failed and found.quarantined.empty and len(found.refused) == 2
    assert "more than the 1 that may be" in found.message()


def test_the_rest_is_judged_again_but_whole_counts_are_not(manifest: pd.DataFrame) -> None:
    whole = expectation("count", "count", scope="whole")
    assert not verdict(manifest, (*EXPECTATIONS, whole), 0.02).failed
    again = expectation("count", "count")
    assert verdict(manifest, (*EXPECTATIONS, again), 0.02).failed


def test_a_warning_neither_refuses_nor_sets_aside(manifest: pd.DataFrame) -> None:
    found = verdict(manifest, [expectation("flat", severity="warning")], 0.5)
    assert not found.failed and found.quarantined.empty and found.refused.empty
    assert "warning: Flat" in found.message()


def test_an_expectation_about_an_absent_table_is_not_checked(manifest: pd.DataFrame) -> None:
    found = verdict(manifest.assign(constant=False), [EXPECTATIONS[0], expectation("drift", table="drift")], 0.0)
    assert [(outcome.checked, outcome.observed) for outcome in found.outcomes][1] == (False, "not checked")
    assert not found.failed


@pytest.mark.parametrize("answer", [[], [Outcome(EXPECTATIONS[0], True, "")], [Outcome(EXPECTATIONS[0], True, "")] * 2])
def test_a_judge_that_leaves_something_out_fails_closed(manifest: pd.DataFrame, answer: list[Outcome]) -> None:
    with pytest.raises(GateError, match="outcomes for 2 expectations"):
        decide({"manifest": manifest}, EXPECTATIONS, lambda tables, expectations: answer, quarantine=0)


def test_no_expectations_fail_closed(manifest: pd.DataFrame) -> None:
    with pytest.raises(GateError):
        decide({"manifest": manifest}, [], judge, quarantine=0)


def test_only_twenty_rows_are_printed(manifest: pd.DataFrame) -> None:
    found = verdict(manifest.assign(constant=np.arange(100) < 30), EXPECTATIONS[:1], 0.0)
    assert found.message().count("is constant") == 20 and "and 10 more rows" in found.message()
    assert len(rows_csv(found.refused).splitlines()) == 31


def test_a_file_of_one_image_is_named_by_itself() -> None:
    rows = pd.DataFrame({"index": [0, 1, 2], "file": ["a.png", "b", "b"], "item": [0, 0, 1]})
    rows["file"] = rows["file"].astype("string")
    assert row_names(rows).tolist() == ["a.png", "b #0", "b #1"]


@pytest.mark.parametrize("name", sorted(path.stem for path in SUITES.glob("*.json") if path.stem != "previous"))
def test_every_suite_of_the_repository_loads(name: str) -> None:
    _, expectations = load_suites(SUITES, name)
    assert {"no_leak", "decodable", "drift"} <= {each.id for each in expectations}


@pytest.mark.parametrize(
    "content",
    [
        '{"title": "x", "expectations": []}',
        "{}",
        "not json",
        '{"title": "x", "expectations": [{"id": "a", "type": "rm -rf", "kwargs": {}, "meta": {"title": "t"}}]}',
    ],
)
def test_an_empty_or_malformed_suite_fails_closed(tmp_path: Path, content: str) -> None:
    (tmp_path / "common.json").write_text((SUITES / "common.json").read_text())
    (tmp_path / "mine.json").write_text(content)
    with pytest.raises(GateError, match=r"mine\.json"):
        load_suites(tmp_path, "mine")


def test_a_missing_suite_names_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "common.json").write_text((SUITES / "common.json").read_text())
    with pytest.raises(GateError, match=r"nosuch\.json\n  expected: one of: common"):
        load_suites(tmp_path, "nosuch")


def test_an_expectation_that_repeats_another_is_refused(tmp_path: Path) -> None:
    common = json.loads((SUITES / "common.json").read_text())
    again = {**common["expectations"][0], "id": "again"}
    (tmp_path / "common.json").write_text(json.dumps(common))
    (tmp_path / "mine.json").write_text(json.dumps({"title": "mine", "expectations": [again]}))
    with pytest.raises(GateError, match="again repeats"):
        load_suites(tmp_path, "mine")


def test_one_id_in_both_suites_is_refused(tmp_path: Path) -> None:
    for name in ("common", "mine"):
        (tmp_path / f"{name}.json").write_text((SUITES / "common.json").read_text())
    with pytest.raises(GateError, match="both define"):
        load_suites(tmp_path, "mine")
