"""The generator's face: deterministic images, labels by name, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ganline
from ganline.errors import BundleError, ConfigError, GanlineError
from ganline.images import grid
from ganline.serving.generate import Generator, find_label, save_images

LABELS = ("T-shirt/top", "Trouser", "Ankle boot", "1")


@pytest.fixture
def generator(make_bundle) -> Generator:
    return Generator.from_folder(make_bundle())


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_uint8_of_the_models_size(make_bundle, channels):
    images = ganline.load(str(make_bundle(channels=channels))).sample(5)
    assert (images.shape, images.dtype) == ((5, channels, 8, 8), np.uint8)
    assert images.std() > 0


def test_an_image_depends_on_seed_and_index_alone_not_on_n(generator):
    few, many = generator.sample(3, seed=7), generator.sample(130, seed=7)
    assert np.array_equal(few, many[:3])
    assert np.array_equal(generator.sample(130, seed=7), many)
    assert not np.array_equal(generator.sample(3, seed=8), few)
    assert not np.array_equal(many[0], many[64])


def test_the_command_line_gives_the_images_that_python_gets_for_every_n(make_bundle, tmp_path):
    from typer.testing import CliRunner

    from ganline.cli import app

    folder = make_bundle()
    expected = ganline.load(str(folder)).sample(70, seed=5, label="square")
    for n in (1, 13, 70):
        command = ["generate", "--model", str(folder), "--n", str(n), "--seed", "5", "--label", "square"]
        result = CliRunner().invoke(app, [*command, "-o", str(tmp_path / f"{n}.npz")])
        assert result.exit_code == 0, result.output
        with np.load(tmp_path / f"{n}.npz") as arrays:
            assert np.array_equal(arrays["images"], expected[:n])


def test_loading_again_gives_the_same_images(make_bundle):
    folder = make_bundle()
    assert np.array_equal(ganline.load(str(folder)).sample(4), ganline.load(str(folder)).sample(4))


def test_a_label_fixes_the_class_and_only_that(generator):
    images, classes = generator.sample_with_labels(70, label="square")
    assert classes.tolist() == [1] * 70
    assert np.array_equal(images, generator.sample(70, label=1))
    assert not np.array_equal(images, generator.sample(70, label="circle"))
    _, drawn = generator.sample_with_labels(70)
    assert set(drawn.tolist()) == {0, 1, 2}


def test_an_unconditional_model_has_no_labels_and_takes_none(make_bundle):
    generator = Generator.from_folder(make_bundle(conditional=False))
    images, classes = generator.sample_with_labels(2)
    assert (len(images), classes, generator.labels) == (2, None, ())
    with pytest.raises(ConfigError, match="unconditional"):
        generator.sample(1, label="circle")


def test_truncation_makes_images_more_alike(generator):
    def spread(truncation: float) -> float:
        return float(generator.sample(64, label=0, truncation=truncation).astype(float).std(axis=0).mean())

    assert spread(0.1) < 0.5 * spread(1.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"n": 0},
        {"n": -1},
        {"truncation": 0.0},
        {"truncation": 1.01},
        {"truncation": float("nan")},
        {"label": "hexagon"},
        {"label": 3},
        {"label": -1},
        {"label": ""},
        {"seed": -1, "label": "99"},
    ],
)
def test_wrong_requests_are_refused_in_words(generator, wrong):
    with pytest.raises(ConfigError):
        generator.sample(**wrong)


@pytest.mark.parametrize("label", ["trouser", "TROUSER", "Trouser", "trou", 1, "2"])
def test_a_label_is_found_by_name_part_or_index(label):
    assert find_label(label, LABELS) == (2 if label == "2" else 1)


def test_a_label_that_is_a_number_is_a_name_first():
    assert find_label("1", LABELS) == 3
    assert find_label(1, LABELS) == 1


def test_an_ambiguous_part_is_refused_and_an_exact_name_is_not():
    with pytest.raises(ConfigError, match="'t'"):
        find_label("t", LABELS)
    assert find_label("circle", ("half circle", "circle")) == 1


def test_an_unknown_label_names_those_that_exist():
    with pytest.raises(ConfigError) as error:
        find_label("shoe", LABELS)
    assert "T-shirt/top, Trouser, Ankle boot" in str(error.value)


def test_files_hold_the_images(generator, tmp_path):
    images, labels = generator.sample_with_labels(5)
    assert "5 images" in save_images(images, labels, tmp_path / "grid.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "grid.png")), grid(images)[0])
    save_images(images, labels, tmp_path / "arrays.npz")
    with np.load(tmp_path / "arrays.npz", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["images"], images)
        assert np.array_equal(arrays["labels"], labels)
    save_images(images, labels, tmp_path / "folder")
    files = sorted((tmp_path / "folder").iterdir())
    assert [np.array_equal(np.asarray(Image.open(f)), image[0]) for f, image in zip(files, images, strict=True)] == [
        True
    ] * 5


def test_files_of_others_are_not_overwritten(generator, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="not an empty folder"):
        save_images(generator.sample(1), None, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    with pytest.raises(ConfigError, match="cannot write"):
        save_images(generator.sample(1), None, tmp_path / "picture.jpeg")


def test_a_picture_is_ready_to_be_shown(generator, make_bundle):
    assert generator.picture(4).ndim == 2
    assert Generator.from_folder(make_bundle(channels=3, name="colour")).picture(4).shape[2] == 3


def test_a_picture_has_the_columns_that_were_asked_for(generator):
    assert generator.picture(6, columns=6).shape == (2 + 10, 2 + 6 * 10)


NOTEBOOK = Path(__file__).parents[3] / "docs" / "notebooks" / "generate.ipynb"


def test_the_notebook_runs_and_shows_pictures(make_bundle, tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("GANLINE_NOTEBOOK_MODEL", str(make_bundle()))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 1 + 3 + 3
    assert "classes: circle, square, half circle" in str(outputs)


def test_the_notebook_is_kept_without_outputs():
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)


def test_loading_nothing_is_a_message_not_a_traceback(tmp_path):
    with pytest.raises(BundleError) as error:
        ganline.load(str(tmp_path / "nowhere"))
    assert isinstance(error.value, GanlineError)
