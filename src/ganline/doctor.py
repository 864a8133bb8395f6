"""What this machine has, what is missing, how to mend it. Standard library only: it runs before anything is installed.

`python3 src/ganline/doctor.py` reports everything; with `--needed` it is silent unless something needed is missing.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

NEEDED_DISK_GB = 8
MINIMUM = (3, 11)

GOOD, MISSING, OPTIONAL = "ok", "MISSING", "absent (optional)"


def check_python():
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] >= MINIMUM:
        return GOOD, f"Python {found}", ""
    return MISSING, f"Python {found}", "install Python 3.11, or name it: make PYTHON=/path/to/python3.11 …"


def check_venv():
    if importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip"):
        return GOOD, "venv and ensurepip", ""
    return MISSING, "the venv module", "Debian, Ubuntu: apt-get install python3-venv"


def check_tool(name, remedy):
    path = shutil.which(name)
    return (GOOD, path, "") if path else (MISSING, name, remedy)


def check_repository():
    here = Path(__file__).resolve().parents[2]
    if (here / ".git").exists():
        return GOOD, f"{here.name} is a git repository", ""
    return (
        MISSING,
        f"{here} is no git repository",
        "git clone the project, or: git init && git add -A && git commit -m start",
    )


def check_disk():
    free = shutil.disk_usage(Path(__file__).resolve().parent).free / 1e9
    if free >= NEEDED_DISK_GB:
        return GOOD, f"{free:.0f} GB free", ""
    return MISSING, f"{free:.1f} GB free", f"free at least {NEEDED_DISK_GB} GB: torch alone takes 1 to 5"


def check_compiler():
    path = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    return (GOOD, path, "") if path else (OPTIONAL, "a C++ compiler", "only for torch.compile: apt-get install g++")


def check_gpu():
    tool = shutil.which("nvidia-smi")
    if not tool:
        return OPTIONAL, "an NVIDIA driver", "the same commands run on the CPU"
    query = [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    result = subprocess.run(query, capture_output=True, text=True, check=False)
    if result.returncode:
        return OPTIONAL, "nvidia-smi fails", (result.stdout + result.stderr).strip().splitlines()[0]
    return GOOD, result.stdout.strip().replace("\n", "; "), ""


def check_environment():
    venv = Path(__file__).resolve().parents[2] / ".venv"
    if (venv / ".installed").exists():
        return GOOD, "packages installed in .venv", ""
    if venv.exists():
        return OPTIONAL, ".venv is there, but its install did not finish", "make run (or make test) takes it up again"
    return OPTIONAL, "no .venv yet", "make run (or make test) makes it"


NEEDED = {
    "python": check_python,
    "venv": check_venv,
    "git": lambda: check_tool("git", "Debian, Ubuntu: apt-get install git"),
    "make": lambda: check_tool("make", "Debian, Ubuntu: apt-get install make"),
    "repository": check_repository,
    "disk": check_disk,
}
USEFUL = {"environment": check_environment, "compiler": check_compiler, "gpu": check_gpu}


def report(*, everything=True):
    """(text, whether all that is needed is there)."""
    checks = {**NEEDED, **USEFUL} if everything else NEEDED
    results = {name: check() for name, check in checks.items()}
    lines = [f"  {name:<12} {state:<18} {found}" + (f"\n{'':33}-> {remedy}" if remedy else "")
             for name, (state, found, remedy) in results.items() if everything or state == MISSING]  # fmt: skip
    return "\n".join(lines), all(state != MISSING for state, _, _ in results.values())


if __name__ == "__main__":
    text, healthy = report(everything="--needed" not in sys.argv)
    if text:
        print(text)
    raise SystemExit(0 if healthy else 1)
