"""The line as Prefect flows: fetch, verify, the stages of dvc.yaml that a goal needs, then the steps outside it.

`pipeline` ends with register and promote, `speedup` with the study of a language model and the GANs in its place.

The stages come from the DAG: there is no second list of them. Each is a task that runs `dvc repro --single-item STAGE`
as a child process (a crash stays there, device memory is freed), streams its log here, and ends in a state named
`ran` or `cached`. DVC decides what is stale; Prefect's own result cache is off.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ganline import effects, leash
from ganline.config import load_config
from ganline.environment import drop_git_context, set_defaults
from ganline.errors import GanlineError
from ganline.integrations import dvc_repo
from ganline.promoting import Outcome
from ganline.stages import GOALS

set_defaults()
drop_git_context()

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed, State

FOLLOW_SECONDS = 5.0


@task(cache_policy=NO_CACHE, task_run_name="{stage}")
def run_stage(root: Path, stage: str) -> State:
    """One stage of the DAG in a process of its own."""
    logger = get_run_logger()
    env = os.environ | leash.own()
    with following(root, logger) if stage == "train" else nothing():
        code, how = dvc_repo.run_stage(root, stage, say=logger.info, env=env)
    if code:
        return Failed(message=f"{stage} failed: its last lines say why")
    return Completed(message=f"{stage}: {how}", name=how)


@task(cache_policy=NO_CACHE, task_run_name="{name}")
def run_effect(name: str, effect: Callable[[], object]) -> State:
    """One step outside the DAG. An error that a user can mend is a message, not a traceback.

    What the gate decided is the state's name: a refusal is a result, and no failure of the flow.
    """
    try:
        with told_to(get_run_logger()):
            result = effect()
    except GanlineError as error:
        get_run_logger().error("%s", error)
        return Failed(message=f"{name} failed: the line above says why")
    how = result.action if isinstance(result, Outcome) else None
    return Completed(message=f"{name}: {result}" if result else name, name=how)


@contextmanager
def told_to(logger: logging.Logger | logging.LoggerAdapter) -> Iterator[None]:
    """Send what ganline's own modules log to the run's log, and only there: it prints too."""

    class Relay(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logger.log(record.levelno, "%s", record.getMessage())

    relay, source = Relay(), logging.getLogger("ganline")
    source.setLevel(logging.INFO)
    source.addHandler(relay)
    source.propagate = False
    try:
        yield
    finally:
        source.propagate = True
        source.removeHandler(relay)


@contextmanager
def nothing() -> Iterator[None]:
    yield


@contextmanager
def following(root: Path, logger: logging.Logger | logging.LoggerAdapter) -> Iterator[None]:
    """While the trainer works, bring MLflow up to its log every few seconds. A failing store never stops training."""
    done = threading.Event()

    def follow() -> None:
        training, config = None, load_config(root)
        while not done.wait(FOLLOW_SECONDS):
            try:
                training = training or effects.begun_training(config, root)
                if training is not None:
                    training.follow(tensorboard=config.tracking.tensorboard)
            except Exception as error:  # a store's trouble is told, and never stops or ends a training
                logger.warning("MLflow cannot follow just now: %s", error)

    thread = threading.Thread(target=follow, daemon=True, name="follower")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=60)


def walk(root: Path, goal: str, steps: Mapping[str, Callable[[Path], object]], *, accept: bool) -> State:
    """Fetch, verify, the stages that a goal needs, then steps outside the DAG. Stops at the first that fails.

    What the last steps would refuse is refused before fetch, or as soon as the data is prepared.
    """
    registers = "register" in steps
    before: dict[str, Callable[[], object]] = {"preflight": lambda: effects.preflight(root)} if registers else {}
    before |= {"fetch": lambda: effects.fetch(root, accept=accept), "verify": lambda: effects.verify(root)}
    state: State = Completed()
    for name, effect in before.items():
        if state.is_completed():
            state = run_effect(name, effect, return_state=True)
    for stage in dvc_repo.stage_order(root, GOALS[goal]) if state.is_completed() else []:
        state = run_stage(root, stage, return_state=True)
        if stage == "prepare" and registers and state.is_completed():
            state = run_effect("preflight", lambda: effects.preflight(root, prepared=True), return_state=True)
        if not state.is_completed():
            break
    for name, step in steps.items():
        if state.is_completed():
            state = run_effect(name, partial(step, root), return_state=True)
    return state if state.is_completed() else Failed(message=state.message)


@flow(name="pipeline", flow_run_name="{root.name}", validate_parameters=False)
def pipeline(root: Path, accept: bool = False) -> State:
    """From the configured source to a decided model, in one workspace. Stops at the first step that fails."""
    return walk(root, "model", {"register": effects.register, "promote": effects.promote}, accept=accept)


@flow(name="speedup", flow_run_name="{root.name}", validate_parameters=False)
def speedup(root: Path, accept: bool = False) -> State:
    """From the configured source to the study of a language-model generator and GANs in its place."""
    return walk(root, "speedup", {"study": effects.study_speedup}, accept=accept)


FLOWS = {"model": pipeline, "speedup": speedup}


def main() -> int:
    """Run the flow of a goal in the present folder: exit code 0 if it completed."""
    leash.die_with_owners()
    state = FLOWS[sys.argv[1]](Path.cwd(), accept="--accept" in sys.argv[2:], return_state=True)
    return 0 if state.is_completed() else 1


if __name__ == "__main__":
    raise SystemExit(main())
