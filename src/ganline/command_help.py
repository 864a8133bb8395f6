"""What `ganline --help` lists, in the order in which users need it. Imports nothing heavy."""

from __future__ import annotations

import typer

STAGE_NAMES = {
    "manifest": "Check every raw byte, and describe every image in a row.",
    "validate": "Hold the images against the expectations; refuse the data or go on.",
    "prepare": "Decode the accepted images into arrays.",
    "extractor": "Train the network through which images are measured.",
    "judge": "Train a second one, independent of the first.",
    "reference": "Measure the real images.",
    "train": "Train the GAN.",
    "evaluate": "Measure the GAN's images against the real ones.",
    "usefulness": "Train small classifiers on generated images, and test them on real ones.",
    "report": "Write the report page.",
    "export": "Write the model bundle.",
    "captions": "Describe every image in words.",
    "tokenizer": "Learn to write images as tokens.",
    "llm": "Train the language model on image tokens.",
    "bank": "Generate the language model's images that students learn from.",
    "students": "Train the GANs that take the language model's place.",
    "accelerate": "Export the study's models as ONNX and in int8.",
    "quality": "Measure the images of every model of the study.",
}

# The help lists commands in this order: what users run first comes first.
PANELS = {
    "Make a model": ("run", "speedup", "fetch", "verify", "register", "promote"),
    "Use a model": ("generate", "compare", "history", "rollback", "audit", "decode"),
    "This machine": ("ui", "doctor", "profile"),
    "Stages of dvc.yaml, in the folder you are in (`dvc repro` and `ganline run` call them)": tuple(STAGE_NAMES),
}


def arrange(app: typer.Typer) -> None:
    """Give every command its panel and its place in the help; a command that has none raises KeyError."""
    panel_of = {name: panel for panel, names in PANELS.items() for name in names}
    order = list(panel_of)
    names = {
        id(command): str(command.name or getattr(command.callback, "__name__", ""))
        for command in app.registered_commands
    }
    for command in app.registered_commands:
        command.rich_help_panel = panel_of[names[id(command)]]
    app.registered_commands.sort(key=lambda command: order.index(names[id(command)]))
