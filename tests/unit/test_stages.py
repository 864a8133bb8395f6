"""One DAG: the STAGES table, dvc.yaml and the order that the flow walks say the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ganline.cli import STAGE_NAMES
from ganline.errors import TrainingError
from ganline.integrations.dvc_repo import stage_order
from ganline.stages import STAGES
from ganline.stages.training import only_writer

ROOT = Path(__file__).parents[2]
DVC_YAML = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def test_the_table_dvc_yaml_and_the_cli_name_the_same_stages() -> None:
    assert list(STAGES) == list(DVC_YAML) == list(STAGE_NAMES)


@pytest.mark.parametrize("name", STAGES)
def test_dvc_yaml_says_of_a_stage_what_the_table_says(name) -> None:
    stage, declared = STAGES[name], DVC_YAML[name]
    assert declared["cmd"] == f"ganline {name}"
    assert tuple(declared["params"]) == stage.sections
    assert set(declared["deps"]) == {*stage.inputs, *(f"src/ganline/{room}" for room in stage.rooms)}
    assert set(declared.get("outs", [])) | set(declared.get("metrics", [])) == set(stage.outs)


@pytest.mark.parametrize("name", STAGES)
def test_every_room_that_a_stage_depends_on_exists(name) -> None:
    for room in STAGES[name].rooms:
        assert (ROOT / "src" / "ganline" / room).exists()


def test_the_flows_order_is_topological_and_complete() -> None:
    order = stage_order(ROOT)
    assert order == list(STAGES)  # dvc.yaml's own order, which `dvc repro` keeps too
    for name in order:
        for other, stage in STAGES.items():
            if set(stage.outs) & set(STAGES[name].inputs):
                assert order.index(other) < order.index(name)


def test_a_recipe_has_one_writer_and_lets_go_of_its_folder(tmp_path) -> None:
    with only_writer(tmp_path), pytest.raises(TrainingError, match="another process trains"), only_writer(tmp_path):
        pass
    with only_writer(tmp_path):
        pass
