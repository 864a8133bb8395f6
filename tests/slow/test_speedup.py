"""The speed-up study on a tiny project: the flow, its pages, its MLflow run, and that it goes on where it was."""

from __future__ import annotations

import json

import pytest
from mlflow import MlflowClient

from tests.line.project import Project, make_project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

BRANCH = ["captions", "tokenizer", "llm", "bank", "students", "accelerate", "quality"]
WAYS = ("s1", "s2", "s3", "s4")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = make_project(tmp_path_factory.mktemp("speedup"))
    output = project.must("ganline", "speedup")
    for stage in BRANCH:
        assert f"{stage}: ran" in output
    assert "train: ran" not in output  # what the study does not need
    assert "race.html" in output and "--prompt" in output
    return project


def study(project: Project) -> dict:
    return json.loads((project.root / "artifacts/speedup/study.json").read_text())


def test_every_form_of_teacher_and_students_has_times_and_quality(project) -> None:
    found = study(project)
    names = {f"{each['model']} {each['form']}" for each in found["variants"]}
    assert names == {
        f"{model} {form}" for model in ("teacher", *WAYS) for form in ("eager", "compiled", "onnx", "int8")
    }
    assert not found["failed"]
    for each in found["variants"]:
        assert 0 < each["timing"]["p50_ms"] <= each["timing"]["p95_ms"] and each["timing"]["throughput"] > 0
        assert each["timing"]["first_ms"] > 0
        assert each["num_bytes"] > 0 and each["macs"] > 0
        assert each["quality"]["fd"]["name"].endswith("_n100") and len(each["quality"]["fd"]["seeds"]) == 2


def test_ways_differ_in_their_weights(project) -> None:
    bundles = {way: (project.root / f"artifacts/students/{way}-0/generator.safetensors").read_bytes() for way in WAYS}
    assert len(set(bundles.values())) == len(WAYS)


def test_a_mixture_is_a_student_and_its_trainings_stay_bundles(project) -> None:
    folder = project.root / "artifacts/students"
    networks = [(folder / f"s1/{name}.safetensors").read_bytes() for name in ("generator", "generator-1")]
    assert networks == [(folder / f"s1-{seed}/generator.safetensors").read_bytes() for seed in (0, 1)]
    assert study(project)["ablation"]["s1"]["mixture"] and not study(project)["ablation"]["s2"]["mixture"]
    project.must("ganline", "generate", "--model", str(folder / "s1"), "--n", "4", "-o", str(project.root / "s1.png"))


def test_the_study_holds_what_was_asked_of_it(project) -> None:
    found = study(project)
    assert set(found["ablation"]) == {"prompt", *WAYS} and found["ablation"]["s1"]["seeds"] == [0, 1]
    assert set(found["likelihood"]) == {"real", "teacher", "prompt", *WAYS}
    assert set(found["between"]) == {"teacher", "prompt", *WAYS}
    assert all({"fd", "fd_second", "recall", "coverage_second"} <= each.keys() for each in found["between"].values())
    assert found["language"]["train_seconds"] > 0 and found["language"]["train_cpu_seconds"] > 0
    assert found["ablation"]["s1"]["train_cpu_seconds"] > 0 and "train_seconds" not in found["ablation"]["s1"]
    assert found["language"]["trained_in"] == found["ablation"]["s1"]["trained_in"] in ("bfloat16", "float32")
    assert found["bank"]["n"] == 128 and found["bank"]["train_cpu_seconds"] > 0
    assert set(found["verdict"]["best"]["confirmed"]) == {"fd", "fd_second"}
    assert (
        found["parity"]["s1"]["compiled"]["equal_pixels"] > 0.9
        and found["parity"]["teacher"]["onnx"]["equal_tokens"] > 0.9
    )
    paths = found["prompts"]["paths"]
    assert all(found["prompts"]["encoder"][f"{form}_ms"] > 0 for form in ("eager", "onnx", "int8"))
    assert (
        found["parity"]["encoder"]["onnx"]["least_cosine"] > 0.9999 > found["parity"]["encoder"]["int8"]["mean_cosine"]
    )
    assert found["parity"]["encoder"]["int8"]["least_cosine"] > 0.95
    assert {name.split()[1] for name in paths} == {"eager", "onnx", "int8"}
    for path in paths.values():
        rate = next(value for key, value in path.items() if key.startswith("images_per_second"))
        assert 0 < path["p50_ms"] <= path["p95_ms"] and path["first_ms"] > 0 and rate > 0
    for who in ("prompt", "prompt in int8", "language model", "language model in int8"):
        assert f"{who}: sentences never trained on" in found["prompts"]["adherence"]
    assert found["verdict"]["best"]


