"""What the last step would refuse, asked before the first: each rule alone, and all of them in one message."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ganline import preflight
from ganline.config import PARAMS, load_config, parse, read_yaml
from ganline.errors import ConfigError, GateError, RegistryError
from ganline.overlay import merge
from ganline.preflight import CHECKS, UNDECIDABLE, Facts, Registered, problems, require
from ganline.registry.kind import Kind, differences
from ganline.registry.ledger import Ledger

ROOT = Path(__file__).parents[2]
FASHION = read_yaml(ROOT / PARAMS)
PETS = Kind("folder", 64, 3, ("cat", "dog"))
FOLDER = merge(read_yaml(ROOT / "presets" / "folder.yaml"), {"data": {"source": {"path": "/photos/my pets"}}})
FOLDER_WORKSPACE = Path("/home/ann/ganline/.ganline/ws/folder-pets-64")


def config_of(*overlays: dict):
    content = FASHION
    for overlay in overlays:
        content = merge(content, overlay)
    return parse(content, source="a test")


def facts(change: dict | None = None, *, kind: Kind = PETS, champion: Kind | None = None, **known) -> Facts:
    """A run on a folder of pets; `champion` is version 3 of its name."""
    config = config_of(FOLDER, {"register": {"name": "ganline-pets"}}, change or {})
    registered = Registered(champion=3 if champion else None, champion_kind=champion)
    return Facts(config, FOLDER_WORKSPACE, kind, **({"registered": registered} | known))


def message(found: Facts) -> str:
    (error,) = problems(found)
    return str(error)


def test_a_run_that_makes_what_the_champion_makes_has_no_problem() -> None:
    assert problems(facts()) == []
    assert problems(facts(champion=PETS)) == []


@pytest.mark.parametrize(
    ("champion", "words"),
    [
        (replace(PETS, resolution=32), "64 px, not 32 px"),
        (replace(PETS, channels=1), "3 channels, not 1"),
        (replace(PETS, dataset="cifar10"), "data set folder, not cifar10"),
        (replace(PETS, labels=("cat", "dog", "fox")), "without classes: fox"),
        (replace(PETS, labels=("cat",)), "more classes: dog"),
        (replace(PETS, labels=("cat", "hound")), "more classes: dog; without classes: hound"),
        (replace(PETS, labels=("dog", "cat")), "the same classes in another order"),
        (replace(PETS, labels=()), "more classes: cat, dog"),
    ],
)
def test_another_kind_than_the_champion_s_is_refused_with_both_kinds_and_the_difference(champion, words) -> None:
    told = message(facts(champion=champion))
    assert words in told
    assert "this run makes folder, 64 px, RGB, classes cat, dog" in told
    assert f"the champion, ganline-pets version 3, makes {champion}" in told
    assert "--force" in told


@pytest.fixture
def anns(monkeypatch) -> None:
    """The state folder in which FOLDER_WORKSPACE is to be made, for the checkout around the present folder."""
    monkeypatch.setenv("GANLINE_HOME", str(FOLDER_WORKSPACE.parents[1]))
    monkeypatch.chdir(ROOT)


@pytest.mark.usefixtures("anns")
def test_the_remedy_is_a_command_that_can_be_typed() -> None:
    told = message(facts(champion=replace(PETS, resolution=32)))
    assert "make run DATA='/photos/my pets' RES=64 NAME=pets-64" in told
    assert "NAME=pets-2" in message(facts(champion=replace(PETS, labels=("cat", "fox"))))


@pytest.mark.parametrize(
    ("root", "file"),
    [
        ("/p", "params.yaml"),
        ("/p/.ganline/ws/mnist", "presets/mnist.yaml"),
        ("/p/.ganline/ws/refresh-mnist", "presets/mnist.yaml"),
        ("/p/.ganline/ws/refresh-default", "params.yaml"),
        ("/elsewhere/ws/mnist", "params.yaml"),
    ],
)
def test_elsewhere_the_remedy_names_the_file_that_holds_the_name(root, file, monkeypatch) -> None:
    monkeypatch.setenv("GANLINE_HOME", "/p/.ganline")
    monkeypatch.chdir(ROOT)
    found = replace(facts(champion=replace(PETS, resolution=32)), root=Path(root))
    assert f"such as register.name: ganline-pets-64, in {file}" in message(found)


def test_classes_that_are_not_known_yet_are_not_compared() -> None:
    assert differences(replace(PETS, labels=None), PETS) == []
    assert differences(replace(PETS, labels=None, channels=1), PETS) == ["1 channels, not 3"]


def test_many_classes_are_told_by_the_first_few() -> None:
    many = Kind("stacked-mnist", 28, 3, tuple(f"{i:03d}" for i in range(1000)))
    assert str(many).endswith("007 … (1000 in all)")


UNLABELLED = {"kind": replace(PETS, labels=())}
COUNTED = {"counts": {"train": 300, "val": 30, "test": 50}}


@pytest.mark.parametrize(
    ("change", "known", "words"),
    [
        ({"reference": {"split": "val"}}, {}, "reference.split is val"),
        ({"promotion": {"n": 3000}}, {}, "promotion.n is 3000, but the reference holds 2000"),
        ({"promotion": {"n": 60}}, COUNTED, "promotion.n is 60, but the reference holds 50"),
        ({"evaluate": {"n": 3000}}, {}, "evaluate.n is 3000"),
        ({"evaluate": {"n": 60}}, COUNTED, "the test split has 50"),
        ({}, {"counts": {"train": 300, "val": 3, "test": 5}}, "the reference would hold 5 images"),
        ({"evaluate": {"modes_n": 100}, "extractor": {"task": "rotation"}}, {}, "tells no classes apart"),
        ({"evaluate": {"modes_n": 100}}, UNLABELLED, "tells no classes apart"),
        ({"evaluate": {"modes_n": 100}}, {"empty_classes": 2}, "2 classes have no training image"),
        (
            {"reference": {"pretrained": [{"name": "inception2015", "weights": "no.pth", "sha256": "0" * 64}]}},
            {},
            "no.pth",
        ),
        ({"promotion": {"floors": {"label_accuracy_min": 0.5}}}, UNLABELLED, "promotion.floors.label_accuracy_min"),
        ({"promotion": {"floors": {"class_coverage_min": 0.5}}}, UNLABELLED, "promotion.floors.class_coverage_min"),
        ({"promotion": {"floors": {"class_coverage_min": 0.5}}, "extractor": {"task": "rotation"}}, {}, "no classes"),
        (
            {"promotion": {"floors": {"label_accuracy_min": 0.5}}, "train": {"model": {"class_conditional": False}}},
            {},
            "generated images carry no class",
        ),
        ({"promotion": {"floors": {"modes_min": 2}}}, {}, "evaluate.modes_n is null"),
        ({"promotion": {"floors": {"modes_min": 3}}, "evaluate": {"modes_n": 99}}, {}, "have 2 modes at most"),
        ({"promotion": {"floors": {"c_t_min": -3.0}}, "evaluate": {"memorisation_n": 9}}, {}, "C_T needs 20 images"),
        (
            {"promotion": {"floors": {"class_coverage_min": 0.9}}, "evaluate": {"n": 16}},
            {"kind": replace(PETS, labels=tuple("abcdefghijklmnopqrst"))},
            "16 images a seed cannot show 0.9 of 20 classes",
        ),
        (
            {"promotion": {"guards": {"class_coverage_drop_max": 0.0}}},
            UNLABELLED | {"registered": Registered(champion=3, champion_kind=replace(PETS, labels=()))},
            "promotion.guards.class_coverage_drop_max",
        ),
        ({}, {"registered": Registered(Ledger(problems=("line 1 was changed",)))}, "the ledger is not whole"),
        ({}, {"registered": Registered(champion=3, unreadable=RegistryError("its bundle is gone"))}, "bundle is gone"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_could_never_pass_is_refused_alone(change, known, words) -> None:
    told = message(facts(change, **known))
    assert words in told
    assert "to do: " in told or "bundle is gone" in told


@pytest.mark.parametrize(
    ("change", "known"),
    [
        ({"evaluate": {"n": 50}, "promotion": {"n": 50}}, COUNTED),
        ({"evaluate": {"modes_n": 100}}, {"kind": replace(PETS, labels=None)}),
        ({"promotion": {"floors": {"class_coverage_min": None}}}, UNLABELLED),
        ({"promotion": {"guards": {"class_coverage_drop_max": 0.0}}}, UNLABELLED),  # no champion: no guards
    ],
)
def test_what_can_pass_or_is_not_known_yet_is_not_refused(change, known) -> None:
    assert problems(facts(change, **known)) == []


def test_a_rule_at_its_default_does_not_apply_without_its_figure_and_is_not_refused() -> None:
    content = merge(FASHION, FOLDER)
    content["promotion"] = {}
    found = replace(facts(**UNLABELLED), config=parse(content, source="a test"))
    assert found.config.promotion.floors.class_coverage_min == 0.9
    assert problems(found) == []


@pytest.mark.usefixtures("anns")
def test_several_problems_are_told_in_one_message() -> None:
    found = facts({"reference": {"split": "val"}, "promotion": {"n": 3000}}, champion=replace(PETS, resolution=32))
    with pytest.raises(GateError, match="3 things would be refused in the end") as error:
        require(found)
    assert all(
        words in str(error.value) for words in ("not 32 px", "split is val", "promotion.n is 3000", "NAME=pets-64")
    )
    assert set(UNDECIDABLE) < set(CHECKS)


@pytest.mark.parametrize("preset", [None, *sorted(path.stem for path in (ROOT / "presets").glob("*.yaml"))])
def test_every_preset_could_be_promoted(preset) -> None:
    config = config_of(read_yaml(ROOT / "presets" / f"{preset}.yaml")) if preset else load_config(ROOT)
    image, labels = config.prepare, config.data.source.label_names
    kind = Kind(config.data.source.name, image.resolution, image.channels, labels)
    assert problems(Facts(config, ROOT, kind)) == []


def pictures(folder: Path, *classes: str) -> Path:
    for name in classes:
        (folder / name).mkdir(parents=True)
        (folder / name / "1.png").write_bytes(b"any")
    return folder


def champion_is(monkeypatch, kind: Kind) -> None:
    monkeypatch.setattr(preflight, "read_registered", lambda name: Registered(champion=3, champion_kind=kind))


def test_the_classes_of_a_folder_are_known_before_anything_is_read(tmp_path, monkeypatch) -> None:
    champion_is(monkeypatch, PETS)
    source = {"data": {"source": {"path": str(pictures(tmp_path / "pets", "cat", "dog"))}}}
    assert problems(preflight.before_fetch(config_of(FOLDER, source), FOLDER_WORKSPACE)) == []
    pictures(tmp_path / "pets", "fox")
    assert "more classes: fox" in message(preflight.before_fetch(config_of(FOLDER, source), FOLDER_WORKSPACE))


def test_a_class_that_may_be_set_aside_whole_is_judged_when_the_data_is_prepared(tmp_path, monkeypatch) -> None:
    champion_is(monkeypatch, PETS)
    source = {"data": {"source": {"path": str(pictures(tmp_path / "pets", "cat", "dog", "fox"))}}}
    config = config_of(FOLDER, source, {"validate": {"quarantine": 0.1}})
    assert problems(preflight.before_fetch(config, FOLDER_WORKSPACE)) == []
    champion_is(monkeypatch, replace(PETS, labels=("cat", "dog", "owl")))
    assert "without classes: owl" in message(preflight.before_fetch(config, FOLDER_WORKSPACE))


@pytest.mark.parametrize("name", ["a" * 201, "ganline-pets.lock"])
def test_a_name_that_the_registry_or_its_lock_cannot_take_is_no_configuration(name) -> None:
    with pytest.raises(ConfigError, match=r"register\.name"):
        config_of({"register": {"name": name}})
