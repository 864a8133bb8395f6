"""MLflow follows the trainer's files: every line once, whatever is killed, torn, rewound or repeated."""

from __future__ import annotations

import builtins
import json
import time
from pathlib import Path

import pytest

from ganline.errors import ConfigError, RegistryError
from ganline.integrations import mlflow_store, mlflow_tracking
from ganline.integrations.jsonl import LineReader
from ganline.integrations.mlflow_tracking import allowed, final_metrics, find_or_start_run, finish, follow, follower

pytestmark = pytest.mark.usefixtures("embedded")

MACHINE = {"torch": "2.13.0", "threads": 2}


@pytest.fixture
def work(tmp_path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture
def run_id(request) -> str:
    return find_or_start_run(request.node.name, MACHINE, name="test")


def client():
    return mlflow_store.open_store().client


def history_line(step: int) -> str:
    return json.dumps({"step": step, "nimg": step * 64, "loss_D": 1 / (step + 1), "loss_G": float(step)}) + "\n"


def system_line(step: int) -> str:
    return json.dumps({"step": step, "nimg": step * 64, "time": 1e9 + step, "rss_mb": 100.0}) + "\n"


def tell(work: Path, steps) -> None:
    with (work / "history.jsonl").open("a") as history, (work / "system.jsonl").open("a") as system:
        for step in steps:
            history.write(history_line(step))
            system.write(system_line(step))


def steps(run_id: str, key: str) -> list[int]:
    return [metric.step for metric in client().get_metric_history(run_id, key)]


def new_process() -> None:
    """What a process that starts afresh knows: nothing."""
    follower.cache_clear()


def test_every_line_arrives_once_with_its_values_and_times(run_id, work):
    tell(work, range(5))
    assert follow(run_id, work) == 10
    assert follow(run_id, work) == 0
    tell(work, range(5, 7))
    assert follow(run_id, work) == 4
    new_process()
    assert follow(run_id, work) == 0
    for key in ("loss_D", "loss_G", "nimg", "system/rss_mb", "system/nimg"):
        assert steps(run_id, key) == list(range(7))
    history = client().get_metric_history(run_id, "loss_G")
    assert [metric.value for metric in history] == [float(step) for step in range(7)]
    assert [metric.timestamp for metric in history] == [round(1000 * (1e9 + step)) for step in range(7)]
    assert "system/time" not in client().get_run(run_id).data.metrics


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_killed_around_any_batch_no_step_is_lost_or_logged_twice(run_id, work, monkeypatch, call, committed):
    from mlflow import MlflowClient

    monkeypatch.setattr(mlflow_tracking, "MAX_METRICS", 10)
    genuine, calls = MlflowClient.log_batch, []

    def killed(*arguments, **options):
        calls.append(1)
        if len(calls) == call:
            if committed:
                genuine(*arguments, **options)
            raise KeyboardInterrupt
        return genuine(*arguments, **options)

    tell(work, range(8))
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", killed)
        with pytest.raises(KeyboardInterrupt):
            follow(run_id, work)
    new_process()
    follow(run_id, work)
    for key in ("loss_D", "loss_G", "nimg", "system/rss_mb"):
        assert steps(run_id, key) == list(range(8))


def test_the_same_process_goes_on_after_the_store_failed(run_id, work, monkeypatch):
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def fail(*_arguments, **_options):
        raise MlflowException("database is locked")

    tell(work, range(3))
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", fail)
        with pytest.raises(RegistryError, match="database is locked"):
            follow(run_id, work)
    assert follow(run_id, work) == 6
    assert steps(run_id, "loss_D") == [0, 1, 2]


def test_a_torn_last_line_waits_until_it_is_whole(run_id, work):
    tell(work, range(2))
    whole = history_line(2)
    with (work / "history.jsonl").open("a") as file:
        file.write(whole[:15])
    assert follow(run_id, work) == 4
    with (work / "history.jsonl").open("a") as file:
        file.write(whole[15:])
    assert follow(run_id, work) == 1
    assert steps(run_id, "loss_D") == [0, 1, 2]


def test_a_line_that_a_killed_writer_left_torn_in_the_middle_is_passed_over(run_id, work):
    tell(work, range(1))
    with (work / "history.jsonl").open("a") as file:
        file.write('{"step": 1, "ni' + history_line(2) + "[]\n" + '"text"\n' + history_line(3))
    follow(run_id, work)
    assert steps(run_id, "loss_D") == [0, 3]


@pytest.mark.parametrize("fresh", [False, True], ids=["same process", "new process"])
@pytest.mark.parametrize("kept", [0, 3])
def test_a_resumed_training_that_rewinds_its_files_logs_no_step_twice(run_id, work, fresh, kept):
    tell(work, range(6))
    follow(run_id, work)
    for name in ("history.jsonl", "system.jsonl"):
        lines = (work / name).read_text().splitlines(keepends=True)
        (work / name).write_text("".join(lines[:kept]))
    if fresh:
        new_process()
    assert follow(run_id, work) == 0
    tell(work, range(kept, 9))
    assert follow(run_id, work) == 6
    assert steps(run_id, "loss_D") == steps(run_id, "system/rss_mb") == list(range(9))


def test_a_file_that_was_rewritten_longer_than_before_is_read_from_its_beginning(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_text(history_line(1))
    reader = LineReader(path)
    assert [line["step"] for line in reader.read()] == [1]
    path.write_text(history_line(7) + history_line(8))
    assert [line["step"] for line in reader.read()] == [7, 8]
    path.unlink()
    assert reader.read() == []
    path.write_text(history_line(9))
    assert [line["step"] for line in reader.read()] == [9]


def test_before_the_trainer_starts_there_is_nothing_to_log(run_id, tmp_path):
    assert follow(run_id, tmp_path / "not yet") == 0


def test_a_poll_without_news_is_cheap(run_id, work):
    tell(work, range(50))
    (work / "samples").mkdir()
    (work / "samples" / "0000000064.png").write_bytes(b"png")
    follow(run_id, work)
    started = time.perf_counter()
    for _ in range(10):
        follow(run_id, work)
    assert (time.perf_counter() - started) / 10 < 0.1


def test_pictures_are_sent_once_and_a_half_sent_one_again(run_id, work, monkeypatch):
    from mlflow import MlflowClient

    sent = []
    genuine = MlflowClient.log_artifact

    def counted(self, run, path, folder=None):
        sent.append(Path(path).name)
        return genuine(self, run, path, folder)

    monkeypatch.setattr(MlflowClient, "log_artifact", counted)
    (work / "samples").mkdir()
    (work / "samples" / "0000000064.png").write_bytes(b"one")
    (work / "samples" / ".partial-1-0000000128.png").write_bytes(b"being written")
    follow(run_id, work), follow(run_id, work)
    new_process()
    follow(run_id, work)
    assert sent == ["0000000064.png"]
    place = Path(client().get_run(run_id).info.artifact_uri.removeprefix("file://")) / "samples" / "0000000064.png"
    place.write_bytes(b"o")
    new_process()
    follow(run_id, work)
    assert place.read_bytes() == b"one"
    assert [path.name for path in place.parent.iterdir()] == ["0000000064.png"]


def test_a_run_is_found_by_recipe_and_machine(work):
    first = find_or_start_run("found", MACHINE, name="a")
    assert find_or_start_run("found", dict(reversed(MACHINE.items())), name="b") == first
    assert find_or_start_run("found", MACHINE | {"threads": 4}, name="c") != first
    assert find_or_start_run("other", MACHINE, name="d") != first


def test_a_result_from_a_cache_belongs_to_the_run_that_made_it_if_that_is_known():
    made = find_or_start_run("cached", MACHINE, name="x")
    assert find_or_start_run("cached", None, name="x") == made
    unknown = find_or_start_run("made elsewhere", None, name="x")
    assert find_or_start_run("made elsewhere", None, name="x") == unknown != made


def test_a_finished_run_goes_on_only_when_its_training_does(run_id, work):
    tell(work, range(2))
    follow(run_id, work)
    finish(run_id, metrics={})
    ended = client().get_run(run_id).info.end_time
    new_process()
    follow(run_id, work)
    finish(run_id, metrics={})
    assert (client().get_run(run_id).info.status, client().get_run(run_id).info.end_time) == ("FINISHED", ended)
    tell(work, [2])
    follow(run_id, work)
    assert client().get_run(run_id).info.status == "RUNNING"


def test_the_end_names_figures_with_their_protocol_and_only_once(run_id, tmp_path):
    metrics = {
        "fd": {
            "name": "fd_cnn_fashion-mnist@1a2b3c4d_n10k",
            "value": 2.5,
            "std": 0.1,
            "interval": [2.3, 2.7],
            "floor": 0.01,
            "ratio": 250.0,
            "per_seed": {"0": 2.4, "1": 2.6},
        },
        "class_coverage": {"name": "class_coverage_cnn", "value": 1, "histogram": {"a": 1.0}},
        "extractor": {"sha256": "1a2b", "accuracy": 0.9},
        "nothing": {"name": "nothing", "value": None},
    }
    (tmp_path / "neighbours.png").write_bytes(b"png")
    for _ in range(2):
        finish(run_id, metrics=metrics, artifacts=[tmp_path / "neighbours.png", tmp_path / "missing.png"])
    name = "fd_cnn_fashion-mnist_1a2b3c4d_n10k"
    run = client().get_run(run_id)
    assert run.data.metrics == {
        name: 2.5,
        f"{name}/low": 2.3,
        f"{name}/high": 2.7,
        f"{name}/floor": 0.01,
        f"{name}/ratio": 250.0,
        "class_coverage_cnn": 1.0,
    }
    assert steps(run_id, name) == [0]
    assert run.info.status == "FINISHED"
    assert [item.path for item in client().list_artifacts(run_id)] == ["neighbours.png"]
    finish(run_id, metrics=metrics | {"fd": metrics["fd"] | {"value": 2.0}}, status="FAILED")
    assert client().get_run(run_id).data.metrics[name] == 2.0
    assert client().get_run(run_id).info.status == "FAILED"


def test_figures_that_are_not_finite_do_not_stop_the_end():
    assert final_metrics({"fd": {"name": "fd", "value": 1.0, "ratio": float("inf"), "std": float("nan")}}) == {
        "fd": 1.0
    }


def test_only_listed_parameters_leave_and_urls_lose_their_userinfo():
    params = {
        "data": {"source": {"name": "folder", "path": "/home/someone/pictures", "url": "https://u:p@host/x"}},
        "train": {
            "batch": 64,
            "model": {"name": "mlp", "widths": [256, 512]},
            "init_from": {"model": "https://user:secret@host/model?x=1", "api_key": "k"},
            "token": "t",
        },
        "register": {"name": "n"},
    }
    assert dict(allowed(params)) == {
        "data.source.name": "folder",
        "train.batch": "64",
        "train.model.name": "mlp",
        "train.model.widths": "[256, 512]",
        "train.init_from.model": "https://host/model?x=1",
    }


def test_parameters_are_logged_once_and_a_change_is_not_an_error():
    params = {"train": {f"option_{i}": i for i in range(150)}}
    run = find_or_start_run("params", MACHINE, name="p", params=params)
    assert find_or_start_run("params", MACHINE, name="p", params={"train": {"option_1": 99, "new": 1}}) == run
    logged = client().get_run(run).data.params
    assert (len(logged), logged["train.option_1"], logged["train.new"]) == (151, "1", "1")


def scalars(logdir: Path) -> dict[str, list[int]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(logdir), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    return {tag: [event.step for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]} | {
        tag: [event.step for event in events.Images(tag)] for tag in events.Tags()["images"]
    }


def test_tensorboard_shows_the_same_lines_once_after_any_number_of_restarts(work, tmp_path):
    pytest.importorskip("tensorboard")
    from PIL import Image

    from ganline.integrations.tensorboard import board, follow_tensorboard

    logdir = tmp_path / "board"
    tell(work, range(3))
    (work / "samples").mkdir()
    Image.new("L", (4, 4)).save(work / "samples" / "0000000128.png")
    assert follow_tensorboard(work, logdir) == 6
    assert follow_tensorboard(work, logdir) == 0
    tell(work, [3])
    assert follow_tensorboard(work, logdir) == 2
    for _ in range(2):
        expected = {tag: [0, 1, 2, 3] for tag in ("loss_D", "loss_G", "nimg", "system/nimg", "system/rss_mb")}
        assert scalars(logdir) == expected | {"samples": [2]}
        board.cache_clear()
        follow_tensorboard(work, logdir)
    board.cache_clear()


def test_without_tensorboard_the_message_says_what_to_install(work, tmp_path, monkeypatch):
    from ganline.integrations.tensorboard import follow_tensorboard

    genuine = builtins.__import__

    def refuse(name, *arguments, **options):
        if name.startswith("torch.utils.tensorboard"):
            raise ImportError(name)
        return genuine(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ConfigError, match="not installed") as error:
        follow_tensorboard(work, tmp_path / "board")
    assert "-e '.[tensorboard]'" in str(error.value)
