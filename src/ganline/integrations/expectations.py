"""Great Expectations as the judge of the gate: suites kept as data, run over the manifest in memory, failing closed."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ganline.data.config import ValidateConfig
from ganline.data.drift import drift_table
from ganline.data.gate import Outcome, Tables, Verdict, decide
from ganline.data.profile import profile_of
from ganline.data.suites import Expectation, load_suites
from ganline.errors import GanlineError, GateError

ROW_NAME = "index"


def validate(
    manifest: pd.DataFrame,
    config: ValidateConfig,
    suite_folder: Path,
    previous_profile: dict[str, Any] | None,
) -> Verdict:
    """Judge a manifest by the common suite and the configured one, and by drift where a previous profile is given."""
    suites, expectations = load_suites(suite_folder, config.suite)
    tables = {"manifest": manifest, "labels": label_table(manifest)}
    drift = None
    if previous_profile is not None:
        drift = tables["drift"] = drift_table(manifest, previous_profile, threshold=config.drift_threshold)
    outcomes, refused, quarantined, remarks = decide(tables, expectations, judge, quarantine=config.quarantine)
    return Verdict(
        outcomes=outcomes,
        num_rows=len(manifest),
        refused=refused,
        quarantined=quarantined,
        remarks=remarks,
        drift=drift,
        suite=config.suite,
        about=tuple(suite.about for suite in suites if suite.about),
        profile=profile_of(manifest),
    )


def label_table(manifest: pd.DataFrame) -> pd.DataFrame:
    """A row a label: rows, share, share relative to an even distribution, and whether train knows it."""
    counts = manifest["label"].dropna().value_counts().sort_index()
    train = set(manifest.loc[manifest["split"] == "train", "label"].dropna())
    return pd.DataFrame(
        {
            "label": counts.index.astype("string"),
            "rows": counts.to_numpy(dtype="int64"),
            "relative": (counts / counts.mean()).to_numpy(dtype="float64").round(6),
            "in_train": [label in train for label in counts.index],
        }
    )


def judge(tables: Tables, expectations: Sequence[Expectation]) -> list[Outcome]:
    """Ask Great Expectations. Whatever goes wrong inside it refuses the data: an unjudged row is not a good row."""
    try:
        outcomes = {}
        for name in dict.fromkeys(expectation.meta.table for expectation in expectations):
            chosen = [expectation for expectation in expectations if expectation.meta.table == name]
            outcomes |= _run(tables[name], chosen)
        return [outcomes[expectation.id] for expectation in expectations]
    except GanlineError:
        raise
    except Exception as error:
        raise GateError(
            f"Great Expectations could not judge the data: {type(error).__name__}: {error}",
            expected="every expectation judged",
            remedy="check the suite's types and arguments",
        ) from error


def _run(table: pd.DataFrame, expectations: Sequence[Expectation]) -> dict[str, Outcome]:
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import great_expectations as gx
        from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False}
        asset = context.data_sources.add_pandas("memory").add_dataframe_asset("table")
        batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": _plain(table)})
        suite = gx.ExpectationSuite(name="suite")
        for expectation in expectations:
            suite.add_expectation_configuration(
                ExpectationConfiguration(
                    type=expectation.type,
                    kwargs=dict(expectation.kwargs),
                    meta={"id": expectation.id},
                    severity=expectation.meta.severity,
                )
            )
        names = [ROW_NAME] if ROW_NAME in table else []
        result_format: dict[str, Any] = {"result_format": "COMPLETE", "unexpected_index_column_names": names}
        results = batch.validate(suite, result_format=result_format).results
    by_id = {expectation.id: expectation for expectation in expectations}
    return {(identity := result.expectation_config.meta["id"]): _outcome(by_id[identity], result) for result in results}


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """The table in the column types that Great Expectations handles: objects with None, floats with NaN."""
    plain = table.reset_index(drop=True)
    for name, kind in plain.dtypes.items():
        if isinstance(kind, pd.StringDtype):
            plain[name] = plain[name].astype(object).where(plain[name].notna(), None)
        elif str(kind) == "Int64":
            plain[name] = plain[name].astype("float64") if plain[name].isna().any() else plain[name].astype("int64")
    return plain


def _outcome(expectation: Expectation, result: Any) -> Outcome:
    raised = [entry for entry in _exceptions(result.exception_info) if entry.get("raised_exception")]
    if raised:
        text = str(raised[0].get("exception_message")).splitlines()[0]
        raise GateError(
            f"the expectation {expectation.id} ({expectation.type}) could not be judged: {text}",
            expected="every expectation judged",
            remedy="check its arguments in the suite",
        )
    details = result.result or {}
    unexpected = int(details.get("unexpected_count") or 0)
    entries = details.get("unexpected_index_list") or []
    rows = tuple(sorted(int(entry[ROW_NAME]) for entry in entries if ROW_NAME in entry))
    if expectation.meta.table == "manifest" and rows and len(rows) != unexpected:
        raise GateError(f"{expectation.id}: {unexpected} rows fail but {len(rows)} are named", expected="all are named")
    return Outcome(expectation, bool(result.success), _observed(details), unexpected, rows)


def _exceptions(info: dict[str, Any] | None) -> list[dict[str, Any]]:
    """exception_info is one entry, or entries by metric."""
    if not info:
        return []
    return [info] if "raised_exception" in info else list(info.values())


def _observed(details: dict[str, Any]) -> str:
    """One line on what was found."""
    if "element_count" in details:
        count, total = details.get("unexpected_count") or 0, details["element_count"]
        return f"{count} of {total} rows fail" if count else f"none of {total} rows fails"
    parts = []
    if (value := details.get("observed_value")) is not None:
        parts.append(f"{value:.6g}" if isinstance(value, float) else str(value))
    for key, word in (("partial_missing_list", "missing"), ("partial_unexpected_list", "unexpected")):
        if details.get(key):
            parts.append(f"{word}: {', '.join(map(str, details[key]))}")
    return "; ".join(parts) or "as expected"
