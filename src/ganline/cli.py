"""The command line: stages, effects and use of models. Composes, never computes; prints what users read."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

from ganline.environment import SAFE_PATH, asked_ranks, cache_folders, check_share, drop_git_context, set_defaults

set_defaults()

import typer

from ganline.command_help import STAGE_NAMES, arrange
from ganline.errors import ConfigError, GanlineError, WorkspaceError
from ganline.sharing import public_address
from ganline.where_set import with_places

if TYPE_CHECKING:
    from ganline.workspace import Workspace

app = typer.Typer(
    help="From a folder of images to a fast, registered image generator, on one reproducible line.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
INTERRUPTED = 130
OVER_RANKS = ("train", "llm")

# Options of every command that generates images.
Images = Annotated[Path, typer.Option("-o", "--output", help="A .png grid, a .npz, or a new folder of PNG files.")]
Count = Annotated[int, typer.Option(help="How many images.")]
Seed = Annotated[int, typer.Option(help="Equal seeds give equal images.")]
Label = Annotated[str | None, typer.Option(help="A class, by name or number.")]
Prompt = Annotated[str | None, typer.Option(help='What the images show, such as "a dark sneaker".')]
Encoder = Annotated[Path | None, typer.Option(help="The prompt encoder's folder, if it is your own.")]


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show warnings only.")] = False,
) -> None:
    """Set up logging for every command."""
    level = logging.WARNING if quiet else logging.INFO
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    logging.getLogger("ganline").setLevel(level)
    if debug:
        os.environ["GANLINE_DEBUG"] = "1"


def main() -> NoReturn:
    """Run a command. A GanlineError, or what the operating system refuses, becomes one message and exit code 1;
    anything else is our bug and shows."""
    drop_git_context()
    for stream in (sys.stdout, sys.stderr):  # a name may hold what the terminal's encoding cannot
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        result = app(standalone_mode=False)  # what typer.Exit and Ctrl-C were turned into
        code = result if isinstance(result, int) else 0
    except GanlineError as error:
        if os.environ.get("GANLINE_DEBUG"):
            raise
        print(f"error: {with_places(error)}", file=sys.stderr)
        code = 1
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:  # whoever read our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except OSError as error:
        if os.environ.get("GANLINE_DEBUG"):
            raise
        print(f"error: {refusal_of(error)}", file=sys.stderr)
        code = 1
    except Exception as error:  # click's own usage errors know how to show themselves
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        code = getattr(error, "exit_code", 2)
    if code == INTERRUPTED:
        print("stopped; run the same command again to go on where it was", file=sys.stderr)
    sys.exit(code)


def refusal_of(error: OSError) -> str:
    """What the operating system refused, and what may help."""
    where = f": {error.filename!r}" if error.filename else ""
    return (
        f"{error.strerror or error}{where}\n  to do: look at that path, its rights and the free disk space; "
        "`ganline --debug …` shows the whole trace"
    )


def here() -> Workspace:
    """The checkout around the present folder, if this process runs its code; libraries' caches go to its state."""
    from ganline.workspace import check_code, checkout

    workspace = checkout()
    check_code(workspace)
    for name, folder in cache_folders(workspace.home).items():
        os.environ.setdefault(name, folder)
    return workspace


def stage_command(name: str) -> None:
    """Make `ganline NAME` run a stage in the present folder, as dvc.yaml does."""

    def command() -> None:
        from ganline import leash

        leash.die_with_owners()  # before the imports that take seconds
        from ganline.config import load_config
        from ganline.extras import check_extra
        from ganline.stages import STAGES

        if extra := STAGES[name].extra:
            check_extra(extra, needed_by=f"the stage {name}")
        if name in OVER_RANKS and "RANK" not in os.environ and (count := asked_ranks()) > 1:
            check_share(getattr(load_config(here().root), name).batch, count, f"{name}.batch")
            raise typer.Exit(over_ranks(name, count))
        if os.environ.get("RANK", "0") != "0":
            logging.getLogger("ganline").setLevel(logging.ERROR)  # one voice is enough
        root = here().root
        if missing := [each for each in STAGES[name].inputs if not (root / each).exists()]:
            raise WorkspaceError(
                f"stage {name} reads {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not here",
                remedy=f"run `ganline fetch`, then `dvc repro {name}`, which makes what it needs",
            )
        STAGES[name].run(load_config(root), root)

    command.__doc__ = STAGE_NAMES[name]
    app.command(name)(command)


