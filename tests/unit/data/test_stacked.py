"""Stacked-MNIST: a stack is fixed by (seed, split, number), made of its split's own digits, and named rightly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from ganline.data.archives import PublishedFile
from ganline.data.chain import MIRROR_VARIABLE
from ganline.data.checksums import verify
from ganline.data.config import DataConfig, ManifestConfig, PrepareConfig
from ganline.data.fetching import fetch
from ganline.data.loader import Prepared
from ganline.data.manifest import build_manifest
from ganline.data.prepare import prepare
from ganline.data.reading import read_rows
from ganline.data.sources import Mnist, StackedMnist
from ganline.data.sources.base import RawImage
from ganline.data.sources.idx import IdxSource, idx_bytes, read_idx
from ganline.data.sources.stacked import draw_parts
from ganline.data.suites import load_suites
from ganline.errors import DataError
from ganline.files import sha256_file

SUITES = Path(__file__).parents[3] / "expectations"
SIZES = {"train": 50, "test": 30}
TINY = StackedMnist(num_train=200, num_test=40)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """MNIST's four files with a few noise images: 50 of training and 30 of testing, every digit several times."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "raw"
    folder.mkdir()
    for (split, images, labels), count in zip(Mnist.pairs, SIZES.values(), strict=True):
        assert count == SIZES[str(split)]
        (folder / images.name).write_bytes(idx_bytes(rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)))
        (folder / labels.name).write_bytes(idx_bytes(np.arange(count, dtype=np.uint8) % 10))
    return folder


def rows(source: IdxSource, folder: Path) -> list[RawImage]:
    return [image for block in source.read(folder) for image in block]


def test_it_is_made_of_the_files_of_mnist() -> None:
    assert TINY.pinned == Mnist().pinned
    assert [provider.name for provider in TINY.providers()] == [provider.name for provider in Mnist().providers()]
    assert TINY.layout == Mnist().layout


def test_every_channel_is_a_digit_of_the_own_split_and_the_label_names_all_three(raw: Path) -> None:
    stacks = rows(TINY, raw)
    assert [stack.index for stack in stacks] == list(range(240))
    assert [stack.split for stack in stacks] == ["train"] * 200 + ["test"] * 40
    assert [(stack.item, stack.mode) for stack in stacks[199:201]] == [(199, "RGB"), (0, "RGB")]
    for split, images_file, labels_file in Mnist.pairs:
        digits, labels = read_idx(raw / images_file.name), read_idx(raw / labels_file.name)
        numbers = {digit.tobytes(): number for number, digit in enumerate(digits)}
        used = set()
        for stack in (stack for stack in stacks if stack.split == split):
            assert stack.pixels is not None and stack.pixels.shape == (28, 28, 3)
            parts = [numbers[stack.pixels[..., channel].tobytes()] for channel in range(3)]
            assert stack.label == "".join(str(labels[part]) for part in parts)
            used |= set(parts)
        assert len(used) > 0.8 * len(digits)


def test_a_stack_depends_on_seed_split_and_number_alone(raw: Path) -> None:
    few, many = draw_parts(0, 0, count=10, size=50), draw_parts(0, 0, count=1000, size=50)
    np.testing.assert_array_equal(few, many[:10])
    assert not np.array_equal(few, draw_parts(1, 0, count=10, size=50))
    assert not np.array_equal(few, draw_parts(0, 1, count=10, size=50))
    short, long = (rows(StackedMnist(num_train=count, num_test=5), raw) for count in (3, 90))
    for one, other in zip([*short[:3], *short[-5:]], [*long[:3], *long[-5:]], strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)


def test_what_is_drawn_never_changes() -> None:
    assert draw_parts(0, 0, count=2, size=60_000).tolist() == [[7259, 45458, 5049], [16803, 1725, 54167]]


def test_digits_are_drawn_uniformly_and_independently() -> None:
    parts = draw_parts(3, 0, count=100_000, size=10)
    modes = np.bincount(parts @ (100, 10, 1), minlength=1000)
    assert ((modes - 100) ** 2 / 100).sum() == pytest.approx(999, abs=200)  # chi-squared, standard deviation 45


def test_single_stacks_are_read_by_index(raw: Path) -> None:
    everything = rows(TINY, raw)
    chosen = read_rows(DataConfig(source=TINY), raw, [230, 7, 999])
    assert sorted(chosen) == [7, 230]
    for index, pixels in chosen.items():
        np.testing.assert_array_equal(pixels, everything[index].pixels)


def test_blocks_keep_the_order(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [(image.index, image.label) for image in rows(TINY, raw)]
    monkeypatch.setattr("ganline.data.sources.stacked.BLOCK_IMAGES", 64)
    blocks = list(TINY.read(raw))
    assert [len(block) for block in blocks] == [64, 64, 64, 8, 40]
    assert [(image.index, image.label) for block in blocks for image in block] == whole


def test_sizes_and_seeds_that_make_no_sense_are_refused() -> None:
    for wrong in ({"num_train": 0}, {"num_test": 0}, {"seed": -1}, {"num_val": 5}):
        with pytest.raises(ValidationError):
            StackedMnist.model_validate(wrong)


@pytest.fixture
def as_published(raw: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny files count as the published ones."""

    def of(file: PublishedFile) -> PublishedFile:
        path = raw / file.name
        return PublishedFile(file.name, sha256_file(path), path.stat().st_size)

    pairs = tuple((split, of(images), of(labels)) for split, images, labels in Mnist.pairs)
    monkeypatch.setattr(StackedMnist, "pairs", pairs)
    return raw


def test_from_a_mirror_to_arrays(as_published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MIRROR_VARIABLE, str(as_published))
    data, folder = DataConfig(source=TINY), tmp_path / "data"
    assert fetch(data, folder).changed and verify(data, folder) == TINY.pinned
    manifest, profile = build_manifest(data, ManifestConfig(validation_share=0.1), folder)
    assert profile["splits"]["test"]["rows"] == 40 and 0 < profile["splits"]["val"]["rows"] < 60
    assert not manifest[["error", "duplicate_of", "leak_of"]].notna().any().any()
    prepare(data, manifest, [], PrepareConfig(resolution=28, channels=3), folder, tmp_path / "out")
    prepared, stacks = Prepared(tmp_path / "out"), rows(TINY, folder)
    assert prepared.name == "stacked-mnist" and len(prepared.labels) == 1000
    split = prepared.split("test")
    assert [prepared.labels[label] for label in split.labels] == [stack.label for stack in stacks[200:]]
    np.testing.assert_array_equal(split.images[5].transpose(1, 2, 0), stacks[205].pixels)
    path = folder / TINY.files[1].name
    path.write_bytes(path.read_bytes()[:-1] + b"\x05")
    with pytest.raises(DataError, match="damaged: train-labels"):
        verify(data, folder)


def test_its_suite_loads_with_the_common_one() -> None:
    _, expectations = load_suites(SUITES, "stacked-mnist")
    by_id = {expectation.id: expectation for expectation in expectations}
    source = StackedMnist()
    assert by_id["rows"].kwargs["value"] == source.num_train + source.num_test
    assert by_id["test_rows"].kwargs["value"] == source.num_test
