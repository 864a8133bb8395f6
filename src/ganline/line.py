"""`ganline run`: choose a workspace, check whether anything is left to do, run the flow, tell the result."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import Any

from ganline import doctor, effects, leash, preflight
from ganline.config import Config, load_config, read_yaml
from ganline.environment import make_caches
from ganline.errors import ConfigError, GanlineError, GateError, WorkspaceError
from ganline.files import read_json
from ganline.integrations.mlflow_store import check_store
from ganline.integrations.prefect_server import check_server, flow_environment
from ganline.network import check_proxies
from ganline.page.words import warnings
from ganline.registry.card import extractor_lines, metric_rows
from ganline.snapshot import base_commit
from ganline.stages.places import METRICS, MODEL, REPORT, SAMPLES, USEFULNESS, VALIDATE
from ganline.workspace import Workspace, check_params, folder_overlay, hold, isolate, merged_params, preset_overlay

log = logging.getLogger(__name__)


Overlay = tuple[str, dict[str, Any]]


def choose(
    base: Workspace,
    *,
    preset: str | None,
    data: Path | None = None,
    resolution: int | None = None,
    name: str | None = None,
) -> Overlay | None:
    """Name and overlay of the isolated workspace for a preset or a folder of images; None for the checkout itself."""
    if preset == "folder":
        raise ConfigError(
            "PRESET=folder needs a folder",
            remedy="name it: make run DATA=/path/to/images RES=64; for a study set data.source in a preset of your own",
        )
    if preset:
        return preset, preset_overlay(base, preset)
    return folder_overlay(base, data, resolution, name) if data else None


STUDIES = {"tokenizer", "llm", "teacher", "bank", "students", "quality", "speedup"}
"""Sections of params.yaml that `ganline speedup` reads and `ganline run` does not."""


def choose_study(base: Workspace, preset: str | None) -> Overlay | None:
    """As `choose`. Raises ConfigError for a preset that sets a model and no study, which would ignore it."""
    overlay = choose(base, preset=preset)
    if overlay and "train" in overlay[1] and not STUDIES & overlay[1].keys():
        files = sorted((base.root / "presets").glob("*.yaml"))
        raise ConfigError(
            f"preset {preset} sets a model of its own and says nothing of a language model and GANs in its place",
            expected="one such as " + ", ".join(file.stem for file in files if STUDIES & read_yaml(file).keys()),
            remedy=f"make run PRESET={preset} trains what it describes; a study of your own is a preset with "
            f"any of {', '.join(sorted(STUDIES))}",
        )
    return overlay


def run(base: Workspace, overlay: Overlay | None, *, accept: bool) -> None:
    """Run the line, or say that nothing changed. Where a step fails the process ends with exit code 1."""
    check_environment()
    started = time.monotonic()
    workspace = base.beside(overlay[0]) if overlay else base
    os.environ |= workspace.environment()
    with hold(workspace):
        refuse_early(base, workspace, overlay)
        if overlay:
            isolate(base, workspace, overlay[1])
        standing = None if accept else unchanged(workspace.root)
        if standing is None:
            run_flow(workspace, "model", accept=accept)
            standing = effects.standing(workspace.root)
            if standing is None:
                raise WorkspaceError(
                    "the flow ended, but files it depends on changed meanwhile", remedy="run the same command again"
                )
        else:
            effects.end_abandoned_runs(workspace.root)
            print(f"nothing changed since the last run (checked in {time.monotonic() - started:.1f} s)")
        tell(workspace, standing)


def refuse_early(base: Workspace, workspace: Workspace, overlay: Overlay | None) -> None:
    """Raise what register or promote would raise in the end, before a workspace is made or anything is started."""
    config = configured(base, workspace, overlay)
    effects.check_installed(config)
    preflight.require(preflight.before_fetch(config, workspace.root))
    base_commit(base.root)  # a repository that git cannot read


def configured(base: Workspace, workspace: Workspace, overlay: Overlay | None) -> Config:
    """What the workspace will read. Raises ConfigError."""
    return check_params(base, workspace, merged_params(base, overlay[1] if overlay else {}))


def check_environment() -> None:
    """Before anything is written or trained: the packages, proxies and servers of the environment can be used.

    Raises ConfigError, WorkspaceError, RegistryError.
    """
    check_packages()
    check_proxies()
    check_server(os.environ)
    check_store()


def check_packages() -> None:
    """Raises WorkspaceError if a package is installed in a release that is known to break others."""
    if broken := doctor.broken_packages():
        raise WorkspaceError("; ".join(broken), expected="the releases of constraints.txt", remedy=doctor.REINSTALL)


def unchanged(root: Path) -> effects.Standing | None:
    """The registered result if raw bytes, stages and registry are all as the last run left them."""
    if not (root / MODEL).is_dir():
        return None
    try:
        effects.verify(root)
        return effects.standing(root) if effects.source_is_unchanged(root) else None
    except GanlineError as error:
        log.info("%s", error)
        return None


def speedup(base: Workspace, overlay: Overlay | None, *, accept: bool) -> None:
    """Bring the study's stages up to date, measure, and tell what was found. Fails as `run` does."""
    check_environment()
    workspace = base.beside(overlay[0]) if overlay else base
    with hold(workspace):
        effects.check_installed(configured(base, workspace, overlay), "speedup")
        if overlay:
            isolate(base, workspace, overlay[1])
        os.environ |= workspace.environment()
        run_flow(workspace, "speedup", accept=accept)
        print(effects.told_study(workspace.root))


def run_flow(workspace: Workspace, goal: str, *, accept: bool) -> None:
    """A flow of flows/pipeline.py in a process of its own, on an ephemeral Prefect server.

    Where a step fails, that process says so, and this one ends with its exit code. Raises GateError if it was killed.
    """
    make_caches()
    command = [sys.executable, str(workspace.root / "flows" / "pipeline.py"), goal, *(["--accept"] if accept else [])]
    env = flow_environment(workspace.environment(), workspace.home)
    code = leash.run_to_its_end(command, cwd=workspace.root, env=env)
    if code == 1:
        raise SystemExit(code)  # it said where it stopped
    if code:
        ended = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise GateError(
            f"the process that runs the line was ended from outside ({ended})",
            expected="enough memory, and nobody who kills it",
            remedy="run the same command again: it goes on where it was",
        )


def tell(workspace: Workspace, standing: effects.Standing) -> None:
    """The end of a run: what was made, how good it is, where to look, what to do next."""
    root = workspace.root
    metrics, config = read_json(root / METRICS), load_config(root)
    name = f"models:/{standing.name}" + (f"@{standing.alias}" if standing.alias else f"/{standing.version}")
    print(f"\n{standing.name} version {standing.version}, alias {standing.alias or 'none'}; {standing.told}")
    for metric, value in metric_rows(metrics):
        print(f"  {metric}: {value}")
    for line in extractor_lines(metrics):
        print(f"  {line}")
    for remark in warnings(metrics, read_json(root / USEFULNESS)):
        print(f"  {'GRAVE' if remark.grave else 'warning'}: {remark.text}")
    print(f"\n  report      {root / REPORT}")
    print(f"  samples     {root / SAMPLES}")
    print(f"  data        {root / VALIDATE / 'report.html'}")
    print(f"\n  registry    make ui; .venv/bin/ganline history {shlex.quote(standing.name)}")
    labels = config.train.model.class_conditional
    print(f"  more        .venv/bin/ganline generate --model {shlex.quote(name)} --n 64 --seed 0 -o grid.png")
    if labels:
        print("              (add --label NAME for one class)")
