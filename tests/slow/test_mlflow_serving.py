"""The registered model as users meet it: a real store, `mlflow models serve`, the UI, a notebook, racing processes."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

import ganline
from ganline.integrations import mlflow_store
from ganline.integrations.mlflow_registry import Lineage, register
from ganline.integrations.mlflow_versions import versions
from ganline.registry.promotion import FloorsConfig
from tests.unit.servers import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebooks" / "generate.ipynb"
METRICS = {
    "class_coverage": {"name": "class_coverage_cnn_shapes@1a2b3c4d", "value": 1.0},
    "copied_share": {"name": "copied_share_cnn_shapes@1a2b3c4d_n64", "value": 0.0, "floor": 0.0},
}
ENTER = """
import sys
from pathlib import Path
from ganline.integrations.mlflow_registry import Lineage, register
from ganline.registry.promotion import FloorsConfig

metrics = {
    "class_coverage": {"name": "class_coverage_cnn_shapes@1a2b3c4d", "value": 1.0},
    "copied_share": {"name": "copied_share_cnn_shapes@1a2b3c4d_n64", "value": 0.0, "floor": 0.0},
}
done = register(Path(sys.argv[1]), name="shapes", floors=FloorsConfig(), metrics=metrics,
                lineage=Lineage("r", "m", "shapes"), replay_files={})