def test_no_out_tells_of_this_machine(project) -> None:
    words = [str(project.root).encode(), b"/home/", b"/tmp/"]
    guilty = [
        (name, word)
        for name, content in project.outs().items()
        for word in words
        if word in content and not name.startswith("speedup/")
    ]
    assert not guilty


def test_the_pages_ask_for_nothing_from_outside(project) -> None:
    for name in ("study.html", "race.html"):
        page = (project.root / "artifacts/speedup" / name).read_text()
        assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page


def test_mlflow_has_the_study_with_its_pages(project) -> None:
    uri = f"sqlite:///{project.root}/.ganline/mlflow/mlflow.db"
    client = MlflowClient(uri, uri)
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    (run,) = [run for run in runs if run.info.run_name == "tiny-speedup"]
    assert run.data.metrics["teacher/int8/p50_ms"] > 0
    assert {each.path for each in client.list_artifacts(run.info.run_id)} >= {"study.html", "race.html", "study.json"}


def test_run_again_only_times_are_measured_again(project) -> None:
    before, outs = study(project), project.outs()
    output = project.must("ganline", "speedup")
    assert ": ran" not in output
    after = study(project)
    assert [each["quality"] for each in before["variants"]] == [each["quality"] for each in after["variants"]]
    assert [each["timing"] for each in before["variants"]] != [each["timing"] for each in after["variants"]]
    changed = [name for name, content in project.outs().items() if outs[name] != content]
    assert all(name.startswith("speedup/") for name in changed)


def test_another_clone_makes_the_same_bits_without_a_server_and_one_student_after_the_other(project, tmp_path) -> None:
    other = make_project(tmp_path)
    other.set_params({"students": {"at_once": 1}})
    other.must("ganline", "fetch")
    other.must("dvc", "repro", "quality")
    mine = {name: content for name, content in project.outs().items() if not name.startswith("speedup/")}
    theirs = other.outs()
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if mine[name] != theirs[name]] == []


def test_another_way_of_drawing_trains_no_language_model_again(project) -> None:
    project.set_params({"teacher": {"temperature": 0.9}})
    assert project.stages_run(project.must("dvc", "repro", "bank")) == ["bank"]


def test_a_prompt_is_painted_and_a_strange_one_is_told(project, tmp_path) -> None:
    model = str(project.root / "artifacts/students/prompt-0")
    command = ["ganline", "generate", "--model", model, "--n", "4", "-o", str(tmp_path / "grid.png"), "--prompt"]
    assert "far from" not in project.must(*command, "a thin seven")
    assert "is far from every prompt" in project.must(*command, "quarterly tax statement")


def test_the_language_model_paints_by_dials_of_its_own(project, tmp_path) -> None:
    def painted(*options: str) -> bytes:
        output = tmp_path / "grid.png"
        project.must("ganline", "decode", ".", "--n", "4", "--prompt", "a thin seven", "-o", str(output), *options)
        return output.read_bytes()

    plain = painted()
    assert plain == painted() and plain != painted("--seed", "1")
    for dial in (("--temperature", "0.3"), ("--top-k", "1"), ("--guidance", "3")):
        assert plain != painted(*dial)
    result = project.run("ganline", "decode", ".", "-o", str(tmp_path / "grid.png"), "--temperature", "0")
    assert result.returncode and "teacher.temperature: found 0.0" in result.stdout


def test_means_of_patches_go_through_every_stage(project) -> None:
    project.set_params({"tokenizer": {"name": "kmeans", "vocab": 16, "sample": 2000}})
    ran = project.stages_run(project.must("dvc", "repro", "accelerate"))
    assert sorted(ran) == ["accelerate", "bank", "llm", "students", "tokenizer"]
    parity = json.loads((project.root / "artifacts/accelerated/parity.json").read_text())
    assert parity["teacher"]["onnx"]["equal_tokens"] > 0.9
