"""Great Expectations behind the gate: the suites on real and on spoilt data, the report, failing closed."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ganline.data.config import DataConfig, ManifestConfig, ValidateConfig
from ganline.data.fetching import fetch
from ganline.data.manifest import build_manifest
from ganline.data.profile import profile_of
from ganline.data.sources import Digits, ImageFolder
from ganline.data.suites import load_suites
from ganline.errors import GateError
from ganline.files import sha256_tree
from ganline.integrations.expectations import validate, validate_to_folder

SUITES = Path(__file__).parents[3] / "expectations"
DIGITS = ValidateConfig(suite="digits")


@pytest.fixture(scope="module")
def digits_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits") / "data"
    fetch(DataConfig(source=Digits()), folder)
    return folder


@pytest.fixture(scope="module")
def digits(digits_folder: Path) -> pd.DataFrame:
    return build_manifest(DataConfig(source=Digits()), ManifestConfig(), digits_folder)[0]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """train/ and test/ with two labels and 30 different images; good data."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 10)):
        for number in range(count):
            path = tmp_path / "source" / split / ("cat", "dog")[number % 2] / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    return tmp_path / "source"


def run(source: Path, *, quarantine: float = 0.0, previous: dict | None = None) -> Path:
    """fetch, manifest and validate a folder; return where the results are."""
    data = DataConfig(source=ImageFolder(path=source))
    folder, out = source.parent / "data", source.parent / "out"
    fetch(data, folder, accept=True)
    rows, profile = build_manifest(data, ManifestConfig(validation_share=0), folder)
    validate_to_folder(
        rows,
        config=ValidateConfig(suite="folder", quarantine=quarantine),
        data=data,
        data_folder=folder,
        suites=SUITES,
        profile=profile,
        previous_profile=previous,
        out=out,
    )
    return out


def test_the_real_digits_pass(digits: pd.DataFrame) -> None:
    verdict = validate(digits, DIGITS, SUITES, None)
    assert not verdict.failed, verdict.message()
    assert {outcome.expectation.id for outcome in verdict.outcomes if not outcome.checked} == {"drift"}
    assert len(verdict.outcomes) == len(load_suites(SUITES, "digits")[1])


@pytest.mark.parametrize(
    ("spoil", "failing"),
    [
        (lambda rows: rows.iloc[:-1], {"rows"}),
        (lambda rows: rows.assign(width=rows["width"].where(rows["index"] != 7, 27)), {"width"}),
        (lambda rows: rows.assign(mode="RGB"), {"mode"}),
        (lambda rows: rows.assign(label=rows["label"].where(rows["label"] != "3", "8")), {"labels", "balance"}),
        (lambda rows: rows.assign(label=rows["label"].where(rows["index"] != 7)), {"labelled"}),
        (lambda rows: rows.assign(std=rows["std"].where(rows["index"] != 7, 0.5)), {"contrast"}),
        (lambda rows: rows.assign(constant=rows["index"] == 7), {"not_constant"}),
        (lambda rows: rows.assign(mean=rows["mean"] + 5), {"brightness"}),
        (lambda rows: rows.assign(error=rows["error"].where(rows["index"] != 7, "cut")), {"decodable"}),
        (lambda rows: rows.assign(leak_of=rows["leak_of"].where(rows["index"] != 7, 8)), {"no_leak"}),
        (lambda rows: rows.assign(duplicate_of=rows["duplicate_of"].where(rows["index"] != 7, 6)), {"no_duplicates"}),
        (lambda rows: rows.assign(split="test"), {"train_not_empty"}),
        (lambda rows: rows.assign(split=rows["split"].where(rows["index"] != 7, "other")), {"splits"}),
    ],
)
def test_every_fault_is_found_by_its_expectation(digits: pd.DataFrame, spoil, failing: set[str]) -> None:
    verdict = validate(spoil(digits), DIGITS, SUITES, None)
    assert {outcome.expectation.id for outcome in verdict.outcomes if outcome.refuses} == failing
    faults = {outcome.expectation.id: outcome.rows for outcome in verdict.outcomes if outcome.refuses}
    for identity in faults.keys() & {"width", "labelled", "contrast", "not_constant", "decodable", "no_leak"}:
        assert faults[identity] == (7,)


def test_good_pictures_pass_and_write_the_three_files(source: Path) -> None:
    out = run(source)
    assert sorted(path.name for path in out.iterdir()) == ["quarantine.csv", "report.html", "result.json"]
    assert (out / "quarantine.csv").read_text() == "index,file,item,reasons\n"
    result = json.loads((out / "result.json").read_text())
    assert result["success"] and result["drift"] is None and result["rows"] == 30


def test_a_planted_leak_is_refused_by_name(source: Path) -> None:
    shutil.copy(source / "test/dog/03.png", source / "train/cat/planted.png")
    with pytest.raises(GateError, match=r"train/cat/planted\.png: is an exact copy of the test image test/dog/03\.png"):
        run(source)
    refused = (source.parent / "out" / "refused.csv").read_text().splitlines()
    assert len(refused) == 2 and "train/cat/planted.png" in refused[1]
    assert "planted.png" in (source.parent / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("black", "is one flat colour"),
        ("broken", "cannot be decoded: "),
        ("copy", "is an exact copy of train/cat/00.png"),
    ],
)
def test_unusable_pictures_are_refused_by_name(source: Path, content: str, reason: str) -> None:
    path = source / "train" / "dog" / "zz.png"
    if content == "black":
        Image.new("RGB", (16, 16)).save(path)
    elif content == "broken":
        path.write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    else:
        shutil.copy(source / "train/cat/00.png", path)
    with pytest.raises(GateError, match=f"train/dog/zz.png: {reason}"):
        run(source)


