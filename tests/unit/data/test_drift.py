"""Drift: the index against its formula, its noise law against simulation, and real shifts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ganline.data.config import DataConfig, ManifestConfig
from ganline.data.drift import drift_table, noise, psi
from ganline.data.manifest import build_manifest
from ganline.data.profile import bin_counts, profile_of


def test_psi_of_equal_histograms_is_zero_and_it_is_symmetric() -> None:
    assert psi([5, 10, 85], [5, 10, 85]) == 0
    assert psi([50, 50], [90, 10]) == pytest.approx(psi([90, 10], [50, 50]))


def test_psi_follows_its_formula() -> None:
    large = 10**9  # where the added half counts vanish
    expected = (0.8 - 0.5) * np.log(0.8 / 0.5) + (0.2 - 0.5) * np.log(0.2 / 0.5)
    assert psi([5 * large, 5 * large], [8 * large, 2 * large]) == pytest.approx(expected, rel=1e-6)


def test_an_empty_bin_gives_a_finite_index() -> None:
    assert np.isfinite(psi([100, 0], [0, 100]))


def test_the_noise_law_holds_for_samples_of_one_distribution() -> None:
    rng = np.random.default_rng(0)
    draws = rng.multinomial(400, [0.1] * 10, size=(2, 4000))
    exceed = np.mean([psi(a.tolist(), b.tolist()) > noise(bins=10, n=400, m=400) for a, b in zip(*draws, strict=True)])
    assert exceed < 0.004


def test_bins_are_open_at_both_ends() -> None:
    assert bin_counts(np.array([-5.0, 1.0, 1.5, 99.0]), [1.0, 2.0]) == [2, 1, 1]


@pytest.fixture(scope="module")
def rows(_digits_once: Path, digits: DataConfig) -> pd.DataFrame:
    return build_manifest(digits, ManifestConfig(), _digits_once)[0]


def drifted(rows: pd.DataFrame, previous: pd.DataFrame) -> set[str]:
    table = drift_table(rows, profile_of(previous), threshold=0.2)
    return set(table.loc[table["psi"] > table["limit"], "feature"])


def test_halves_of_one_data_set_do_not_drift(rows: pd.DataFrame) -> None:
    assert drifted(rows[::2], rows[1::2]) == set()
    assert drifted(rows[::100], rows[1::100]) == set()  # 50 against 50: only the noise law keeps this quiet


def test_the_same_version_has_no_drift_at_all(rows: pd.DataFrame) -> None:
    assert drift_table(rows, profile_of(rows), threshold=0.2)["psi"].tolist() == [0, 0, 0, 0]


def test_a_shift_of_brightness_and_a_lost_label_are_seen(rows: pd.DataFrame) -> None:
    assert drifted(rows.assign(mean=rows["mean"] + 12), rows) == {"mean"}
    assert "label" in drifted(rows[~rows["label"].isin(["3", "4", "5"])], rows)


def test_a_profile_counts_every_row(rows: pd.DataFrame) -> None:
    profile = profile_of(rows)
    assert profile["all"]["rows"] == sum(split["rows"] for split in profile["splits"].values()) == 5000
    for feature in profile["all"]["features"].values():
        assert sum(feature["histogram"]) == sum(feature["edge_counts"]) == 5000
