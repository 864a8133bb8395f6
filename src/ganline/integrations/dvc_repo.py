"""DVC at the edge: the DAG's order, the data version, what is stale, and one stage at a time."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from ganline.errors import DataError, WorkspaceError
from ganline.files import write_text
from ganline.leash import kill_descendants

if TYPE_CHECKING:
    from dvc.repo import Repo
    from networkx import DiGraph

DATA_DVC = "data.dvc"
ACCEPTED = ".dvc/tmp/accepted-data.dvc"  # data.dvc as fetch left it: DVC rewrites its own without asking
log = logging.getLogger(__name__)

RAN, CACHED = "ran", "cached"
# What DVC tells an interactive user after every command.
HINTS = ("To track the changes", "To enable auto staging", "\tgit add", "\tdvc config", "Use `dvc push`", "> ganline")
Say = Callable[[str], None]


def needed_stages(repo: Repo, goals: Sequence[str]) -> DiGraph:
    """DVC's graph with edges from what a stage needs to the stage; with `goals` only they and their needs."""
    from networkx import ancestors

    graph = repo.index.graph.reverse()
    if not goals:
        return graph
    wanted = {stage for stage in graph if getattr(stage, "name", None) in goals}
    return graph.subgraph(wanted.union(*(ancestors(graph, stage) for stage in wanted)))


def stage_order(root: Path, goals: Sequence[str] = ()) -> list[str]:
    """Names of dvc.yaml's stages in topological order (the tracked data is no stage), as they stand there if that is
    one: so `dvc repro` walks too, and dvc.lock gets its entries in one order. With `goals` only they and their needs.
    """
    from dvc.repo import Repo
    from networkx import lexicographical_topological_sort

    listed = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    places = {name: place for place, name in enumerate(listed)}
    with Repo(str(root)) as repo:
        order = lexicographical_topological_sort(
            needed_stages(repo, goals),
            key=lambda stage: (places.get(getattr(stage, "name", ""), -1), stage.addressing),
        )
        return [stage.name for stage in order if getattr(stage, "cmd", None)]


def is_current(root: Path, goals: Sequence[str] = ()) -> bool:
    """Whether every stage's deps, params and outs are what dvc.lock records, and data/ what data.dvc records.

    With `goals` only they and what they need are looked at.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        # Stages are asked as objects: a name is looked for in the present folder, and DVC takes an address
        # (FOLDER/dvc.yaml:NAME) apart at any @, : or backslash of the folder.
        with Repo(str(root)) as repo, repo.lock:
            stages = list(needed_stages(repo, goals))
            return bool(stages) and not any(stage.status(check_updates=True) for stage in stages)
    except DvcException as error:
        log.info("DVC cannot tell whether anything changed: %s", error)
        return False


def folder_hash(folder: Path) -> str:
    """The hash that DVC gives a folder: md5 of the JSON list of (md5, relative path), sorted by path."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    entries = [{"md5": md5_file(files[name]), "relpath": name} for name in sorted(files)]
    return hashlib.md5(json.dumps(entries, sort_keys=True).encode()).hexdigest() + ".dir"


