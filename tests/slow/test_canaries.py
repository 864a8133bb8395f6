"""No secret of the machine gets into what `make run` writes: Prefect's database and logs, a workspace, the registry."""

from __future__ import annotations

import pytest

from tests.line.canaries import CANARIES, CHANGED, NEW, leaks, packages, patched_names, planted_project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def test_no_planted_secret_is_in_what_the_flow_writes_in_the_checkout_and_isolated(tmp_path) -> None:
    with planted_project(tmp_path) as project:
        (project.root / "presets" / "other.yaml").write_text("train: {seed: 11}\nregister: {name: other}\n")
        output = project.must("ganline", "run") + project.must("ganline", "run", "--preset", "other")
        assert "tiny version 1, alias" in output and "other version 1, alias" in output
        assert leaks(tmp_path, project) == []
        assert [name for name, secret in CANARIES.items() if secret.decode() in output] == []
        travelled = {NEW, CHANGED, "presets/other.yaml"}
        found = [patched_names(package) for package in packages(project)]
        assert len(found) == 2
        assert travelled in found  # of the checkout
        assert travelled | {"params.yaml"} in found  # of the workspace, whose parameters are its own
        assert list((project.root / ".ganline" / "prefect").glob("*.db")), "Prefect's database was not looked at"
