"""What pyproject's extras bring, and what to say where one is missing. Imports nothing heavy."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence

from ganline.errors import ConfigError

EXTRAS: Mapping[str, Sequence[str]] = {
    "study": ("onnx", "onnxruntime", "onnxscript", "threadpoolctl", "tokenizers"),
    "pretrained": ("torch_fidelity", "torchvision"),
    "tensorboard": ("tensorboard",),
}
"""Extra -> the modules that code of ours, or torch for it, imports."""


def install_command(extra: str) -> str:
    """The command that installs an extra beside what is here, as constraints.txt pins it."""
    return f"in the project's folder: {sys.executable} -m pip install -c constraints.txt -e '.[{extra}]'"


def is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def check_extra(extra: str, *, needed_by: str, modules: Sequence[str] = ()) -> None:
    """Raises ConfigError if a module of the extra (or of `modules`, where not all of it is needed) is missing.

    Imports none of them: it takes microseconds, so callers ask before they begin.
    """
    if missing := [module for module in modules or EXTRAS[extra] if not is_installed(module)]:
        raise ConfigError(
            f"{needed_by} needs {', '.join(missing)}, which is not installed",
            expected=f"the extra `{extra}`",
            remedy=install_command(extra),
        )
