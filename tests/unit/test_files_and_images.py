"""Atomic writes and pixel conversions."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from ganline.files import atomic_folder, atomic_path, read_json, sha256_tree, write_json
from ganline.images import enlarge, grid, png_bytes, to_network, to_pixels


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})
    with pytest.raises(RuntimeError), atomic_path(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert read_json(path) == {"x": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_folder_leaves_the_old_folder(tmp_path) -> None:
    folder = tmp_path / "out"
    with atomic_folder(folder) as partial:
        (partial / "a").write_text("old")
    with pytest.raises(RuntimeError), atomic_folder(folder) as partial:
        (partial / "a").write_text("new")
        raise RuntimeError
    assert (folder / "a").read_text() == "old"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_trees_hash_sees_names_and_bytes(tmp_path) -> None:
    (tmp_path / "a").write_text("1")
    first = sha256_tree(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert sha256_tree(tmp_path) != first


def test_pixels_survive_the_way_to_the_network_and_back() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    values = to_network(pixels)
    assert (values.min(), values.max()) == (-1.0, 1.0)
    assert torch.equal(to_pixels(values), pixels)


def test_values_out_of_range_are_clamped() -> None:
    assert to_pixels(torch.tensor([-3.0, 3.0]).view(1, 1, 1, 2)).flatten().tolist() == [0, 255]


def test_a_grid_holds_every_image_in_order() -> None:
    images = np.stack([np.full((1, 4, 4), i, dtype=np.uint8) for i in range(5)])
    sheet = grid(images, columns=3, padding=1)
    assert sheet.shape == (1, 2 * 5 + 1, 3 * 5 + 1)
    assert [sheet[0, 2, 2 + 5 * i] for i in range(3)] == [0, 1, 2]
    assert sheet[0, 7, 2] == 3
    assert sheet[0, 7, 12] == 255  # an empty place keeps the background


def test_enlarging_repeats_pixels() -> None:
    assert enlarge(np.array([[[1, 2]]], dtype=np.uint8), 2).tolist() == [[[1, 1, 2, 2], [1, 1, 2, 2]]]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_is_lossless_and_the_same_every_time(channels) -> None:
    image = np.random.default_rng(0).integers(0, 256, (channels, 9, 7), dtype=np.uint8)
    content = png_bytes(image)
    assert content == png_bytes(image)
    back = np.asarray(Image.open(io.BytesIO(content)))
    assert np.array_equal(back if channels == 1 else back.transpose(2, 0, 1), image[0] if channels == 1 else image)
