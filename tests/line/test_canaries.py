"""No secret of the machine gets into what the line and `ganline register` write."""

from __future__ import annotations

import base64
import gzip
import sqlite3
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from ganline.config import read_yaml
from ganline.sharing import CODE_FOLDERS
from tests.line.canaries import (
    CANARIES,
    CHANGED,
    MIRROR,
    NEW,
    PLANTED,
    canary,
    leaks,
    packages,
    patched_names,
    planted_project,
)
from tests.line.project import GOALS, Project

pytestmark = pytest.mark.timeout(1500)  # the fixture runs the whole line


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds all that the commands write: the project, a home and a folder for temporary files."""
    return tmp_path_factory.mktemp("canaries")


@pytest.fixture(scope="module")
def project(folder) -> Project:
    (folder / "site").mkdir()
    project = planted_project(folder)
    # A plain `dvc` would use its own place outside the folder.
    return replace(project, extra={**project.extra, "DVC_SITE_CACHE_DIR": str(folder / "site")})


@pytest.fixture(scope="module")
def output(project) -> str:
    """What the commands print."""
    commands = (["ganline", "fetch"], ["dvc", "repro", *GOALS], ["ganline", "register"], ["ganline", "promote"])
    return "".join(project.must(*command) for command in commands)


def test_no_planted_secret_is_in_what_the_line_and_register_write(project, folder, output) -> None:
    assert leaks(folder, project) == []
    assert [name for name, secret in CANARIES.items() if secret.decode() in output] == []


def test_what_is_meant_to_travel_does_and_what_stays_is_named(project, output) -> None:
    (package,) = packages(project)
    assert patched_names(package) == {NEW, CHANGED}
    assert (package / "code" / NEW.removeprefix("src/")).is_file()
    left_out = (package / "replay" / "left_out.txt").read_text()
    ignored = (".env", "token.key", "credentials.json")  # by .gitignore: git does not name them
    for name in PLANTED:
        in_code = name.split("/")[0] in CODE_FOLDERS
        is_named = in_code and name.rpartition("/")[2] not in ignored
        assert (repr(name) in left_out) == is_named, name
        assert not is_named or repr(name) in output
    assert "'data_private/'" in output and "'notes.txt'" in output


def test_the_search_finds_a_canary_wherever_it_may_be(project, folder, output) -> None:
    """The control: each way of looking finds what is put there."""
    place = folder / "tmp" / "control"
    place.mkdir()
    secret = canary(".env")
    (place / "plain").write_bytes(b"x" + secret)
    (place / "packed.gz").write_bytes(gzip.compress(secret))
    with zipfile.ZipFile(place / "packed.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("member", secret * 9)
    with sqlite3.connect(place / "rows.db") as database:
        database.execute("create table t (x text)")
        database.execute("insert into t values (?)", ("p" * 5000 + secret.decode(),))
    database.close()
    (place / "encoded").write_bytes(b"xy" + base64.b64encode(b"user:" + secret))
    (place / f"name {secret.decode()}").touch()
    write_object = ["git", "-C", project.root, "hash-object", "-w", "--stdin"]
    subprocess.run(write_object, input=canary("notes.txt"), check=True, capture_output=True)
    places = leaks(place, project)
    kinds = ("plain", "packed.gz (gunzipped)", "packed.zip/member", "rows.db (rows)", "encoded")
    for name in (*kinds, f"the name name {secret.decode()}"):
        assert f".env in {name}" in places
    assert "notes.txt in git's objects" in places


def test_a_password_in_params_is_refused_before_anything_is_written(project, folder, output) -> None:
    params = project.root / "params.yaml"
    before = params.read_text()
    mirrors = {"data": {"mirrors": [f"https://user:{canary(MIRROR).decode()}@127.0.0.1:9/x"]}}
    try:
        project.set_params(mirrors)
        assert read_yaml(params)["data"]["mirrors"]
        for command in (["ganline", "fetch"], ["ganline", "register"], ["ganline", "run", "--preset", "digits"]):
            refused = project.run(*command)
            assert refused.returncode == 1
            assert "data.mirrors" in refused.stdout and "GANLINE_MIRROR" in refused.stdout
            assert canary(MIRROR).decode() not in refused.stdout
    finally:
        params.write_text(before)
    assert [leak for leak in leaks(folder, project) if leak.startswith(MIRROR)] == []
