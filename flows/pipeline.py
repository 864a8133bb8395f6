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
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ganline import leash

if __name__ == "__main__":
    leash.die_with_owners()  # before the imports that take seconds

from ganline import effects
from ganline.config import load_config
from ganline.environment import drop_git_context, set_defaults
from ganline.errors import GanlineError, GateError
from ganline.integrations import dvc_repo
from ganline.integrations.prefect_server import check_server
from ganline.promoting import Outcome
from ganline.sharing import without_userinfo
from ganline.stages import GOALS
from ganline.where_set import with_places

set_defaults()
drop_git_context()

try:  # every PREFECT_ variable is read by one of these
    from prefect import flow, get_run_logger, task
    from prefect.cache_policies import NO_CACHE
    from prefect.exceptions import TerminationSignal
    from prefect.settings import PREFECT_API_URL
    from prefect.states import Completed, Failed, State
except ValueError as error:
    from pydantic import ValidationError

    # The text of a ValidationError repeats all settings, keys and passwords among them.
    found = str(error)
    if isinstance(error, ValidationError):
        found = "; ".join(": ".join(map(str, (*each["loc"], each["msg"]))) for each in error.errors())
    sys.exit(f"error: Prefect cannot use its settings: {found}\n  to do: correct or unset these PREFECT_ variables")

FOLLOW_SECONDS = 5.0
STOPPED = 130
MEND = "mend it and run the same command again, with ACCEPT=1 (--accept) if you changed the data"
Step = tuple[str, Callable[..., State]]
# What Prefect adds to a step that failed or was stopped, beside the step's own words: the state once more, and for a
# state without an exception the line `NoneType: None`.
ECHOES = ("Task run failed with state", "Crash detected!")
# … and where a terminal shows one run, its end three times more.
ECHOES_OF_ONE_RUN = ("Finished in state Failed", "Finished in state Crashed", "Stopping temporary server")


def leave_out(beginnings: tuple[str, ...]) -> None:
    """Keep messages that begin so out of Prefect's logs."""
    for name in ("prefect", "prefect.task_runs", "prefect.flow_runs"):
        logging.getLogger(name).addFilter(lambda record: not record.getMessage().startswith(beginnings))


leave_out(ECHOES)


@task(cache_policy=NO_CACHE, task_run_name="{stage}")
def run_stage(root: Path, stage: str) -> State:
    """One stage of the DAG in a process of its own."""
    logger = get_run_logger()
    env = os.environ | leash.own()
    with following(root, logger) if stage == "train" else nothing():
        code, how = dvc_repo.run_stage(root, stage, say=logger.info, env=env)
    if code:
        return Failed(message="its last lines say why")
    return Completed(message=f"{stage}: {how}", name=how)


@task(cache_policy=NO_CACHE, task_run_name="{name}")
def run_effect(root: Path, name: str, effect: Callable[[Path], object]) -> State:
    """One step outside the DAG. An error that a user can mend is a message, not a traceback.

    What the gate decided is the state's name: a refusal is a result, and no failure of the flow.
    """
    try:
        with told_to(get_run_logger()):
            result = effect(root)
    except GanlineError as error:
        get_run_logger().error("%s", with_places(error))
        return Failed(message="its last lines say why")
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
                logger.warning("MLflow cannot follow just now: %s", without_userinfo(str(error)))

    thread = threading.Thread(target=follow, daemon=True, name="follower")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=60)


def walk(root: Path, goal: str, steps: Mapping[str, Callable[[Path], object]], *, accept: bool) -> State:
    """Fetch, verify, the stages that a goal needs, then steps outside the DAG. Stops at the first that fails.

    What the last steps would refuse is refused before fetch, or as soon as the data is prepared. The MLflow run of a
    training ends with the walk: FAILED where a step fails, KILLED where the walk is stopped. What a walk that was
    killed left RUNNING ends first.
    """
    effects.end_abandoned_runs(root)
    try:
        state = walk_steps(steps_of(root, goal, steps, accept=accept))
    except BaseException:
        effects.end_own_runs(root, "KILLED")
        raise
    if not state.is_completed():
        effects.end_own_runs(root, "FAILED")
    return state


def steps_of(root: Path, goal: str, after: Mapping[str, Callable[[Path], object]], *, accept: bool) -> Iterator[Step]:
    """What a walk does, in order. The stages are asked of DVC when their turn comes."""

    def effect(name: str, function: Callable[[Path], object]) -> Step:
        return name, partial(run_effect, root, name, function)

    registers = "register" in after
    if registers:
        yield effect("preflight", effects.preflight)
    yield effect("fetch", partial(effects.fetch, accept=accept))
    yield effect("verify", effects.verify)
    for stage in dvc_repo.stage_order(root, GOALS[goal]):
        yield stage, partial(run_stage, root, stage)
        if stage == "prepare" and registers:
            yield effect("preflight", partial(effects.preflight, prepared=True))
    for name, function in after.items():
        yield effect(name, function)


def walk_steps(steps: Iterable[Step]) -> State:
    """The state of the last step; of the first that fails, a failure that names it."""
    state: State = Completed()
    for name, step in steps:
        state = step(return_state=True)
        if not state.is_completed():
            return Failed(message=f"the line stopped at {name}: {state.message}")
    return state


@flow(name="pipeline", flow_run_name="{root.name}", validate_parameters=False, persist_result=False)
def pipeline(root: Path, accept: bool = False) -> State:
    """From the configured source to a decided model, in one workspace. Stops at the first step that fails."""
    return walk(root, "model", {"register": effects.register, "promote": effects.promote}, accept=accept)


@flow(name="speedup", flow_run_name="{root.name}", validate_parameters=False, persist_result=False)
def speedup(root: Path, accept: bool = False) -> State:
    """From the configured source to the study of a language-model generator and GANs in its place."""
    return walk(root, "speedup", {"study": effects.study_speedup}, accept=accept)


FLOWS = {"model": pipeline, "speedup": speedup}


def main() -> int:
    """Run the flow of a goal in the present folder: exit code 0 if it completed, STOPPED if it was told to stop."""
    leave_out(ECHOES_OF_ONE_RUN)
    # Prefect reads .env, prefect.toml and pyproject.toml too; `ganline run` has looked at the variables only.
    try:
        check_server(os.environ | {"PREFECT_API_URL": PREFECT_API_URL.value() or ""})
    except GanlineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    try:
        state = FLOWS[sys.argv[1]](Path.cwd(), accept="--accept" in sys.argv[2:], return_state=True)
    except (TerminationSignal, KeyboardInterrupt):
        return STOPPED
    if state.is_completed():
        return 0
    print(f"error: {GateError(str(state.message), remedy=MEND)}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
