"""Tiny wheels, written by hand: nothing is downloaded. Standard library only: it is a build backend's helper too."""

from __future__ import annotations

import zipfile
from pathlib import Path


def write_wheel(folder: str | Path, name: str, code: str, *, needs: str | None = None) -> str:
    """A wheel of one module, with a command of its name that calls the module's `main`. Returns its file name."""
    wheel, info = f"{name}-1-py3-none-any.whl", f"{name}-1.dist-info"
    required = f"Requires-Dist: {needs}\n" if needs else ""
    with zipfile.ZipFile(Path(folder) / wheel, "w") as archive:
        archive.writestr(f"{name}.py", code)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n{required}")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/entry_points.txt", f"[console_scripts]\n{name} = {name}:main\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel
