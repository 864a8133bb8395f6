"""Registration: one version a bundle whatever interrupts it, the right alias, and the bundle back from the registry."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import ganline
from ganline import home as state
from ganline.errors import BundleError, RegistryError
from ganline.files import sha256_file
from ganline.integrations import mlflow_registry, mlflow_store, mlflow_versions
from ganline.integrations.mlflow_describe import MAX_DESCRIPTION
from ganline.integrations.mlflow_registry import BUNDLE_TAG, JUDGED_TAG, Lineage, download_bundle, register
from ganline.integrations.mlflow_versions import ask_versions, find_version, versions
from ganline.registry.promotion import FloorsConfig

pytestmark = pytest.mark.usefixtures("embedded")

FD = {"value": 3.0, "std": 0.1, "per_seed": {"0": 2.9, "1": 3.1}, "floor": 0.02, "ratio": 150.0, "n": 64}
METRICS = {
    "fd": {"name": "fd_cnn_shapes@1a2b3c4d_n64", "split": "test"} | FD,
    "class_coverage": {"name": "class_coverage_cnn_shapes@1a2b3c4d", "value": 1.0},
    "copied_share": {"name": "copied_share_cnn_shapes@1a2b3c4d_n64", "value": 0.0, "floor": 0.0},
    "extractors": {"first": {"name": "cnn_shapes@1a2b3c4d", "task": "classifier"}},
}
PASSING, FAILING = FloorsConfig(fd_max=5.0), FloorsConfig(fd_max=1.0)
LINEAGE = Lineage(recipe="r" * 64, machine="m" * 64, dataset="shapes", commit="c" * 40, data="d" * 32)


def enter(folder: Path, name: str, floors: FloorsConfig = PASSING, **changes):
    options = {"metrics": METRICS, "lineage": LINEAGE, "replay_files": {"params.yaml": b"seed: 0\n"}} | changes
    return register(folder, name=name, floors=floors, **options)


def logged_models(bundle_hash: str):
    store = mlflow_store.open_store()
    return store.client.search_logged_models(
        [store.experiment_id], filter_string=f"tags.`{BUNDLE_TAG}` = '{bundle_hash}'"
    )


def test_a_bundle_becomes_a_version_that_says_where_it_comes_from(make_bundle, home):
    folder = make_bundle(1)
    done = enter(folder, "says")
    assert (done.version, done.alias, done.created, done.uri) == (1, "challenger", True, "models:/says/1")
    version = find_version("says", sha256_file(folder / "model.json"))
    expected = {"recipe": "r" * 64, "machine": "m" * 64, "dataset": "shapes", "commit": "c" * 40, "data": "d" * 32}
    assert {key: version.tags[f"ganline.{key}"] for key in expected} == expected
    assert version.tags["ganline.floors"].startswith("passed: ")
    client = mlflow_store.open_store().client
    text = client.get_model_version("says", "1").description
    assert "# shapes 1" in text and version.model_id in text and "models:/says/1" in text
    run = client.get_run(client.get_model_version("says", "1").run_id)
    assert run.data.metrics["fd_cnn_shapes_1a2b3c4d_n64"] == 3.0
    assert [item.path for item in client.list_artifacts(run.info.run_id)] == ["samples.png"]
    assert [output.model_id for output in run.outputs.model_outputs] == [version.model_id]
    model = client.get_logged_model(version.model_id)
    assert {metric.key: metric.value for metric in model.metrics}["fd_cnn_shapes_1a2b3c4d_n64"] == 3.0
    package = Path(version.location.removeprefix("file://"))
    assert (package / "replay" / "params.yaml").read_bytes() == b"seed: 0\n"
    assert package.is_relative_to(home / "mlflow" / "artifacts")
    assert not [path for path in package.rglob("*") if path.suffix in (".pkl", ".pickle", ".pt", ".pth", ".pyc")]


def test_registering_again_changes_nothing_and_takes_milliseconds(make_bundle):
    folder = make_bundle(2)
    first = enter(folder, "again")
    before = versions("again")
    started = time.monotonic()
    second = enter(folder, "again")
    assert time.monotonic() - started < 0.25
    assert (second.version, second.alias, second.created) == (first.version, "challenger", False)
    assert versions("again") == before


def crown(name: str, version: int) -> None:
    """Give the alias champion as `ganline promote` does: registering never does."""
    client = mlflow_store.open_store().client
    client.set_registered_model_alias(name, "champion", str(version))
    if find_challenger(name) == version:
        client.delete_registered_model_alias(name, "challenger")


def find_challenger(name: str) -> int | None:
    return mlflow_versions.holder(versions(name), "challenger")


def test_the_newest_that_passes_is_challenger_and_nothing_becomes_champion_by_being_registered(make_bundle):
    refused = enter(make_bundle(10), "ranks", FAILING)
    assert (refused.version, refused.alias, refused.verdict.passed) == (1, None, False)
    assert "is 3 (bound: <= 1)" in versions("ranks")[0].tags["ganline.floors"]
    assert enter(make_bundle(11), "ranks").alias == "challenger"
    crown("ranks", 2)
    assert enter(make_bundle(12), "ranks").alias == "challenger"
    assert enter(make_bundle(13), "ranks").alias == "challenger"
    assert enter(make_bundle(14), "ranks", FAILING).alias is None
    assert [version.aliases for version in versions("ranks")] == [(), ("champion",), (), ("challenger",), ()]
    assert enter(make_bundle(12, name="same"), "ranks").created is False
    assert [version.aliases for version in versions("ranks")] == [(), ("champion",), (), ("challenger",), ()]
    assert enter(make_bundle(11, name="same"), "ranks", FloorsConfig(fd_max=6.0)).alias == "champion"
    assert find_challenger("ranks") == 4


def test_floors_that_were_lowered_make_a_refused_version_challenger_and_raised_ones_take_nothing_away(make_bundle):
    folder = make_bundle(20)
    assert enter(folder, "floors", FAILING).alias is None
    lowered = enter(folder, "floors", PASSING)
    assert (lowered.version, lowered.alias, lowered.created) == (1, "challenger", False)
    raised = enter(folder, "floors", FAILING)
    assert (raised.alias, raised.verdict.passed) == ("challenger", False)
    assert versions("floors")[0].tags["ganline.floors"].startswith("refused: ")


def test_a_version_that_a_rollback_took_back_does_not_become_challenger_again(make_bundle):
    folder = make_bundle(21)
    enter(folder, "taken")
    client = mlflow_store.open_store().client
    client.delete_registered_model_alias("taken", "challenger")
    client.set_model_version_tag("taken", "1", mlflow_registry.PROMOTION_TAG, f"{mlflow_registry.TAKEN_BACK} (line 3)")
    assert enter(folder, "taken", FloorsConfig(fd_max=6.0)).alias is None
    client.set_model_version_tag("taken", "1", mlflow_registry.PROMOTION_TAG, "refused (line 4)")
    assert enter(folder, "taken", FloorsConfig(fd_max=7.0)).alias == "challenger"


STEPS = [
    "create_run",
    "create_logged_model",
    "log_model_artifacts",
    "finalize_logged_model",
    "create_registered_model",
    "create_model_version",
    "set_model_version_tag",
    "update_model_version",
    "update_registered_model",
    "set_logged_model_tags",
    "log_outputs",
    "log_batch",
    "log_artifact",
    "set_registered_model_alias",
]


@pytest.mark.parametrize(("step", "after"), [*((step, False) for step in STEPS), ("create_model_version", True)])
def test_a_registration_killed_at_any_step_is_finished_by_the_next(make_bundle, monkeypatch, step, after):
    from mlflow import MlflowClient

    folder, name = make_bundle(100 + 2 * STEPS.index(step) + after), f"killed-{step}-{after}"
    genuine = getattr(MlflowClient, step)

    def killed(*arguments, **options):
        if after:
            genuine(*arguments, **options)
        raise KeyboardInterrupt(step)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, step, killed)
        with pytest.raises(KeyboardInterrupt, match=step):
            enter(folder, name)
    half_made = versions(name)
    assert all(JUDGED_TAG not in version.tags for version in half_made)
    done = enter(folder, name)
    assert (done.version, done.alias, done.created) == (1, "challenger", not half_made)
    (version,) = versions(name)
    assert {key.removeprefix("ganline.") for key in version.tags} == {
        *("bundle", "recipe", "machine", "dataset", "commit", "data", "floors", "judged")
    }
    client = mlflow_store.open_store().client
    (model,) = logged_models(version.tags[BUNDLE_TAG])
    assert str(model.status) in ("READY", "LoggedModelStatus.READY")
    assert model.tags["mlflow.modelVersions"] == f'[{{"name": "{name}", "version": "1"}}]'
    run = client.get_run(model.source_run_id)
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    assert len(client.get_metric_history(run.info.run_id, "fd_cnn_shapes_1a2b3c4d_n64")) == 1
    assert "# shapes" in client.get_model_version(name, "1").description
    assert client.get_registered_model(name).description
    shutil.rmtree(state.home() / "cache", ignore_errors=True)
    assert ganline.load(f"models:/{name}@challenger").sample(1).shape == (1, 1, 8, 8)


def test_killed_between_alias_and_last_tag_the_alias_is_not_given_twice(make_bundle, monkeypatch):
    from mlflow import MlflowClient

    enter(make_bundle(30), "late")
    crown("late", 1)
    genuine = MlflowClient.set_model_version_tag

    def killed_at_the_end(self, name, version, key, value):
        if key == JUDGED_TAG:
            raise KeyboardInterrupt
        genuine(self, name, version, key, value)

    second = make_bundle(31)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_model_version_tag", killed_at_the_end)
        with pytest.raises(KeyboardInterrupt):
            enter(second, "late")
    enter(make_bundle(32), "late")
    assert enter(second, "late").alias is None
    assert [version.aliases for version in versions("late")] == [("champion",), (), ("challenger",)]


def test_the_same_bundle_under_two_names_shares_its_files(make_bundle):
    folder = make_bundle(40)
    enter(folder, "one"), enter(folder, "two")
    (model,) = logged_models(sha256_file(folder / "model.json"))
    assert versions("one")[0].model_id == versions("two")[0].model_id == model.model_id
    assert '"one"' in model.tags["mlflow.modelVersions"] and '"two"' in model.tags["mlflow.modelVersions"]


def test_what_is_read_directly_is_what_mlflow_says(make_bundle):
    enter(make_bundle(50), "direct", FAILING), enter(make_bundle(51), "direct"), enter(make_bundle(52), "direct")
    client = mlflow_store.open_store().client
    client.delete_model_version("direct", "1")
    assert versions("direct") == ask_versions("direct")
    assert [version.version for version in versions("direct")] == [2, 3]
    assert versions("nobody") == ask_versions("nobody") == []


def test_tables_that_are_not_as_expected_are_left_to_mlflow(make_bundle, monkeypatch):
    enter(make_bundle(53), "schema")
    monkeypatch.setattr(mlflow_versions, "TAGS", "SELECT no_such_column FROM model_version_tags WHERE name = ?")
    assert [version.aliases for version in versions("schema")] == [("challenger",)]


def test_a_model_comes_back_as_it_was_and_is_kept_by_its_hash(make_bundle, home):
    folder = make_bundle(60)
    enter(folder, "back")
    got = download_bundle("models:/back@challenger")
    assert got == download_bundle("models:/back/1") == home / "cache" / "bundles" / sha256_file(folder / "model.json")
    assert np.array_equal(ganline.load("models:/back/1").sample(8, seed=3), ganline.load(str(folder)).sample(8, seed=3))


def test_a_damaged_cache_is_fetched_again(make_bundle):
    enter(make_bundle(61), "cache")
    weights = download_bundle("models:/cache/1") / "generator.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1])
    download_bundle("models:/cache/1")
    assert weights.read_bytes() == content


def test_artifacts_that_were_exchanged_are_refused(make_bundle):
    enter(make_bundle(62), "exchanged")
    place = Path(versions("exchanged")[0].location.removeprefix("file://")) / "artifacts" / "bundle"
    shutil.rmtree(place)
    shutil.copytree(make_bundle(63), place)
    with pytest.raises(RegistryError, match="another bundle"):
        download_bundle("models:/exchanged/1")
    with pytest.raises(RegistryError, match="another bundle"):
        download_bundle("models:/exchanged/1")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("models:/nobody@champion", ["no model 'nobody'", "errors"]),
        ("models:/errors@winner", ["no alias 'winner'", "@challenger (version 1)"]),
        ("models:/errors/9", ["no version '9'", "from 1 to 1"]),
        ("models:/errors", ["names no model", "models:/NAME@ALIAS"]),
        ("models:/", ["names no model"]),
        ("models:/errors@champion/extra", ["names no model"]),
        ("models:/it's@champion", ['no model "it\'s"']),
    ],
)
def test_an_unknown_model_is_answered_with_what_there_is(make_bundle, uri, said):
    enter(make_bundle(64), "errors")
    with pytest.raises(RegistryError) as error:
        ganline.load(uri)
    assert all(part in str(error.value) for part in said), str(error.value)


def test_without_a_store_loading_says_so_and_makes_none(tmp_path, monkeypatch):
    monkeypatch.setenv("GANLINE_HOME", str(tmp_path / "empty"))
    with pytest.raises(RegistryError, match="no model registry yet"):
        ganline.load("models:/shapes@champion")
    assert not (tmp_path / "empty").exists()


def test_a_server_that_does_not_answer_is_told_within_seconds_and_without_its_password(monkeypatch, make_bundle):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    started = time.monotonic()
    for attempt in (lambda: ganline.load("models:/shapes@champion"), lambda: enter(make_bundle(65), "shapes")):
        with pytest.raises(RegistryError, match="does not answer") as error:
            attempt()
        assert "secret" not in str(error.value)
    assert time.monotonic() - started < 10


def test_a_damaged_bundle_is_not_registered(make_bundle):
    folder = make_bundle(66)
    (folder / "card.md").write_text("# another card")
    with pytest.raises(BundleError, match=r"card\.md"):
        enter(folder, "damaged")
    assert versions("damaged") == []
    with pytest.raises(BundleError, match=r"no model\.json"):
        enter(folder / "nowhere", "damaged")


def test_a_long_card_is_cut_at_a_line_and_the_rest_is_kept(make_bundle, monkeypatch):
    from ganline.integrations.mlflow_describe import version_text

    folder = make_bundle(67)
    (folder / "card.md").write_text("# shapes\n" + "a line of the card\n" * 1000)
    version = mlflow_versions.Version("long", 1, "file:///nowhere", "m-1")
    text = version_text(version, folder, mlflow_registry.judge_floors(METRICS, PASSING))
    assert len(text) <= MAX_DESCRIPTION
    assert "passed:" in text and "artifacts/bundle/card.md" in text and "a line of the card\n\n…" in text


def test_the_globals_of_mlflow_are_left_as_they_were(make_bundle):
    enter(make_bundle(68), "globals")
    assert "MLFLOW_TRACKING_URI" not in os.environ
    ganline.load("models:/globals/1")
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_the_registered_model_paints_what_the_bundle_paints(make_bundle):
    import pandas as pd
    from mlflow.pyfunc import load_model

    from ganline.images import png_bytes

    folder = make_bundle(69)
    enter(folder, "pyfunc")
    model = load_model(versions("pyfunc")[0].location)
    answer = model.predict(pd.DataFrame({"label": ["square", None]}), params={"n": 3, "seed": 5, "truncation": 0.5})
    assert answer[["row", "index", "seed"]].values.tolist() == [[r, i, 5] for r in (0, 1) for i in range(3)]
    assert answer["label"][:3].tolist() == ["square"] * 3
    import base64

    expected = ganline.load(str(folder)).sample(3, seed=5, label="square", truncation=0.5)
    assert [base64.b64decode(image) for image in answer["image"][:3]] == [png_bytes(image) for image in expected]
    assert model.predict(pd.DataFrame({"label": [""]}), params={"label": "circle"})["label"].tolist() == ["circle"]
    assert len(model.predict(pd.DataFrame([{}]))) == 1
    from mlflow.exceptions import MlflowException

    for wrong in ({"label": "hexagon"}, {"n": 0}, {"n": 10**9}, {"truncation": 2.0}):
        with pytest.raises(MlflowException, match="expected: "):
            model.predict(pd.DataFrame({"label": [""]}), params=wrong)


def test_importing_the_edges_imports_neither_mlflow_nor_torch():
    code = (
        "import sys, ganline.integrations.mlflow_registry, ganline.integrations.mlflow_tracking, "
        "ganline.integrations.tensorboard; sys.exit(bool({'mlflow', 'torch', 'tensorboard'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_home_is_that_of_the_main_checkout_even_in_a_worktree(tmp_path, monkeypatch):
    def git(*arguments: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments], cwd=main, check=True, capture_output=True
        )

    monkeypatch.delenv("GANLINE_HOME")
    main = tmp_path / "main"
    (main / "deep").mkdir(parents=True)
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "first")
    git("worktree", "add", "-q", str(tmp_path / "tree"))
    for folder in (main, main / "deep", tmp_path / "tree"):
        monkeypatch.chdir(folder)
        assert state.home() == main / ".ganline"