def test_a_nearly_black_jpeg_is_refused(source: Path) -> None:
    noise = np.zeros((16, 16), np.uint8)
    noise[:2, :2] = 6
    Image.fromarray(noise).save(source / "train" / "cat" / "dark.jpg", quality=100)
    with pytest.raises(GateError, match=r"train/cat/dark\.jpg: has nearly no contrast"):
        run(source)


def test_a_label_that_training_never_sees_is_refused(source: Path) -> None:
    (source / "test" / "cat").rename(source / "test" / "eel")
    with pytest.raises(GateError, match="Every label has training images: 1 of 3 rows at fault: eel"):
        run(source)


def test_a_share_of_bad_rows_is_set_aside_and_no_more(source: Path) -> None:
    Image.new("RGB", (16, 16)).save(source / "train" / "cat" / "black.png")
    out = run(source, quarantine=1 / 31)
    assert "train/cat/black.png" in (out / "quarantine.csv").read_text().splitlines()[1]
    assert not (out / "refused.csv").exists()
    Image.new("RGB", (16, 16), "red").save(source / "train" / "cat" / "red.png")
    with pytest.raises(GateError, match="2 rows fail, more than the 1 that may be set aside"):
        run(source, quarantine=1 / 32)
    assert (out / "quarantine.csv").read_text() == "index,file,item,reasons\n"


def test_drift_against_the_previous_version_is_refused_and_shown(source: Path, digits: pd.DataFrame) -> None:
    with pytest.raises(
        GateError, match="distributed as in the previous version: 4 of 4 rows at fault: mean, std, entropy, label"
    ):
        run(source, previous=profile_of(digits))
    page = (source.parent / "out" / "report.html").read_text()
    assert "drifted" in page and "<polyline" in page


def test_an_unchanged_version_does_not_drift(digits: pd.DataFrame) -> None:
    verdict = validate(digits, DIGITS, SUITES, profile_of(digits))
    assert not verdict.failed
    assert verdict.drift is not None and verdict.drift["psi"].max() == 0
    assert all(outcome.checked for outcome in verdict.outcomes)


def suite_with(tmp_path: Path, **changes: object) -> Path:
    shutil.copy(SUITES / "common.json", tmp_path / "common.json")
    meta = {"title": "t"}
    entry = {"id": "mine", "type": "expect_column_values_to_be_null", "kwargs": {"column": "label"}, "meta": meta}
    document = {"title": "mine", "expectations": [{**entry, **changes}]}
    (tmp_path / "mine.json").write_text(json.dumps(document))
    return tmp_path


@pytest.mark.parametrize(
    "changes",
    [
        {"kwargs": {"column": "nosuch"}},
        {"kwargs": {"colum": "error"}},
        {"type": "expect_nosuch_thing"},
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "file", "min_value": 3}},
    ],
)
def test_an_expectation_that_cannot_be_judged_fails_closed(
    digits: pd.DataFrame, tmp_path: Path, changes: dict[str, object]
) -> None:
    validate(digits[:50], ValidateConfig(suite="mine"), suite_with(tmp_path), None)
    with pytest.raises(GateError, match=r"could not (be )?judged?"):
        validate(digits[:50], ValidateConfig(suite="mine"), suite_with(tmp_path, **changes), None)


def test_an_exception_inside_great_expectations_fails_closed(digits: pd.DataFrame, monkeypatch) -> None:
    from great_expectations.datasource.fluent.interfaces import Batch

    def fail(*args: object, **settings: object) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(Batch, "validate", fail)
    with pytest.raises(GateError, match="RuntimeError: out of order"):
        validate(digits[:50], DIGITS, SUITES, None)


def test_a_result_that_leaves_out_an_expectation_fails_closed(digits: pd.DataFrame, monkeypatch) -> None:
    from great_expectations.datasource.fluent.interfaces import Batch

    whole = Batch.validate

    def forgetful(self: Batch, *args: object, **settings: object) -> object:
        result = whole(self, *args, **settings)
        result.results.pop()
        return result

    monkeypatch.setattr(Batch, "validate", forgetful)
    with pytest.raises(GateError):
        validate(digits, DIGITS, SUITES, None)


class References(HTMLParser):
    """Every attribute of a page that can make a browser load something, and the tags that are there."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.found += [value or "" for name, value in attributes if name in ("src", "href", "srcset", "action")]


def test_the_report_loads_nothing_and_shows_the_pictures(source: Path) -> None:
    hostile = source / "train" / "cat" / "<script>alert(1)<" / "x.png"
    hostile.parent.mkdir()
    shutil.copy(source / "test/dog/03.png", hostile)
    with pytest.raises(GateError):
        run(source)
    page = (source.parent / "out" / "report.html").read_text()
    references = References()
    references.feed(page)
    assert references.found and all(each.startswith("data:image/png;base64,") for each in references.found)
    assert "script" not in references.tags and {"svg", "table", "img"} <= references.tags
    assert not re.search(r"url\(|@import|https?://", page)
    assert str(source.parent) not in page


def test_equal_data_gives_equal_results(source: Path) -> None:
    trees = [sha256_tree(run(source)) for _ in range(2)]
    assert trees[0] == trees[1]
    assert str(source.parent) not in (source.parent / "out" / "result.json").read_text()


def test_importing_the_module_does_not_import_great_expectations() -> None:
    import subprocess
    import sys

    code = "import sys, ganline.integrations.expectations as e; sys.exit('great_expectations' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