print(done.version, done.alias, done.created)
"""
OUTSIDE = """
import importlib.util, sys
sys.path = [entry for entry in sys.path if not entry.rstrip("/").endswith("/src")]
assert importlib.util.find_spec("ganline") is None, "the checkout is still importable"
import pandas as pd
from mlflow.pyfunc import load_model
answer = load_model(sys.argv[1]).predict(pd.DataFrame({"label": ["square"]}), params={"n": 2})
import ganline
print(len(answer), ganline.__file__)
"""


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """An embedded store of its own, by environment: child processes see it too."""
    monkeypatch.setenv("GANLINE_HOME", str(tmp_path / "home"))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    return tmp_path / "home"


def enter(folder: Path):
    lineage = Lineage("r", "m", "shapes")
    return register(
        folder,
        name="shapes",
        floors=FloorsConfig(),
        metrics=METRICS,
        lineage=lineage,
        replay_files={"params.yaml": b""},
    )


@contextmanager
def server(*arguments: str, log: Path, check: str) -> Iterator[str]:
    """`mlflow …` on a free loopback port until the block ends, its whole process group with it."""
    port = free_port()
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": mlflow_store.store_uri(),
        "MLFLOW_BACKEND_STORE_URI": mlflow_store.store_uri(),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        # `mlflow models serve` starts uvicorn by its bare name, as in an activated environment.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *arguments, "--host", "127.0.0.1", "--port", str(port)],
            env=environment,
            cwd=log.parent,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 180
        while True:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            try:
                if requests.get(f"http://127.0.0.1:{port}{check}", timeout=5).ok:
                    break
            except requests.RequestException:
                time.sleep(0.3)
        yield f"http://127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(20)


def test_a_served_model_answers_with_the_images_that_python_gets(home, make_bundle, tmp_path):
    enter(make_bundle())
    generator = ganline.load("models:/shapes@challenger")
    serve = ("models", "serve", "-m", "models:/shapes@challenger", "--env-manager", "local")
    with server(*serve, log=tmp_path / "serve.log", check="/ping") as url:
        request = {
            "dataframe_split": {"columns": ["label"], "data": [["square"], [None]]},
            "params": {"n": 3, "seed": 11, "truncation": 0.7, "label": "circle"},
        }
        answer = requests.post(f"{url}/invocations", json=request, timeout=60)
        assert answer.status_code == 200, answer.text
        rows = answer.json()["predictions"]
        pictures = np.stack([np.asarray(Image.open(io.BytesIO(base64.b64decode(row["image"])))) for row in rows])
        for first, label in ((0, "square"), (3, "circle")):
            expected = generator.sample(3, seed=11, truncation=0.7, label=label)
            assert np.array_equal(pictures[first : first + 3], expected[:, 0])
        assert [row["label"] for row in rows] == ["square"] * 3 + ["circle"] * 3
        few = request | {"params": request["params"] | {"n": 1}}
        few["dataframe_split"] = {"columns": ["label"], "data": [["circle"], ["square"], ["circle"]]}
        alone = requests.post(f"{url}/invocations", json=few, timeout=60).json()["predictions"]
        assert [row["image"] for row in alone] == [rows[i]["image"] for i in (3, 0, 3)], "bytes depend on the request"
        bare = requests.post(f"{url}/invocations", json={"dataframe_records": [{}]}, timeout=60)
        assert bare.status_code == 200, bare.text
        assert len(bare.json()["predictions"]) == 1
        wrong = requests.post(f"{url}/invocations", json=request | {"params": {"label": "hexagon"}}, timeout=60)
        assert wrong.status_code == 400
        assert "'hexagon' is not known" in wrong.text and "half circle" in wrong.text
        flood = requests.post(f"{url}/invocations", json=request | {"params": {"n": 10**9}}, timeout=60)
        assert flood.status_code == 400
        assert "1 to 4096 images" in flood.text
        assert requests.post(f"{url}/invocations", json=request, timeout=60).json()["predictions"] == rows


def test_the_picture_in_the_description_is_served_by_the_ui(home, make_bundle, tmp_path):
    folder = make_bundle()
    enter(folder)
    (version,) = versions("shapes")
    text = mlflow_store.open_store().client.get_model_version("shapes", "1").description
    address = text.partition("![samples](")[2].partition(")")[0]
    assert version.model_id in address
    with server("server", log=tmp_path / "ui.log", check="/health") as url:
        answer = requests.get(f"{url}/{address}", timeout=30)
        assert answer.content == (folder / "samples.png").read_bytes()
        assert requests.get(f"{url}/health", headers={"Host": "evil.example"}, timeout=30).status_code in (200, 403)
        api = f"{url}/ajax-api/2.0/mlflow/experiments/search?max_results=1"
        assert requests.get(api, headers={"Host": "evil.example"}, timeout=30).status_code == 403


def test_a_real_server_registers_and_serves_bundles_like_the_embedded_store(home, make_bundle, tmp_path, monkeypatch):
    mlflow_store.open_store()
    folder = make_bundle()
    artifacts = f"--artifacts-destination={tmp_path / 'server-artifacts'}"
    uri = f"--backend-store-uri=sqlite:///{tmp_path / 'server.db'}"
    with server("server", uri, artifacts, log=tmp_path / "server.log", check="/health") as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        monkeypatch.setenv("GANLINE_HOME", str(tmp_path / "elsewhere"))
        first, second = enter(folder), enter(folder)
        assert (first.version, first.alias, first.created) == (1, "challenger", True)
        assert (second.version, second.alias, second.created) == (1, "challenger", False)
        images = ganline.load("models:/shapes@challenger").sample(3)
        assert np.array_equal(images, ganline.load(str(folder)).sample(3))
        assert (tmp_path / "server-artifacts").is_dir()
    from ganline.errors import RegistryError

    with pytest.raises(RegistryError, match="does not answer"):
        ganline.load("models:/shapes@challenger")


def test_the_model_needs_no_checkout(home, make_bundle, tmp_path):
    enter(make_bundle())
    (version,) = versions("shapes")
    result = subprocess.run(
        [sys.executable, "-c", OUTSIDE, version.location], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    count, place = result.stdout.split()
    assert count == "2"
    assert "/code/ganline/" in place


def test_two_processes_that_register_the_same_bundle_on_a_new_store_make_one_version(home, make_bundle):
    folder = make_bundle()
    racers = [
        subprocess.Popen([sys.executable, "-c", ENTER, str(folder)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    answers = sorted(racer.communicate(timeout=300)[0].split() for racer in racers)
    assert answers == [["1", "challenger", "False"], ["1", "challenger", "False"], ["1", "challenger", "True"]]
    assert len(versions("shapes")) == 1


def test_the_notebook_runs_on_a_registered_model(home, make_bundle, tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    enter(make_bundle())
    monkeypatch.setenv("GANLINE_NOTEBOOK_MODEL", "models:/shapes@challenger")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=180, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert "models:/shapes@challenger: 8 x 8 images" in json.dumps(notebook.cells)
