"""Great Expectations as the judge of the gate: suites kept as data, run over the manifest in memory, failing closed."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from ganline.data.config import DataConfig, ValidateConfig
from ganline.data.drift import drift_table
from ganline.data.gate import Outcome, Tables, Verdict, decide, rows_csv
from ganline.data.reading import read_rows
from ganline.data.suites import Expectation, load_suites
from ganline.errors import GanlineError, GateError
from ganline.files import fresh_folder, write_json, write_text
from ganline.integrations.expectations_report import render_report


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
    )


def validate_to_folder(
    manifest: pd.DataFrame,
    *,
    config: ValidateConfig,
    data: DataConfig,
    data_folder: Path,
    suites: Path,
    profile: dict[str, Any],
    previous_profile: dict[str, Any] | None,
    out: Path,
) -> Verdict:
    """Validate, and write result.json, report.html, quarantine.csv and (when it refuses) refused.csv; then refuse.

    An empty `previous_profile` means that there is no previous version. Raises GateError.
    """
    verdict = validate(manifest, config, suites, previous_profile or None)
    fresh_folder(out)
    write_json(out / "result.json", verdict.result())
    write_text(out / "quarantine.csv", rows_csv(verdict.quarantined))
    if verdict.failed:
        write_text(out / "refused.csv", rows_csv(verdict.refused))
    page = render_report(
        verdict,
        data_set=data.source.name,
        note=data.source.remarks,
        profile=profile,
        previous_profile=previous_profile or None,
        pictures=partial(read_rows, data, data_folder),
    )
    write_text(out / "report.html", page)
    verdict.raise_if_failed(report=str(out / "report.html"))
    return verdict


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
        outcomes: dict[str, Outcome] = {}
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
            remedy="correct types and arguments in expectations/ (validate.suite names the file)",
        ) from error


def _run(table: pd.DataFrame, expectations: Sequence[Expectation]) -> dict[str, Outcome]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import great_expectations as gx

        logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.ERROR)
        from great_expectations.data_context.types.base import ProgressBarsConfig
        from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
        from great_expectations.expectations.metadata_types import FailureSeverity

        _silence("great_expectations")
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        asset = context.data_sources.add_pandas("memory").add_dataframe_asset("table")
        batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": _plain(table)})
        suite = gx.ExpectationSuite(name="suite")
        for expectation in expectations:
            suite.add_expectation_configuration(
                ExpectationConfiguration(
                    type=expectation.type,
                    kwargs=dict(expectation.kwargs),
                    meta={"id": expectation.id},
                    severity=FailureSeverity(expectation.meta.severity),
                )
            )
        key = str(table.columns[0])  # index, label or feature: what a row of this table is called
        result_format: dict[str, Any] = {"result_format": "COMPLETE", "unexpected_index_column_names": [key]}
        results = batch.validate(suite, result_format=result_format).results
    by_id = {expectation.id: expectation for expectation in expectations}
    names = [configuration.meta["id"] for result in results if (configuration := result.expectation_config)]
    return {name: _outcome(by_id[name], result, key) for name, result in zip(names, results, strict=True)}


def _silence(library: str) -> None:
    """Its modules set levels of their own, so each is told."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == library:
            logging.getLogger(name).setLevel(logging.ERROR)


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """The table in the column types that Great Expectations handles: objects with None, floats with NaN."""
    plain = table.reset_index(drop=True)
    for name, kind in plain.dtypes.items():
        if isinstance(kind, pd.StringDtype):
            plain[name] = plain[name].astype(object).where(plain[name].notna(), None)
        elif str(kind) == "Int64":
            plain[name] = plain[name].astype("float64") if plain[name].isna().any() else plain[name].astype("int64")
    return plain


def _outcome(expectation: Expectation, result: Any, key: str) -> Outcome:
    raised = [entry for entry in _exceptions(result.exception_info) if entry.get("raised_exception")]
    if raised:
        text = str(raised[0].get("exception_message")).splitlines()[0]
        raise GateError(
            f"the expectation {expectation.id} ({expectation.type}) could not be judged: {text}",
            expected="every expectation judged",
            remedy="correct its arguments in expectations/ (validate.suite names the file)",
        )
    details = result.result or {}
    unexpected = int(details.get("unexpected_count") or 0)
    named = [entry[key] for entry in details.get("unexpected_index_list") or []]
    observed = _observed(details)
    if expectation.meta.table != "manifest":
        listed = f": {', '.join(map(str, named))}" if named else ""
        return Outcome(expectation, bool(result.success), observed + listed, unexpected)
    if named and len(named) != unexpected:
        raise GateError(
            f"{expectation.id}: {unexpected} rows fail but {len(named)} are named", expected="all are named"
        )
    return Outcome(expectation, bool(result.success), observed, unexpected, tuple(sorted(map(int, named))))


def _exceptions(info: dict[str, Any] | None) -> list[dict[str, Any]]:
    """exception_info is one entry, or entries by metric."""
    if not info:
        return []
    return [info] if "raised_exception" in info else list(info.values())


def _observed(details: dict[str, Any]) -> str:
    """One line on what was found."""
    if "element_count" in details:
        return f"{details.get('unexpected_count') or 0:,} of {details['element_count']:,} rows at fault"
    parts = []
    if (value := details.get("observed_value")) is not None:
        parts.append(
            f"{value:.6g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
        )
    for key, word in (("partial_missing_list", "missing"), ("partial_unexpected_list", "unexpected")):
        if details.get(key):
            parts.append(f"{word}: {', '.join(map(str, details[key]))}")
    return "; ".join(parts) or "as expected"
