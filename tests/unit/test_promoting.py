"""Promote, rollback, history: the whole decision on a real embedded store, with made-up scores."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import yaml

from ganline import cli, effects, preflight, promoting, weighing
from ganline.config import load_config, read_yaml
from ganline.errors import ConfigError, GateError, RegistryError
from ganline.files import read_json, sha256_file, write_json
from ganline.integrations import dvc_repo, mlflow_ledger, mlflow_store
from ganline.integrations.mlflow_ledger import MlflowShelf, ledger_of
from ganline.integrations.mlflow_registry import Lineage, fetch, register
from ganline.integrations.mlflow_versions import versions
from ganline.overlay import merge
from ganline.promoting import ADOPTED, Outcome, history, is_decided, promote, promote_own, rollback
from ganline.registry.kind import Kind
from ganline.stages.places import METRICS, REPORT, USEFULNESS
from ganline.weighing import Instruments, Measured
from ganline.workspace import Workspace
from tests.unit.scores import Scores, model

ROOT = Path(__file__).parents[2]
FIRST_SEEDS = itertools.count(0, 100)  # no two tests share a bundle
FLOORS = {"class_coverage_min": 0.9, "fd_ratio_max": 10}


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """One embedded store for the module: making its schema takes seconds. Tests use model names of their own."""
    return tmp_path_factory.mktemp("home")


@dataclass
class Gate:
    """A workspace of made-up data, a registered model name, and what each bundle would score."""

    base: Workspace
    name: str
    make_bundle: object
    first_seed: int
    scores: dict[str, Scores] = field(default_factory=dict)
    measured: list[list[str]] = field(default_factory=list)
    reference: str = "images"
    meanwhile: object = None
    page: object = None

    @property
    def root(self) -> Path:
        return self.base.root

    @property
    def tools(self) -> Instruments:
        return Instruments(self.score, self.protocol, self.page)

    def score(self, root: Path, config, bundles) -> list[Scores]:
        assert root == self.root and config.register_.name == self.name
        hashes = [sha256_file(folder / "model.json") for folder in bundles]
        self.measured.append(hashes)
        if self.meanwhile is not None:
            todo, self.meanwhile = self.meanwhile, None
            todo()
        return [self.scores[each] for each in hashes]

    def protocol(self, root: Path, config) -> Mapping[str, object]:
        return {"reference": self.reference, "split": "test", "seeds": list(config.promotion.seeds), "code": "c"}

    def set_params(self, change: dict) -> None:
        path = self.root / "params.yaml"
        path.write_text(yaml.safe_dump(merge(read_yaml(path), change)))

    def enter(self, seed: int, **changes) -> int:
        """Make a bundle artifacts/model, with its metrics.json, and register it. Returns the version."""
        folder = self.make_bundle(self.first_seed + seed, name=self.name)
        found = model(seed=seed, **changes)
        self.scores[sha256_file(folder / "model.json")] = found
        shutil.rmtree(self.root / "artifacts" / "model", ignore_errors=True)
        shutil.copytree(folder, self.root / "artifacts" / "model")
        write_json(self.root / METRICS, found.figures)
        out = {"path": METRICS, "md5": dvc_repo.md5_file(self.root / METRICS)}
        (self.root / "dvc.lock").write_text(yaml.safe_dump({"stages": {"evaluate": {"outs": [out]}}}))
        done = register(
            folder,
            name=self.name,
            floors=load_config(self.root).promotion.floors,
            metrics=found.figures,
            lineage=Lineage("r", "m", "shapes"),
            replay_files={},
        )
        return done.version

    def promote(self, **options) -> Outcome:
        return promote(self.base, self.name, tools=self.tools, **options)

    def own(self) -> Outcome:
        return promote_own(self.root, tools=self.tools)

    @property
    def aliases(self) -> list[tuple[str, ...]]:
        return [version.aliases for version in versions(self.name)]

    @property
    def actions(self) -> list[tuple[str, int | None, int]]:
        """(action, champion before, version it is about) of every line; the chain must be whole."""
        ledger = ledger_of(self.name)
        assert ledger.problems == () and ledger.unsealed is None
        told = [line.entry for line in ledger.lines]
        return [(entry.action, entry.before and entry.before.version, entry.after.version) for entry in told]


def make_root(folder: Path, name: str) -> Path:
    params = merge(read_yaml(ROOT / "params.yaml"), {"register": {"name": name}, "promotion": {"floors": FLOORS}})
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    data = {"name": "shapes", "labels": ["circle", "square", "half circle"], "resolution": 8, "channels": 1}
    write_json(folder / "artifacts" / "prepare" / "dataset.json", data)
    return folder


@pytest.fixture
def gate(home, tmp_path, make_bundle, monkeypatch, request) -> Gate:
    monkeypatch.setenv("GANLINE_HOME", str(home))
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    name = request.node.name.replace("[", "-").replace("]", "").replace("_", "-")[-60:].strip("-")
    return Gate(Workspace(make_root(tmp_path / "root", name), home), name, make_bundle, next(FIRST_SEEDS))


def better(number: int) -> dict:
    return {"shift": -0.2 * number, "noise": 0.005}


def test_the_first_champion_passes_the_floors_on_its_own_metrics_without_being_measured_again(gate) -> None:
    gate.enter(1)
    assert gate.aliases == [("challenger",)]
    outcome = gate.promote()
    assert (outcome.action, outcome.version, outcome.alias, outcome.refused) == ("first", 1, "champion", False)
    assert str(outcome).startswith(f"{gate.name} version 1, alias champion; the first champion")
    assert gate.aliases == [("champion",)]
    assert gate.measured == []
    again = gate.promote()
    assert again.action == "kept" and not again.refused
    assert gate.actions == [("first", None, 1)]
    assert versions(gate.name)[0].tags["ganline.promotion"].startswith("first champion (line 1)")


def test_a_first_challenger_of_another_workspace_s_making_is_measured(gate) -> None:
    gate.enter(1), gate.enter(2)
    assert gate.promote(version=1).action == "first"
    assert [len(each) for each in gate.measured] == [1]


@pytest.mark.parametrize("change", ["edited", "unrecorded"])
def test_a_metrics_json_that_evaluate_did_not_write_is_not_trusted(gate, change) -> None:
    gate.enter(1)
    if change == "edited":
        path = gate.root / METRICS
        write_json(path, read_json(path) | {"remark": "better than it was"})
    else:
        (gate.root / "dvc.lock").unlink()
    assert gate.promote().action == "first"
    assert [len(each) for each in gate.measured] == [1]


def test_nothing_is_decided_on_images_that_tuning_reads(gate) -> None:
    gate.enter(1)
    gate.set_params({"reference": {"split": "val"}})
    with pytest.raises(GateError, match=r"reference\.split is val") as error:
        gate.promote()
    assert "set reference.split: test" in str(error.value)
    assert gate.measured == [] and gate.actions == []


def test_a_latency_floor_is_measured_for_the_first_champion_too(gate) -> None:
    gate.set_params({"promotion": {"floors": {"latency_ms_max": 2.0}}})
    gate.enter(1, latency_ms=3.0)
    outcome = gate.promote()
    assert outcome.refused and "milliseconds of one image is 3" in outcome.told
    assert gate.measured and gate.aliases == [("challenger",)]
    assert gate.actions == [("refused", None, 1)]
    assert gate.promote().refused and gate.actions == [("refused", None, 1)]


def test_a_version_below_its_floors_waits_for_no_decision(gate) -> None:
    gate.enter(1, class_coverage=0.5)
    assert gate.promote().action == "kept"
    own = gate.own()
    assert own.action == "kept" and "refused: class_coverage_x_n512 is 0.5 (bound: >= 0.9)" in own.told
    assert gate.actions == []


def test_a_better_challenger_is_promoted_and_a_worse_one_refused_both_in_the_ledger(gate) -> None:
    gate.enter(1), gate.promote()
    gate.enter(2, **better(1))
    outcome = gate.promote()
    assert (outcome.action, outcome.version, outcome.alias) == ("promoted", 2, "champion")
    assert "decisions on these real images before this one, under this name: 0" in outcome.report()
    assert "min_improvement" in outcome.report() and "passed" in outcome.report()
    assert "this very pair" not in outcome.report()
    gate.enter(3)
    refused = gate.promote()
    assert refused.refused and refused.version == 3 and refused.alias == "challenger"
    assert "not surely lower" in refused.told and "under this name: 1" in refused.report()
    assert gate.aliases == [(), ("champion",), ("challenger",)]
    assert gate.actions == [("first", None, 1), ("promoted", 1, 2), ("refused", 2, 3)]
    assert [len(each) for each in gate.measured] == [2, 2]
    assert "refused (line 3)" in versions(gate.name)[2].tags["ganline.promotion"]


def test_a_pair_is_measured_once_under_the_same_protocol_and_rules(gate) -> None:
    gate.enter(1), gate.promote()
    gate.enter(2)
    assert gate.promote().refused
    again = gate.promote()
    assert again.refused and "not measured again" in again.report()
    assert "min_improvement" in again.report()
    assert len(gate.measured) == 1 and len(gate.actions) == 2
    gate.reference = "other images"
    assert gate.promote().refused and len(gate.measured) == 2
    gate.set_params({"promotion": {"min_improvement": 0.01}})
    assert gate.promote().refused and len(gate.measured) == 3
    gate.set_params({"promotion": {"seeds": list(range(201, 211))}})
    outcome = gate.promote()
    assert outcome.refused and len(gate.measured) == 4
    assert "decisions on this very pair under another protocol or other rules: 3" in outcome.report()


def test_force_measures_and_writes_down_what_failed_and_why(gate) -> None:
    gate.enter(1), gate.promote()
    gate.enter(2)
    for reason in ("", "  "):
        with pytest.raises(ConfigError, match="without a reason"):
            gate.promote(force=True, reason=reason)
    assert gate.measured == []
    outcome = gate.promote(force=True, reason="the customer likes it")
    assert (outcome.action, outcome.alias, outcome.refused) == ("forced", "champion", False)
    entry = ledger_of(gate.name).lines[-1].entry
    assert "the customer likes it" in entry.reason
    assert [row.rule for row in entry.rows if row.passed is False] == ["min_improvement"]
    assert len(gate.measured) == 1


def test_force_after_a_refusal_takes_the_ledger_s_figures(gate) -> None:
    gate.enter(1), gate.promote()
    gate.enter(2), gate.promote()
    assert gate.promote(force=True, reason="because").action == "forced"
    assert len(gate.measured) == 1
    assert gate.actions == [("first", None, 1), ("refused", 1, 2), ("forced", 1, 2)]
    assert ledger_of(gate.name).lines[-1].entry.reason == "because; as measured for line 2"


def test_force_is_no_force_where_the_rules_pass(gate) -> None:
    gate.enter(1), gate.promote()
    gate.enter(2, **better(1))
    assert gate.promote(force=True, reason="to be sure").action == "promoted"


def test_the_whole_verdict_and_the_page_lie_in_the_run_that_the_line_names(gate) -> None:
    pages: list[Measured] = []
    gate.page = lambda measured: pages.append(measured) or "<p>two models</p>"
    gate.enter(1), gate.promote()
    gate.enter(2, **better(1)), gate.promote()
    run = ledger_of(gate.name).lines[-1].entry.run
    folder = Path(mlflow_store.open_store().client.download_artifacts(run, ""))
    verdict = read_json(folder / "verdict.json")
    assert verdict["passed"] and verdict["challenger"]["figures"]["fd"]["per_half"]
    assert [model["version"] for model in (verdict["champion"], verdict["challenger"])] == [1, 2]
    assert (folder / "compare.html").read_text() == "<p>two models</p>"
    assert [model.version for model in pages[0].models] == [1, 2]


def test_a_champion_that_changed_while_it_was_measured_stops_the_decision_and_nothing_is_written(gate) -> None:
    gate.enter(1), gate.promote()
    gate.enter(2, **better(1)), gate.enter(3, **better(2))

    def other_promotion() -> None:
        gate.promote(version=2)

    gate.meanwhile = other_promotion
    with pytest.raises(GateError, match="champion changed meanwhile: version 1 when measuring began, version 2 now"):
        gate.promote()
    assert gate.actions == [("first", None, 1), ("promoted", 1, 2)]
    assert gate.promote().action == "promoted"
    assert gate.actions[-1] == ("promoted", 2, 3)


@pytest.mark.parametrize("good", [True, False])
def test_two_that_decide_on_the_same_challenger_at_once_write_one_line(gate, good) -> None:
    gate.enter(1), gate.promote()
    gate.enter(2, **(better(1) if good else {}))
    gate.meanwhile = lambda: gate.promote()
    outcome = gate.promote()
    assert outcome.action == ("promoted" if good else "refused")
    assert gate.actions == [("first", None, 1), (outcome.action, 1, 2)]


@pytest.mark.slow
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("step", ["add", "point", "tell", "seal"])
@pytest.mark.parametrize("what", ["promote", "rollback"])
def test_a_kill_at_any_write_is_repaired_by_the_same_command(gate, monkeypatch, what, step, late) -> None:
    gate.enter(1), gate.promote()
    gate.enter(2, **better(1))
    if what == "rollback":
        gate.promote()
        gate.enter(3, **better(2)), gate.promote()
    command = gate.promote if what == "promote" else lambda: rollback(gate.name)
    genuine = getattr(MlflowShelf, step)

    def killed(self, argument) -> None:
        if late:
            genuine(self, argument)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowShelf, step, killed)
        with pytest.raises(KeyboardInterrupt):
            command()
    command()
    if what == "promote":
        assert gate.actions == [("first", None, 1), ("promoted", 1, 2)]
        assert gate.aliases == [(), ("champion",)]
    elif (step, late) != ("seal", True):  # killed after its last write it had ended: the second goes one further back
        assert gate.actions[-1] == ("rollback", 3, 2) and len(gate.actions) == 4
        assert gate.aliases == [(), ("champion",), ()]


def test_a_rollback_goes_back_one_reign_after_the_other_or_to_any_earlier_champion(gate) -> None:
    for number in (1, 2, 3):
        gate.enter(number, **better(number)), gate.promote()
    back = rollback(gate.name, reason="blurred shoes")
    assert str(back).startswith(f"{gate.name} version 2, alias champion; rolled back (line 4): blurred shoes")
    assert rollback(gate.name).version == 1
    with pytest.raises(RegistryError, match=r"nobody was champion of .* before the present one") as error:
        rollback(gate.name)
    assert "version 2, version 3" in str(error.value)
    assert rollback(gate.name, to=3).version == 3
    assert gate.aliases == [(), (), ("champion",)]
    assert gate.actions[3:] == [("rollback", 3, 2), ("rollback", 2, 1), ("rollback", 1, 3)]


def test_a_rollback_to_what_was_never_champion_names_those_that_were(gate) -> None:
    gate.enter(1), gate.promote()
    gate.enter(2), gate.promote()
    gate.enter(3, **better(1)), gate.promote()
    for wrong in (2, 3, 9):
        with pytest.raises(RegistryError, match=f"version {wrong} was never its champion") as error:
            rollback(gate.name, to=wrong)
        assert "an earlier champion: version 1" in str(error.value)
    assert len(gate.actions) == 3


def test_a_champion_that_was_deleted_cannot_come_back(gate) -> None:
    for number in (1, 2, 3):
        gate.enter(number, **better(number)), gate.promote()
    mlflow_store.open_store().client.delete_model_version(gate.name, "2")
    assert rollback(gate.name).version == 1


def test_what_was_rolled_back_is_promoted_again_only_by_name(gate) -> None:
    gate.enter(1), gate.promote()
    gate.enter(2, **better(1)), gate.promote()
    rollback(gate.name)
    assert "taken back by a rollback" in gate.own().told
    assert gate.promote().action == "kept"
    assert gate.promote(version=2).action == "promoted"
    assert len(gate.measured) == 1
    assert gate.actions == [("first", None, 1), ("promoted", 1, 2), ("rollback", 2, 1), ("promoted", 1, 2)]


def test_an_alias_that_was_moved_by_hand_is_told_and_put_back_by_a_rollback(gate) -> None:
    gate.enter(1), gate.promote()
    gate.enter(2, **better(1))
    client = mlflow_store.open_store().client
    client.set_registered_model_alias(gate.name, "champion", "2")
    for command in (gate.promote, gate.own):
        with pytest.raises(RegistryError, match="was moved to version 2 by hand") as error:
            command()
        assert f"ganline rollback {gate.name} --to 1" in str(error.value)
    assert "moved by hand" in str(history(gate.name))
    rollback(gate.name, to=1)
    assert gate.aliases == [("champion",), ("challenger",)]
    assert "moved by hand to version 2" in ledger_of(gate.name).lines[-1].entry.reason
    assert gate.promote().action == "promoted"


@pytest.mark.parametrize("earlier", [0, 1])
def test_a_champion_that_was_deleted_leaves_its_place_to_the_next_that_keeps_the_floors(gate, earlier) -> None:
    for number in range(1, earlier + 2):
        gate.enter(number, **better(number)), gate.promote()
    champion, before = earlier + 1, len(gate.actions)
    mlflow_store.open_store().client.delete_model_version(gate.name, str(champion))
    number = gate.enter(5)  # worse than the deleted one
    told = f"the champion before (version {champion}) was deleted"
    assert told in str(history(gate.name)) and not history(gate.name).problems
    assert not is_decided(gate.root, load_config(gate.root), versions(gate.name)[-1], tools=gate.tools)
    assert gate.own().action == "first"
    assert gate.actions[before:] == [("first", None, number)]
    assert told in ledger_of(gate.name).lines[-1].entry.reason
    assert versions(gate.name)[-1].aliases == ("champion",)
    assert gate.promote().action == "kept"


def test_an_alias_that_was_moved_by_hand_from_a_deleted_champion_says_what_helps(gate) -> None:
    gate.enter(1), gate.promote()
    gate.enter(2)
    client = mlflow_store.open_store().client
    client.delete_model_version(gate.name, "1")
    client.set_registered_model_alias(gate.name, "champion", "2")
    with pytest.raises(RegistryError, match="version 1 was deleted: take the alias away"):
        gate.promote()
    client.delete_registered_model_alias(gate.name, "champion")
    assert gate.promote(version=2).action == "first"


@pytest.mark.parametrize("command", ["promote", "history"])
def test_a_decision_that_ends_between_two_looks_is_not_taken_for_a_move_by_hand(gate, monkeypatch, command) -> None:
    gate.enter(1), gate.promote()
    gate.enter(2, **better(1))
    genuine, seen = promoting.ledger_of, list[bool]()

    def overtaken(name):
        ledger = genuine(name)
        if not seen:
            seen.append(True)
            gate.promote()
        return ledger

    for module in (promoting, mlflow_ledger):
        monkeypatch.setattr(module, "ledger_of", overtaken)
    if command == "promote":
        assert gate.promote().action == "kept"
    else:
        assert history(gate.name).problems == ()
    assert seen and gate.actions == [("first", None, 1), ("promoted", 1, 2)]


@pytest.mark.parametrize(
    "missing", ["artifacts/model/model.json", METRICS, USEFULNESS, REPORT], ids=lambda name: Path(name).stem
)
def test_what_is_missing_at_registering_is_named_with_what_makes_it(gate, missing) -> None:
    for name in {"artifacts/model/model.json", METRICS, USEFULNESS, REPORT} - {missing}:
        write_json(gate.root / name, {})
    with pytest.raises(RegistryError, match=f"there is no {missing}") as error:
        effects.register(gate.root)
    assert "dvc repro" in str(error.value)


def test_a_champion_from_before_the_ledger_becomes_its_first_line(gate) -> None:
    gate.enter(1)
    client = mlflow_store.open_store().client
    client.set_registered_model_alias(gate.name, "champion", "1")
    gate.enter(2, **better(1))
    assert gate.promote().action == "promoted"
    assert gate.actions == [("first", None, 1), ("promoted", 1, 2)]
    assert ledger_of(gate.name).lines[0].entry.reason == ADOPTED


def test_a_changed_line_stops_every_decision_and_shows_in_the_history(gate) -> None:
    gate.enter(1), gate.promote()
    gate.enter(2), gate.promote()
    client, tag = mlflow_store.open_store().client, "ganline.ledger.000001"
    text = client.get_registered_model(gate.name).tags[tag]
    client.set_registered_model_tag(gate.name, tag, text.replace('"by":"', '"by":"not '))
    told = history(gate.name)
    assert told.problems and "NOT WHOLE: line 1" in str(told)
    for command in (gate.promote, lambda: rollback(gate.name)):
        with pytest.raises(RegistryError, match="not whole"):
            command()


def test_the_history_tells_who_when_what_and_why(gate, monkeypatch) -> None:
    monkeypatch.setattr(promoting, "user", lambda: "ann")
    monkeypatch.setattr(promoting, "now", lambda: "2026-11-25T12:34:56+00:00")
    gate.enter(1), gate.promote()
    gate.enter(2, **better(1)), gate.promote(reason="nicer bags")
    rollback(gate.name, reason="customers complain")
    text = str(history(gate.name))
    lines = text.splitlines()
    assert lines[0].split()[:3] == ["line", "when", "(UTC)"]
    assert "2026-11-25 12:34:56" in lines[1] and "ann" in lines[1] and "first" in lines[1]
    assert "promoted" in lines[2] and "nicer bags" in lines[2] and "distance" in lines[2]
    assert "rollback" in lines[3] and "customers complain" in lines[3]
    assert "champion: version 1" in text and "the chain of lines is whole" in text
    plain = history(gate.name).plain()
    assert [line["action"] for line in plain["lines"]] == ["first", "promoted", "rollback"]
    assert plain["champion"] == 1 and json.loads(json.dumps(plain)) == plain


def test_a_name_is_found_in_another_workspace_and_measured_there(gate, tmp_path) -> None:
    gate.enter(1), gate.promote()
    gate.enter(2, **better(1))
    other = make_root(tmp_path / "other", "somebody-else")
    home = tmp_path / "state"
    (home / "ws").mkdir(parents=True)
    shutil.copytree(gate.root, home / "ws" / "mine")
    base = Workspace(other, home)
    gate.base = Workspace(home / "ws" / "mine", home)
    assert promote(base, gate.name, tools=gate.tools).action == "promoted"


def test_of_two_workspaces_of_a_name_the_one_that_made_the_bundle_measures(gate, tmp_path) -> None:
    gate.enter(1)
    home = tmp_path / "state"
    stale = make_root(home / "ws" / "a", gate.name)
    shutil.copytree(gate.root, home / "ws" / "b")
    base = Workspace(make_root(tmp_path / "other", "somebody-else"), home)
    bundle = sha256_file(gate.root / "artifacts" / "model" / "model.json")
    assert weighing.workspace_of(base, gate.name, bundle) == home / "ws" / "b"
    assert weighing.workspace_of(base, gate.name, "0" * 64) == stale


def test_without_a_workspace_or_its_data_the_error_says_what_to_do(gate, tmp_path) -> None:
    gate.enter(1)
    stranger = Workspace(make_root(tmp_path / "other", "somebody-else"), tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="no workspace here makes") as error:
        promote(stranger, gate.name, tools=gate.tools)
    assert "make run" in str(error.value)
    shutil.rmtree(gate.root / "artifacts" / "prepare")
    with pytest.raises(GateError, match="holds no prepared data"):
        gate.promote()


@pytest.mark.parametrize(
    "change",
    [
        {"name": "squares"},
        {"resolution": 16},
        {"channels": 3},
        {"labels": ["circle"]},
        {"labels": ["circle", "square", "moon"]},
    ],
)
def test_bundles_of_other_images_are_refused_with_what_to_do(gate, change) -> None:
    gate.enter(1), gate.promote()
    gate.enter(2, **better(1))
    path = gate.root / "artifacts" / "prepare" / "dataset.json"
    write_json(path, read_json(path) | change)
    with pytest.raises(GateError, match="makes shapes, 8 px, grey, classes circle, square, half circle") as error:
        gate.promote()
    assert "register.name" in str(error.value)
    assert gate.measured == []


def enter_in_colour(gate) -> int:
    gate.make_bundle = partial(gate.make_bundle, channels=3)
    path = gate.root / "artifacts" / "prepare" / "dataset.json"
    write_json(path, read_json(path) | {"channels": 3})
    return gate.enter(2, **better(1))


@pytest.mark.parametrize("force", [False, True])
def test_a_version_of_another_kind_than_the_champion_is_refused_before_measuring_even_with_force(gate, force) -> None:
    gate.enter(1), gate.promote()
    enter_in_colour(gate)
    with pytest.raises(GateError, match="3 channels, not 1") as error:
        gate.promote(force=force, reason="I want it")
    assert f"the champion, {gate.name} version 1" in str(error.value) and "--force promotes" in str(error.value)
    assert gate.measured == [] and len(gate.actions) == 1


def test_a_first_champion_is_compared_with_nobody_whatever_waited_before(gate) -> None:
    gate.enter(1)
    enter_in_colour(gate)
    assert gate.promote().action == "first"
    with pytest.raises(GateError, match="1 channels, not 3"):
        gate.promote(version=1)


def test_register_refuses_what_could_never_be_promoted_and_registers_nothing(gate) -> None:
    gate.enter(1), gate.promote()
    path = gate.root / "artifacts" / "model" / "model.json"
    write_json(path, read_json(path) | {"labels": ["circle", "square", "moon"]})
    for name in (USEFULNESS, REPORT):
        write_json(gate.root / name, {})
    with pytest.raises(GateError, match="more classes: moon; without classes: half circle"):
        effects.register(gate.root)
    assert len(versions(gate.name)) == 1


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_a_champion_whose_bundle_cannot_be_read_is_told_before_training(gate, damage) -> None:
    gate.enter(1), gate.promote()
    path = fetch(versions(gate.name)[0], Path()) / "model.json"
    path.unlink() if damage == "gone" else path.write_text("{}")
    registered = preflight.read_registered(gate.name)
    assert registered.champion == 1 and registered.champion_kind is None
    assert f"the bundle of {gate.name} version 1" in str(registered.unreadable)


def test_the_registry_is_read_before_training_without_importing_mlflow(gate) -> None:
    gate.enter(1), gate.promote()
    code = (
        "import sys; from ganline import preflight\n"
        f"found = preflight.read_registered({gate.name!r})\n"
        "assert found.champion == 1 and found.champion_kind.labels == ('circle', 'square', 'half circle'), found\n"
        "sys.exit(bool({'mlflow', 'prefect', 'great_expectations', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_alias_that_was_moved_by_hand_is_told_before_training(gate) -> None:
    gate.enter(1), gate.promote()
    gate.enter(2)
    mlflow_store.open_store().client.set_registered_model_alias(gate.name, "champion", "2")
    registered = preflight.read_registered(gate.name)
    made = preflight.of_model(load_config(gate.root), gate.root, Kind("shapes", 8, 1, None), "this run", registered)
    (error,) = preflight.problems(made, preflight.UNDECIDABLE)
    assert "was moved to version 2 by hand" in str(error)


def test_unknown_names_and_versions_are_answered_with_what_there_is(gate) -> None:
    with pytest.raises(RegistryError, match="no model"):
        gate.promote()
    for command in (rollback, history):
        with pytest.raises(RegistryError, match="no model"):
            command(gate.name)
    gate.enter(1)
    with pytest.raises(RegistryError, match="no version '7'"):
        gate.promote(version=7)


def test_what_the_flow_decides_is_decided_once(gate) -> None:
    config = load_config(gate.root)

    def decided() -> bool:
        own = next(version for version in versions(gate.name) if version.version == latest)
        return is_decided(gate.root, config, own, tools=gate.tools)

    latest = gate.enter(1)
    assert not decided()
    assert gate.own().action == "first" and decided()
    assert gate.own().action == "kept" and len(gate.actions) == 1
    latest = gate.enter(2)
    assert not decided()
    assert gate.own().refused and decided()
    assert gate.own().refused and len(gate.actions) == 2
    config = load_config(gate.root).model_copy(
        update={"promotion": load_config(gate.root).promotion.model_copy(update={"min_improvement": 0.1})}
    )
    assert not decided()
    latest = gate.enter(3, class_coverage=0.5)
    assert gate.own().action == "kept" and decided()


def test_a_decision_that_was_cut_short_is_not_decided(gate, monkeypatch) -> None:
    gate.enter(1)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowShelf, "seal", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            gate.promote()
    assert not is_decided(gate.root, load_config(gate.root), versions(gate.name)[0], tools=gate.tools)
    assert "cut short" in str(history(gate.name))
    assert gate.own().action == "kept"
    assert is_decided(gate.root, load_config(gate.root), versions(gate.name)[0], tools=gate.tools)


def test_the_second_run_stands_on_what_was_decided(gate, monkeypatch) -> None:
    monkeypatch.setattr(dvc_repo, "is_current", lambda root, goals: True)
    monkeypatch.setattr(weighing, "instruments", lambda: gate.tools)
    monkeypatch.setattr(promoting, "instruments", lambda: gate.tools)
    gate.enter(1)
    assert effects.standing(gate.root) is None
    assert effects.promote(gate.root).action == "first"
    standing = effects.standing(gate.root)
    assert standing is not None and (standing.version, standing.alias) == (1, "champion")
    assert standing.told.startswith("first champion")
    gate.enter(2)
    assert effects.standing(gate.root) is None
    assert effects.promote(gate.root).refused
    standing = effects.standing(gate.root)
    assert standing is not None and standing.alias == "challenger" and standing.told.startswith("refused (line 2)")


def test_exit_codes_say_whether_it_was_refused(gate, monkeypatch, capsys) -> None:
    monkeypatch.setattr("ganline.workspace.checkout", lambda: gate.base)
    monkeypatch.setattr("ganline.workspace.check_code", lambda workspace: None)  # a made-up checkout has no code
    monkeypatch.setattr(promoting, "instruments", lambda: gate.tools)

    def code(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["ganline", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    gate.enter(1)
    assert code("promote") == 0
    assert f"{gate.name} version 1, alias champion" in capsys.readouterr().out
    assert code("promote", gate.name) == 0
    gate.enter(2)
    assert code("promote", gate.name) == 1
    assert "FAILED" in capsys.readouterr().out
    assert code("promote", gate.name, "--force") == 1
    assert "without a reason" in capsys.readouterr().err
    assert code("promote", gate.name, "--force", "--reason", "so be it") == 0
    assert code("rollback", gate.name, "--reason", "or not") == 0
    assert "version 1, alias champion; rolled back (line 4): or not" in capsys.readouterr().out
    assert code("history", gate.name) == 0
    assert "so be it" in capsys.readouterr().out
    assert code("history", gate.name, "--json") == 0
    assert [line["number"] for line in json.loads(capsys.readouterr().out)["lines"]] == [1, 2, 3, 4]
