"""The manifest: statistics against their definitions, splits by content, copies, errors as rows, equal bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from PIL import Image

from ganline.data.config import DataConfig, ManifestConfig
from ganline.data.fetching import fetch
from ganline.data.manifest import build_manifest, read_manifest, write_manifest
from ganline.data.reading import read
from ganline.data.sources import ImageFolder
from ganline.data.statistics import describe, histograms, pixel_hash
from ganline.errors import DataError

CONFIG = ManifestConfig(validation_share=0.1, test_share=0.2)


def test_statistics_follow_their_definitions() -> None:
    images = np.random.default_rng(0).integers(0, 200, (7, 6, 5, 3), dtype=np.uint8)
    images[3] = 9
    images[4] = (200, 0, 0)  # one colour, though not one value
    found = describe(images)
    flat = images.reshape(7, -1)
    np.testing.assert_allclose(found["mean"], flat.mean(1), atol=1e-6)
    np.testing.assert_allclose(found["std"], flat.std(1), atol=1e-6)
    np.testing.assert_array_equal(found["min"], flat.min(1))
    np.testing.assert_array_equal(found["max"], flat.max(1))
    shares = np.stack([np.bincount(row, minlength=256) for row in flat])
    np.testing.assert_allclose(found["entropy"], scipy.stats.entropy(shares, base=2, axis=1), atol=1e-6)
    assert found["constant"].tolist() == [False, False, False, True, True, False, False]


def test_large_images_are_counted_in_pieces() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 2100, 2100, 1), dtype=np.uint8)
    np.testing.assert_array_equal(histograms(image)[0], np.bincount(image.ravel(), minlength=256))


def test_the_pixel_hash_knows_the_shape() -> None:
    image = np.zeros((2, 8, 1), np.uint8)
    assert pixel_hash(image) == pixel_hash(image.copy())
    assert pixel_hash(image) != pixel_hash(image.reshape(4, 4, 1))


@pytest.fixture
def manifest(digits: DataConfig, digits_folder: Path) -> pd.DataFrame:
    return build_manifest(digits, CONFIG, digits_folder)[0]


def test_digits_give_a_row_an_image(digits: DataConfig, digits_folder: Path, manifest: pd.DataFrame) -> None:
    assert manifest["index"].tolist() == list(range(5000))
    assert manifest["label"].value_counts().to_dict() == {str(digit): 500 for digit in range(10)}
    image = next(iter(read(digits, digits_folder)))[17]
    row = manifest.loc[17]
    assert (row["file"], row["item"], row["width"], row["height"], row["mode"]) == (image.file, 17, 28, 28, "L")
    assert row["sha256"] == pixel_hash(image.pixels) and row["mean"] == pytest.approx(image.pixels.mean(), abs=1e-6)
    assert not manifest[["error", "duplicate_of", "leak_of"]].notna().any().any()


def test_shares_are_kept_and_splits_depend_on_content_alone(
    digits: DataConfig, digits_folder: Path, manifest: pd.DataFrame
) -> None:
    counts = manifest["split"].value_counts()
    assert counts["test"] / 5000 == pytest.approx(0.2, abs=0.02)
    assert counts["val"] / (counts["val"] + counts["train"]) == pytest.approx(0.1, abs=0.02)
    other = build_manifest(digits, ManifestConfig(validation_share=0.5, test_share=0.2), digits_folder)[0]
    pd.testing.assert_series_equal(other["split"] == "test", manifest["split"] == "test")
    assert set(other.loc[manifest["split"] == "val", "split"]) == {"val"}


def test_added_files_move_no_other_row(folder_config: DataConfig, pictures: Path, tmp_path: Path) -> None:
    fetch(folder_config, tmp_path / "data")
    before = build_manifest(folder_config, CONFIG, tmp_path / "data")[0].set_index("file")
    for number in range(5):
        Image.new("L", (20, 20), number).save(pictures / "cat" / f"0-{number}.png")
    fetch(folder_config, tmp_path / "data", accept=True)
    after = build_manifest(folder_config, CONFIG, tmp_path / "data")[0].set_index("file")
    assert len(after) == 45 and set(before["split"]) == {"train", "val", "test"}
    pd.testing.assert_series_equal(after.loc[before.index, "split"], before["split"])


@pytest.fixture
def split_folder(tmp_path: Path) -> DataConfig:
    """train/ and test/ with copies within train, within test, and from test in train; one unreadable, one black."""
    rng = np.random.default_rng(1)
    images = [Image.fromarray(rng.integers(0, 256, (12, 12), dtype=np.uint8)) for _ in range(8)]
    names = {
        "test/a/0.png": 0,
        "test/a/1.png": 1,
        "test/a/1-again.png": 1,
        "train/a/2.png": 2,
        "train/a/3.png": 3,
        "train/b/2-again.png": 2,
        "train/b/leak.png": 1,
    }
    for name, number in names.items():
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        images[number].save(path)
    (tmp_path / "source" / "train" / "a" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    Image.new("L", (12, 12)).save(tmp_path / "source" / "train" / "a" / "black.png")
    config = DataConfig(source=ImageFolder(path=tmp_path / "source"))
    fetch(config, tmp_path / "data")
    return config


def test_copies_leaks_errors_and_constants_are_rows(split_folder: DataConfig, tmp_path: Path) -> None:
    rows, profile = build_manifest(split_folder, ManifestConfig(validation_share=0), tmp_path / "data")
    by_file = rows.set_index("file")
    index = by_file["index"]
    assert by_file.loc["test/a/1.png", "duplicate_of"] == index["test/a/1-again.png"]  # sorted before it
    assert by_file.loc["train/b/2-again.png", "duplicate_of"] == index["train/a/2.png"]
    assert by_file.loc["train/b/leak.png", "leak_of"] == index["test/a/1-again.png"]
    assert by_file["duplicate_of"].notna().sum() == 2 and by_file["leak_of"].notna().sum() == 1
    broken = by_file.loc["train/a/broken.png"]
    assert broken["error"] and broken["split"] == "train"
    assert broken[["sha256", "width", "height", "mode", "mean", "min"]].isna().all()
    assert by_file["constant"].sum() == 1 and by_file.loc["train/a/black.png", "constant"]
    assert profile["all"]["errors"] == 1 and profile["splits"]["test"]["rows"] == 3


def test_a_folder_of_which_nothing_can_be_decoded_is_rows_of_errors(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    for number in range(3):
        (tmp_path / "source" / f"{number}.png").write_text("no picture")
    config = DataConfig(source=ImageFolder(path=tmp_path / "source"))
    fetch(config, tmp_path / "data")
    rows, profile = build_manifest(config, CONFIG, tmp_path / "data")
    assert rows["error"].notna().all() and (rows["split"] == "train").all()
    assert profile["all"]["errors"] == 3
    write_manifest(rows, tmp_path / "manifest.parquet")
    assert len(read_manifest(tmp_path / "manifest.parquet")) == 3


def test_equal_images_share_a_split_where_it_is_drawn(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for number in range(30):
        for label in ("a", "b"):
            (tmp_path / "source" / label).mkdir(parents=True, exist_ok=True)
            image = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(image).save(tmp_path / "source" / label / f"{number}-{rng.integers(99)}.png")
    config = DataConfig(source=ImageFolder(path=tmp_path / "source"))
    fetch(config, tmp_path / "data")
    rows, _ = build_manifest(config, CONFIG, tmp_path / "data")
    assert (rows.groupby("sha256")["split"].nunique() == 1).all() and rows["leak_of"].isna().all()
    assert rows["duplicate_of"].notna().sum() == 30


def test_equal_data_gives_equal_bytes_and_reads_back_the_same(split_folder: DataConfig, tmp_path: Path) -> None:
    written = []
    for name in ("one.parquet", "two.parquet"):
        rows, profile = build_manifest(split_folder, CONFIG, tmp_path / "data")
        write_manifest(rows, tmp_path / name)
        written.append(((tmp_path / name).read_bytes(), profile))
        pd.testing.assert_frame_equal(read_manifest(tmp_path / name), rows)
    assert written[0] == written[1]


def test_a_flipped_byte_stops_the_manifest(digits: DataConfig, digits_folder: Path) -> None:
    path = digits_folder / "digits-labels-idx1-ubyte"
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged: digits-labels"):
        build_manifest(digits, CONFIG, digits_folder)
