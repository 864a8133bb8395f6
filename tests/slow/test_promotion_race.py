"""Two machines that share an MLflow server promote at once: a real server, processes with states of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from ganline import preflight
from ganline.config import read_yaml
from ganline.files import sha256_file, write_json
from ganline.integrations import mlflow_ledger, mlflow_store
from ganline.integrations.mlflow_ledger import ledger_of
from ganline.integrations.mlflow_registry import Lineage, register
from ganline.integrations.mlflow_versions import versions
from ganline.overlay import merge
from ganline.promoting import promote, rollback
from ganline.registry.kind import Kind
from ganline.registry.promotion import FloorsConfig
from ganline.weighing import Instruments
from ganline.workspace import Workspace
from tests.slow.test_mlflow_serving import server
from tests.unit.scores import Scores, model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

ROOT = Path(__file__).parents[2]
ROUNDS = 10
ANSWER = "answer: "
METRICS = {"fd": {"name": "fd_cnn_shapes@1a2b3c4d_n64", "value": 1.0, "ratio": 3.0}}
FLOORS = FloorsConfig(fd_max=5.0, copied_share_max=None)


class Rival:
    """A process on a machine of its own (GANLINE_HOME): told a version, it promotes it and says what came of it."""

    def __init__(self, name: str, folder: Path, url: str):
        self.name, self.errors = name, folder / f"{name}.log"
        env = os.environ | {
            "GANLINE_HOME": str(folder / name / "home"),
            "MLFLOW_TRACKING_URI": url,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
        }
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, __file__, name, str(folder)],
                env=env,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def tell(self, **order) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        """What came of the order; MLflow prints to the same stream."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(ANSWER):
                return line.removeprefix(ANSWER).strip()
        raise AssertionError(self.errors.read_text())

    def end(self) -> None:
        self.process.kill()
        self.process.wait(20)


def scores(folder: Path, bundles) -> list[Scores]:
    """What bundles score, by the table that the test wrote: each later one is surely better."""
    table = json.loads((folder / "table.json").read_text())
    places = [table[sha256_file(bundle / "model.json")] for bundle in bundles]
    return [model(seed=place, shift=-0.02 * place, noise=0.0005) for place in places]


def make_root(folder: Path) -> Path:
    params = merge(read_yaml(ROOT / "params.yaml"), {"register": {"name": "shapes"}})
    params["promotion"] = {"floors": {"fd_max": 5.0}}
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    data = {"name": "shapes", "labels": ["circle", "square", "half circle"], "resolution": 8, "channels": 1}
    write_json(folder / "artifacts" / "prepare" / "dataset.json", data)
    return folder


def work(name: str, folder: Path) -> None:
    """A rival's life. `meet`: wait, after measuring, until as many rivals have measured. `die`: at that write."""
    from ganline.errors import GateError

    base = Workspace(make_root(folder / name / "root"), Path(os.environ["GANLINE_HOME"]))
    for line in sys.stdin:
        order = json.loads(line)
        meeting = folder / f"meeting-{order['round']}"

        def score(root: Path, config, bundles, order=order, meeting=meeting) -> list[Scores]:
            meeting.mkdir(exist_ok=True)
            (meeting / name).touch()
            while len(list(meeting.iterdir())) < order["meet"]:
                time.sleep(0.002)
            return scores(folder, bundles)

        mlflow_ledger.PATIENCE = order.get("patience", mlflow_ledger.PATIENCE)
        if step := order.get("die"):
            setattr(mlflow_ledger.MlflowShelf, step, lambda *_: os._exit(9))
        # Each round has a protocol of its own: nothing is answered from the ledger.
        tools = Instruments(score, lambda root, config, order=order: {"reference": order["round"], "split": "test"})
        try:
            told = promote(base, "shapes", version=order["version"], tools=tools).action
        except GateError as error:
            told = f"stopped: {error.found}"
        print(f"{ANSWER}{told}", flush=True)


