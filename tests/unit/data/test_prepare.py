"""Prepared arrays: cropped, resized, recoloured, deterministic, and only of rows that passed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ganline.data.config import DataConfig, ManifestConfig, PrepareConfig
from ganline.data.fetching import fetch
from ganline.data.loader import Prepared
from ganline.data.manifest import build_manifest
from ganline.data.prepare import check_usable, fit, prepare, read_quarantine
from ganline.data.sources import ImageFolder
from ganline.errors import DataError
from ganline.files import read_json, sha256_tree

CONFIG = PrepareConfig(resolution=16, channels=3)


def test_an_image_of_the_right_size_stays_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (28, 28, 1), dtype=np.uint8)
    np.testing.assert_array_equal(fit(image, resolution=28, channels=1), image.transpose(2, 0, 1))


def test_grey_becomes_three_equal_channels_and_colour_its_luma() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (8, 8, 1), dtype=np.uint8)
    np.testing.assert_array_equal(fit(grey, resolution=8, channels=3), np.repeat(grey.transpose(2, 0, 1), 3, axis=0))
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    assert fit(red, resolution=8, channels=1).tolist() == [[[76] * 8] * 8]  # 0.299 * 255


@pytest.mark.parametrize("turned", [False, True])
def test_the_centre_square_is_kept(turned: bool) -> None:
    image = np.zeros((8, 20, 3), np.uint8)
    image[:, 6:14] = 255
    image = image.transpose(1, 0, 2) if turned else image
    assert fit(image, resolution=8, channels=3).min() == 255


def test_shrinking_does_not_alias() -> None:
    board = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)[..., None]
    small = fit(board, resolution=16, channels=1).astype(float)
    assert abs(small.mean() - 127.5) < 1 and small.std() < 6


@pytest.fixture
def digits_rows(digits: DataConfig, digits_folder: Path) -> pd.DataFrame:
    return build_manifest(digits, ManifestConfig(), digits_folder)[0]


def test_digits_keep_their_pixels_and_labels(
    digits: DataConfig, digits_folder: Path, digits_rows: pd.DataFrame, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    counts = prepare(digits, digits_rows, [], PrepareConfig(resolution=28, channels=1), digits_folder, out)
    raw = np.fromfile(digits_folder / "digits-images-idx3-ubyte", np.uint8, offset=16).reshape(-1, 1, 28, 28)
    prepared = Prepared(out)
    assert prepared.labels == tuple("0123456789") and sum(counts.values()) == 5000
    for split, count in counts.items():
        rows = digits_rows[digits_rows["split"] == split]
        arrays = prepared.split(split)
        assert len(arrays) == count and isinstance(arrays.images, np.memmap)
        np.testing.assert_array_equal(arrays.images, raw[rows["index"]])
        assert arrays.labels.dtype == np.int64 and arrays.labels.tolist() == rows["label"].astype(int).tolist()


def test_quarantined_and_unreadable_rows_never_reach_the_arrays(
    folder_config: DataConfig, pictures: Path, tmp_path: Path
) -> None:
    (pictures / "cat" / "00.png").write_bytes(b"broken")
    (pictures / "eel").mkdir()
    Image.new("L", (16, 16)).save(pictures / "eel" / "black.png")
    fetch(folder_config, tmp_path / "data")
    rows, _ = build_manifest(folder_config, ManifestConfig(validation_share=0, test_share=0), tmp_path / "data")
    black = int(rows.set_index("file").loc["eel/black.png", "index"])
    (tmp_path / "quarantine.csv").write_text(f"index,file,item,reasons\n{black},eel/black.png,0,flat\n")
    quarantined = read_quarantine(tmp_path / "quarantine.csv")
    assert quarantined == [black]
    counts = prepare(folder_config, rows, quarantined, CONFIG, tmp_path / "data", tmp_path / "out")
    assert counts == {"train": 39, "val": 0, "test": 0}
    images = np.load(tmp_path / "out" / "train_images.npy", mmap_mode="r")
    assert images.shape == (39, 3, 16, 16) and images.reshape(39, -1).max(1).min() > 0
    meta = read_json(tmp_path / "out" / "dataset.json")
    assert meta["labels"] == ["cat", "dog"] and meta["set_aside"] == 2
    assert np.load(tmp_path / "out" / "test_images.npy", mmap_mode="r").shape == (0, 3, 16, 16)


def test_images_without_a_label_are_marked(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    for number in range(4):
        Image.new("L", (16, 16), 60 * number).save(tmp_path / "source" / f"{number}.png")
    config = DataConfig(source=ImageFolder(path=tmp_path / "source"))
    fetch(config, tmp_path / "data")
    rows, _ = build_manifest(config, ManifestConfig(validation_share=0, test_share=0), tmp_path / "data")
    prepare(config, rows, [], CONFIG, tmp_path / "data", tmp_path / "out")
    assert np.load(tmp_path / "out" / "train_labels.npy").tolist() == [-1] * 4
    assert read_json(tmp_path / "out" / "dataset.json")["labels"] == []


def test_two_runs_give_equal_bytes(folder_config: DataConfig, tmp_path: Path) -> None:
    fetch(folder_config, tmp_path / "data")
    rows, _ = build_manifest(folder_config, ManifestConfig(), tmp_path / "data")
    for name in ("one", "two"):
        prepare(folder_config, rows, [], CONFIG, tmp_path / "data", tmp_path / name)
    assert sha256_tree(tmp_path / "one") == sha256_tree(tmp_path / "two")


def test_data_that_changed_after_the_manifest_is_refused(folder_config: DataConfig, tmp_path: Path) -> None:
    fetch(folder_config, tmp_path / "data")
    rows, _ = build_manifest(folder_config, ManifestConfig(), tmp_path / "data")
    Image.new("RGB", (32, 32)).save(tmp_path / "data" / "cat" / "00.png")
    with pytest.raises(DataError, match=r"cat/00\.png"):
        prepare(folder_config, rows, [], CONFIG, tmp_path / "data", tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.npy"))


def test_nothing_to_train_on_is_refused(folder_config: DataConfig, tmp_path: Path) -> None:
    fetch(folder_config, tmp_path / "data")
    rows, _ = build_manifest(folder_config, ManifestConfig(), tmp_path / "data")
    with pytest.raises(DataError, match="no training images"):
        prepare(folder_config, rows, rows["index"].tolist(), CONFIG, tmp_path / "data", tmp_path / "out")


def manifest_rows(splits: list[str], labels: list[str | None]) -> pd.DataFrame:
    names = [f"{i}.png" for i in range(len(splits))]
    return pd.DataFrame({"index": range(len(splits)), "file": names, "split": splits, "label": labels})


def test_splits_too_small_to_train_or_measure_are_refused() -> None:
    rows = manifest_rows(["train"] * 5 + ["val", "test"], [None] * 7)
    with pytest.raises(DataError, match="test 1 of 7"):
        check_usable(rows, [])
    check_usable(manifest_rows(["train"] * 5 + ["val", "test", "test"], [None] * 8), [])


def test_images_of_which_only_some_have_labels_are_refused_by_name() -> None:
    splits = ["train", "train", "val", "test", "test"]
    with pytest.raises(DataError, match=r"1 of 5 images have no label: 1\.png"):
        check_usable(manifest_rows(splits, ["a", None, "a", "b", "a"]), [])
    check_usable(manifest_rows([*splits, "train"], ["a", "b", "a", "b", "a", None]), [5])