def over_ranks(stage: str, count: int) -> int:
    """`ganline STAGE` in `count` processes that share each batch; if one dies, all go on from the checkpoint."""
    from ganline.devices import available_cores

    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--max-restarts", "3"]
    threads = {"OMP_NUM_THREADS": str(max(1, available_cores() // count))}
    command = [*torchrun, "--nproc-per-node", str(count), "-m", "ganline", stage]
    return subprocess.call(command, env=os.environ | threads | SAFE_PATH)


@app.command()
def fetch(accept: Annotated[bool, typer.Option(help="Make changed data the new data version.")] = False) -> None:
    """Get the configured data set, check it, and record its version in data.dvc."""
    from ganline import effects
    from ganline.workspace import hold

    workspace = here()
    with hold(workspace):
        effects.fetch(workspace.root, accept=accept)
        effects.warn_of_refusals(workspace.root)


@app.command()
def verify() -> None:
    """Compare every raw byte with the source's checksums and with data.dvc."""
    from ganline import effects

    effects.verify(here().root)


@app.command()
def register() -> None:
    """Register artifacts/model in MLflow; needed only after a plain `dvc repro`."""
    from ganline import effects

    print(effects.register(here().root))


@app.command()
def run(
    preset: Annotated[str | None, typer.Option(help="An overlay in presets/: runs isolated.")] = None,
    data: Annotated[Path | None, typer.Option(help="Any folder of images: runs isolated.")] = None,
    res: Annotated[int | None, typer.Option(help="Resolution for --data.")] = None,
    name: Annotated[str | None, typer.Option(help="Name for --data; by default the folder's own.")] = None,
    accept: Annotated[bool, typer.Option(help="Make changed data the new data version.")] = False,
) -> None:
    """From data to a registered model: runs what changed since the last run, as a Prefect flow."""
    from ganline import leash, line

    leash.die_with_make()
    if preset and data:
        raise ConfigError("both --preset and --data were given", expected="one of them")
    if (res is not None or name) and not data:
        raise ConfigError(
            "RES or NAME (--res, --name) was given without DATA (--data)",
            remedy="name a folder of images with DATA, or set prepare.resolution and register.name",
        )
    base = here()
    line.run(base, line.choose(base, preset=preset, data=data, resolution=res, name=name), accept=accept)


@app.command()
def speedup(
    preset: Annotated[str | None, typer.Option(help="An overlay in presets/, such as speedup-tiny: isolated.")] = None,
    accept: Annotated[bool, typer.Option(help="Make changed data the new data version.")] = False,
) -> None:
    """Study a language-model generator and the GANs that take its place: trains what is stale, then measures.

    Ends with a report, a picture, a race page and an MLflow run. Run again, it measures again.
    """
    from ganline import leash, line

    leash.die_with_make()
    base = here()
    line.speedup(base, line.choose_study(base, preset), accept=accept)


@app.command()
def promote(
    name: Annotated[str | None, typer.Argument(help="A registered model; by default register.name.")] = None,
    version: Annotated[int | None, typer.Option(help="Another version than the challenger.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Promote whatever the verdict; needs --reason.")] = False,
    reason: Annotated[str, typer.Option(help="Why; the ledger keeps it.")] = "",
) -> None:
    """Score challenger and champion again, and decide who is champion. Exit code 1 if refused."""
    from ganline import promoting

    outcome = promoting.promote(here(), name, version=version, force=force, reason=reason)
    print(outcome.report())
    if outcome.refused:
        raise typer.Exit(1)


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(help="A registered model.")],
    to: Annotated[int | None, typer.Option(help="An earlier champion; by default the one before.")] = None,
    reason: Annotated[str, typer.Option(help="Why; the ledger keeps it.")] = "",
) -> None:
    """Bring an earlier champion back."""
    from ganline import promoting

    print(promoting.rollback(name, to=to, reason=reason))


@app.command()
def history(
    name: Annotated[str, typer.Argument(help="A registered model.")],
    as_json: Annotated[bool, typer.Option("--json", help="All that the ledger holds, as JSON.")] = False,
) -> None:
    """Who was champion, since when, by whom and why. Exit code 1 if the ledger was changed."""
    from ganline import promoting

    found = promoting.history(name)
    print(json.dumps(found.plain(), indent=2, ensure_ascii=False) if as_json else found)
    if found.problems:
        raise typer.Exit(1)


@app.command()
def audit(
    name: Annotated[str | None, typer.Argument(help="A registered model; by default all of them.")] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Take the files out; versions and models stay.")] = False,
) -> None:
    """List versions and logged models with files that should not have left the checkout, and how to delete them.

    Exit code 1 if there are any.
    """
    from ganline.integrations import mlflow_audit

    found = mlflow_audit.audit(name)
    for finding in found:
        print(finding)
        if delete:
            mlflow_audit.remove(finding)
            print("  taken out")
    if found:
        print(mlflow_audit.recipe(found))
    if mlflow_audit.audit(name) if delete else found:
        raise typer.Exit(1)
    print("no version and no logged model holds files that should not have left a checkout")


@app.command()
def generate(
    model: Annotated[str, typer.Option(help="models:/NAME@ALIAS, models:/NAME/VERSION or a bundle folder.")],
    output: Images,
    n: Count = 16,
    seed: Seed = 0,
    label: Label = None,
    prompt: Prompt = None,
    encoder: Encoder = None,
    truncation: Annotated[float, typer.Option(help="In (0, 1]: lower is more typical, less diverse.")] = 1.0,
) -> None:
    """Generate images with a registered model or a bundle."""
    from ganline.api import load
    from ganline.serving.generate import check_images_output, save_images

    check_images_output(output)
    generator = load(model)
    images, labels = generator.sample_with_labels(
        n, seed=seed, label=label, prompt=prompt, encoder=encoder, truncation=truncation
    )
    print(save_images(images, labels, output))


@app.command()
def decode(
    workspace: Annotated[Path, typer.Argument(help="Where `ganline speedup` ran: .ganline/ws/PRESET.")],
    output: Images,
    n: Count = 16,
    seed: Seed = 0,
    label: Label = None,
    prompt: Prompt = None,
    encoder: Encoder = None,
    temperature: Annotated[float | None, typer.Option(help="Below 1: more typical, less diverse.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Only the k most probable tokens may be drawn.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Classifier-free guidance; 1 is none.")] = None,
) -> None:
    """Generate images token by token with the language model of a study, by default as the study did."""
    from ganline.serving.generate import check_images_output, save_images
    from ganline.speeding.painting import language_model

    check_images_output(output)
    model = language_model(workspace, temperature=temperature, top_k=top_k, guidance=guidance)
    images, labels = model.sample_with_labels(n, seed=seed, label=label, prompt=prompt, encoder=encoder)
    print(save_images(images, labels, output))


@app.command()
def compare(
    champion: Annotated[str, typer.Argument(help="models:/NAME@ALIAS, models:/NAME/VERSION or a bundle folder.")],
    challenger: Annotated[str, typer.Argument(help="The other one; a change goes from the first to this one.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The page, .html.")] = Path("comparison.html"),
) -> None:
    """Measure two models under one protocol, and show on a page what differs significantly."""
    from ganline.comparing import write_comparison

    for line in write_comparison(here(), (champion, challenger), output).words:
        print(line)
    print(f"the page is {output}")


@app.command()
def ui(port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 5000) -> None:
    """Open the MLflow UI (runs and model registry) on loopback, until Ctrl-C."""
    from ganline import leash
    from ganline.integrations.mlflow_store import (
        check_port,
        is_server,
        open_store,
        server_command,
        server_environment,
        store_uri,
    )

    leash.die_with_make()
    base = here()
    os.environ.setdefault("GANLINE_HOME", str(base.home))
    open_store()
    if is_server(store_uri()):
        print(f"the runs and models are on the server of MLFLOW_TRACKING_URI: open {public_address(store_uri())}")
        return
    check_port(port)
    print(f"http://127.0.0.1:{port}/#/models   (Ctrl-C ends it)", flush=True)
    with suppress(KeyboardInterrupt):
        code = leash.run_to_its_end(server_command(port), cwd=base.root, env=server_environment())
        raise typer.Exit(1 if code else 0)


@app.command()
def profile(
    steps: Annotated[int, typer.Option(help="Steps to look at, rounded up to whole cycles of lazy penalties.")] = 16,
    at: Annotated[float, typer.Option(help="Share of the budget at which to look.")] = 1.0,
    trace: Annotated[Path | None, typer.Option(help="Also write a trace for Chrome or ui.perfetto.dev.")] = None,
) -> None:
    """Show where a training step's time goes, for the configured model on this machine."""
    from ganline.config import load_config
    from ganline.devices import make_exact, pick
    from ganline.integrations.profiler import profile_training, render
    from ganline.stages.places import PREPARE

    root = here().root
    config = load_config(root).train
    make_exact()
    compute = pick(config.precision)
    print(render(profile_training(config, root / PREPARE, compute=compute, steps=steps, at=at, trace=trace)))


@app.command()
def doctor() -> None:
    """Say what this machine has and lacks, and how to mend it. Exit code 1 if something needed is missing."""
    from ganline.doctor import report

    text, healthy = report()
    print(text)
    if not healthy:
        raise typer.Exit(1)


for _name in STAGE_NAMES:
    stage_command(_name)
arrange(app)