@pytest.fixture
def url(tmp_path, monkeypatch):
    """An MLflow server, and a state of the test's own beside those of the rivals."""
    artifacts = f"--artifacts-destination={tmp_path / 'artifacts'}"
    uri = f"--backend-store-uri=sqlite:///{tmp_path / 'server.db'}"
    monkeypatch.setenv("GANLINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    with server("server", uri, artifacts, log=tmp_path / "server.log", check="/health") as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        yield address


def rank(folder: Path, places: dict[str, int]) -> None:
    """Say how good bundles are from now on."""
    table = folder / "table.json"
    write_json(table, (json.loads(table.read_text()) if table.exists() else {}) | places)


def enter(make_bundle, folder: Path, place: int) -> int:
    """Register a bundle that scores by its place; its version."""
    bundle = make_bundle(place)
    rank(folder, {sha256_file(bundle / "model.json"): place})
    lineage = Lineage("r", "m", "shapes")
    done = register(bundle, name="shapes", floors=FLOORS, metrics=METRICS, lineage=lineage, replay_files={})
    return done.version


def first_champion(make_bundle, folder: Path) -> Workspace:
    base = Workspace(make_root(folder / "root"), folder / "home")
    enter(make_bundle, folder, 0)
    tools = Instruments(lambda root, config, bundles: scores(folder, bundles), lambda root, config: {"split": "test"})
    assert promote(base, "shapes", tools=tools).action == "first"
    return base


def champions() -> list[int]:
    return [version.version for version in versions("shapes") if "champion" in version.aliases]


def leftover_locks() -> list[str]:
    return [each.name for each in mlflow_store.open_store().client.search_registered_models() if ".lock" in each.name]


def test_two_machines_that_promote_at_once_leave_one_champion_and_a_whole_ledger(url, make_bundle, tmp_path) -> None:
    first_champion(make_bundle, tmp_path)
    enter(make_bundle, tmp_path, 1), enter(make_bundle, tmp_path, 2)
    bundles = {version.version: version.tags["ganline.bundle"] for version in versions("shapes")}
    rivals = [Rival(name, tmp_path, url) for name in ("ann", "bob")]
    try:
        for turn in range(ROUNDS):
            (present,) = champions()
            wanted = [version for version in bundles if version != present]
            rank(tmp_path, {bundles[version]: place for place, version in enumerate([present, *wanted])})
            for rival, version in zip(rivals, wanted, strict=True):
                rival.tell(version=version, round=turn, meet=2)
            told = [rival.answer() for rival in rivals]
            assert sorted(answer.split(":")[0] for answer in told) == ["promoted", "stopped"], told
            winner = told.index("promoted")
            assert "champion changed meanwhile" in told[1 - winner]
            assert champions() == [wanted[winner]]
            rivals[1 - winner].tell(version=wanted[1 - winner], round=turn, meet=1)
            assert rivals[1 - winner].answer() == ("promoted" if winner == 0 else "refused")
            assert champions() == [wanted[1]]
    finally:
        for rival in rivals:
            rival.end()
    ledger = ledger_of("shapes")
    assert ledger.problems == () and ledger.unsealed is None
    assert len(ledger.lines) == 1 + 2 * ROUNDS
    champion = None
    for line in ledger.lines:
        assert line.entry.before == champion
        champion = line.entry.after if line.moves else champion
    assert champion is not None and champions() == [champion.version]
    assert leftover_locks() == []


@pytest.mark.parametrize("step", ["point", "seal"])
def test_what_a_killed_machine_left_half_done_is_finished_by_another(url, make_bundle, tmp_path, step) -> None:
    base = first_champion(make_bundle, tmp_path)
    version = enter(make_bundle, tmp_path, 1)
    dying, other = Rival("ann", tmp_path, url), Rival("bob", tmp_path, url)
    try:
        dying.tell(version=version, round=0, meet=1, die=step)
        assert dying.process.wait(120) == 9
        assert leftover_locks() == ["shapes.lock"]
        assert ledger_of("shapes").unsealed is not None
        other.tell(version=version, round=1, meet=1, patience=5.0)
        assert other.answer() == "kept"
    finally:
        dying.end(), other.end()
    ledger = ledger_of("shapes")
    assert [line.entry.action for line in ledger.lines] == ["first", "promoted"]
    assert ledger.problems == () and ledger.unsealed is None
    assert champions() == [version]
    assert leftover_locks() == []
    assert rollback("shapes").version == 1
    assert base.root.is_dir()


def test_what_a_champion_on_a_server_makes_is_read_from_one_small_file(url, make_bundle, tmp_path, monkeypatch) -> None:
    first_champion(make_bundle, tmp_path)
    monkeypatch.setenv("GANLINE_HOME", str(tmp_path / "another machine"))
    found = preflight.read_registered("shapes")
    assert found.champion_kind == Kind("shapes", 8, 1, ("circle", "square", "half circle"))
    kept = [path.name for path in (tmp_path / "another machine" / "cache").rglob("*") if path.is_file()]
    assert kept == [f"{versions('shapes')[0].tags['ganline.bundle']}.json"]
    assert preflight.read_registered("shapes") == found


if __name__ == "__main__":
    work(sys.argv[1], Path(sys.argv[2]))
