"""The scheduled line: the newest data, isolated from the checkout, through to the registry and its gate.

Deployed as `refresh/nightly` by prefect.yaml. It runs in a workspace under .ganline/ws, so a schedule never meets the
files somebody is editing; equal results come from the shared DVC cache.
"""

from __future__ import annotations

import os

from ganline.environment import set_defaults

set_defaults()

from prefect import flow, get_run_logger
from prefect.states import Failed, State

from flows.pipeline import pipeline
from ganline.errors import GanlineError
from ganline.line import check_environment, refuse_early
from ganline.workspace import check_code, checkout, hold, isolate, preset_overlay


@flow(name="refresh")
def refresh(preset: str | None = None, accept: bool = True) -> State:
    """Run the line for the default configuration, or for a preset. Changed data becomes a new data version."""
    try:
        check_environment()
        base = checkout()
        check_code(base)
        overlay = preset_overlay(base, preset) if preset else {}
        workspace = base.beside(f"refresh-{preset or 'default'}")
        os.environ.update(workspace.environment())
        with hold(workspace):
            refuse_early(base, workspace, (workspace.name, overlay))
            isolate(base, workspace, overlay)
            return pipeline(workspace.root, accept=accept, return_state=True)
    except GanlineError as error:
        get_run_logger().error("%s", error)
        return Failed(message=str(error))


if __name__ == "__main__":
    refresh()