def md5_file(path: Path) -> str:
    """Hex md5 of a file's bytes: DVC's name for content, not our guard (that is SHA256SUMS)."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def locked_md5(root: Path, stage: str, path: str) -> str | None:
    """The md5 that dvc.lock records for a file that a stage made; None if it records none."""
    lock = root / "dvc.lock"
    stages = (yaml.safe_load(lock.read_text(encoding="utf-8")) or {}).get("stages", {}) if lock.is_file() else {}
    outs = stages.get(stage, {}).get("outs", ())
    return next((out.get("md5") for out in outs if out["path"] == path), None)


def data_version(root: Path) -> str | None:
    """The hash that data.dvc records; None if there is none yet."""
    path = root / DATA_DVC
    return str(yaml.safe_load(path.read_text(encoding="utf-8"))["outs"][0]["md5"]) if path.exists() else None


def check_version(root: Path) -> None:
    """Raise DataError where data/ is not the version that data.dvc records."""
    recorded, found = data_version(root), folder_hash(root / "data")
    if recorded != found:
        raise DataError(
            f"data/ has hash {found}, another version than data.dvc records",
            expected=str(recorded or "a data.dvc, which `ganline fetch` makes"),
            remedy="`ganline fetch` mends damage; `ganline fetch --accept` makes it the new version",
        )


def record_version(root: Path, *, accept: bool) -> bool:
    """Track data/ in data.dvc and put it into the cache. Returns whether data.dvc is new or changed.

    Raises DataError where data.dvc records another version and `accept` is False.
    """
    accepted, before, found = root / ACCEPTED, data_version(root), folder_hash(root / "data")
    if before not in (None, found) and accepted.exists() and found in accepted.read_text(encoding="utf-8"):
        # A plain `dvc repro` met damaged bytes and took them for a new version: put the accepted one back.
        write_text(root / DATA_DVC, accepted.read_text(encoding="utf-8"))
        before = found
    if before is not None and not accept:
        check_version(root)
    if before != found or not is_cached(root, found):
        said: list[str] = []
        if run_dvc(root, ["add", "--quiet", "data"], say=said.append):
            raise DataError(
                "DVC cannot record the data: " + " ".join(said[-3:]),
                remedy="mend what DVC says, and run `ganline fetch` again",
            )
    write_text(accepted, (root / DATA_DVC).read_text(encoding="utf-8"))
    return before != found


def is_cached(root: Path, version: str) -> bool:
    """Whether DVC's cache holds the listing of this version."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        return bool(repo.cache.local.exists(version))


def cache_folder(root: Path) -> Path:
    """Where DVC keeps the content of the project at `root`, by its own configuration files."""
    from dvc.config import Config

    named = Config(str(root / ".dvc"))["cache"].get("dir")
    return Path(named) if named else root / ".dvc" / "cache"


def share_cache(base: Path, root: Path) -> None:
    """Let the project at `root` use the DVC cache of `base`, so that equal results are computed once.

    Raises WorkspaceError where DVC's configuration cannot hold the path of the cache.
    """
    from configobj import ConfigObj, ConfigObjError  # the library by which DVC reads it
    from dvc.exceptions import DvcException

    cache, settings = cache_folder(base), root / ".dvc" / "config.local"
    # Relative where it can be: so it holds nothing of where the checkout lies, and stays right when that moves.
    inside = root.is_relative_to(base) and cache.is_relative_to(base)
    named = os.path.relpath(cache, settings.parent) if inside else str(cache)
    try:
        write_text(settings, "\n".join([*ConfigObj({"cache": {"dir": named}}).write(), ""]))
        found = cache_folder(root)
    except (ConfigObjError, DvcException):
        found = None
    if found != cache:
        settings.unlink(missing_ok=True)
        raise WorkspaceError(
            f"DVC's configuration cannot hold the path {str(cache)!r}",
            remedy="move the checkout to a folder with a plain name, or unset GANLINE_HOME",
        )


def run_dvc(root: Path, arguments: list[str], *, say: Say, env: Mapping[str, str] | None = None) -> int:
    """Run a DVC command as a child that dies with this process, streaming its output line by line."""
    command = [sys.executable, "-P", "-m", "ganline.leash", "dvc", *arguments]
    process = subprocess.Popen(
        command, cwd=root, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            say(line.rstrip())
        return process.wait()
    finally:
        if process.poll() is None:  # the walk is being stopped: the stage stops first
            kill_descendants(process.pid, itself=True)


def run_stage(root: Path, stage: str, *, say: Say, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """`dvc repro --single-item STAGE`: (exit code, "ran" or "cached"). Only for a caller that walks the whole order."""
    seen: list[str] = []

    def listen(line: str) -> None:
        seen.append(line)
        if line.strip() and not line.startswith(HINTS):
            say(line)

    code = run_dvc(root, ["repro", "--single-item", stage], say=listen, env=env)
    started = any(re.match(rf"Running stage '{re.escape(stage)}'", line) for line in seen)
    return code, RAN if started else CACHED
