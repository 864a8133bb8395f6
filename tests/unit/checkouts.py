"""A checkout with the real configuration and presets, committed, for tests of workspaces."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from ganline.workspace import Workspace, checkout

ROOT = Path(__file__).parents[2]


def make_checkout(root: Path) -> Workspace:
    shutil.copytree(ROOT / "presets", root / "presets")
    for name in ("params.yaml", "dvc.yaml", ".gitignore", ".dvcignore", ".gitattributes"):
        shutil.copyfile(ROOT / name, root / name)
    (root / ".dvc").mkdir()
    shutil.copyfile(ROOT / ".dvc" / "config", root / ".dvc" / "config")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"]):
        subprocess.run(["git", "-C", root, "-c", "user.name=t", "-c", "user.email=t@localhost", *command], check=True)
    return checkout(root)
