"""What this machine has, what is missing, how to mend it. Standard library only: it runs before anything is installed.

`python3 src/ganline/doctor.py` reports everything; with `--needed` it is silent unless something needed is missing;
with `--bounds` it prints the releases that `make lock` keeps below; with `--asked` it refuses a PRESET or DATA that is
not there, and an ACCEPT other than 1.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

NEEDED_DISK_GB = 8
MINIMUM = (3, 11)

GOOD, MISSING, OPTIONAL, BAD = "ok", "MISSING", "absent (optional)", "BROKEN"

# Releases that our packages accept and do not work with: package -> (the first of them, what happens). `make lock`
# keeps below them (--bounds). Take a line out once the packages say so themselves.
BROKEN = {
    "fastapi": ("0.155", "stops every flow of Prefect 3.8"),
    "sqlalchemy": ("2.1", "lets a Prefect schedule silently start nothing"),
}
REINSTALL = "in the project's folder: .venv/bin/python -m pip install -c constraints.txt -e ."

# What a path of ours may not hold, and which tool below us would take it apart there.
UNUSABLE = {
    ":": "lists of folders (PATH, PYTHONPATH) are taken apart there",
    "?": "the address of a database ends there",
    **dict.fromkeys("{}", "DVC would fill in what stands between braces"),
    **dict.fromkeys('$`"', "the scripts of a Python environment would run what follows"),
}

MOVE = "move the checkout to a folder with a plainer name"


def unusable(path):
    """Why the checkout or its state cannot lie at a path: one sentence, empty if they can."""
    for character in str(path):
        reason = UNUSABLE.get(character)
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):  # control, undecodable bytes, line ends
            reason = "configuration files cannot name it"
        if reason:
            return f"the path {str(path)!a} holds {character!a}: {reason}"
    return ""


def check_path():
    here = Path(__file__).resolve().parents[2]
    reason = unusable(here)
    return (MISSING, reason, MOVE) if reason else (GOOD, str(here), "")


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


def release(version):
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def installed_version(name):
    """The version of a package in this environment, or in .venv if this is none; None if it is not there."""
    from importlib.metadata import distributions

    venv = Path(__file__).resolve().parents[2] / ".venv"
    own = sys.prefix != sys.base_prefix
    path = sys.path if own else [str(folder) for folder in venv.glob("lib/python*/site-packages")]
    return next((found.version for found in distributions(name=name, path=path)), None)


def broken_packages():
    """What is installed in a release that breaks others, a sentence each."""
    found = {name: installed_version(name) for name in BROKEN}
    return [f"{name} {version} {BROKEN[name][1]}: below {BROKEN[name][0]} is right"
            for name, version in found.items() if version and release(version) >= release(BROKEN[name][0])]  # fmt: skip


def check_packages():
    broken = broken_packages()
    return (BAD, "; ".join(broken), REINSTALL) if broken else (GOOD, "no release that is known to break others", "")


NEEDED = {
    "python": check_python,
    "venv": check_venv,
    "git": lambda: check_tool("git", "Debian, Ubuntu: apt-get install git"),
    "make": lambda: check_tool("make", "Debian, Ubuntu: apt-get install make"),
    "repository": check_repository,
    "path": check_path,
    "disk": check_disk,
}
USEFUL = {"environment": check_environment, "packages": check_packages, "compiler": check_compiler, "gpu": check_gpu}


def is_folder(name):
    try:
        return Path(name).expanduser().is_dir()
    except (OSError, RuntimeError):  # a name too long, a home of nobody
        return False


def wrong_request(preset, data, accept):
    """Why `make run` cannot do what PRESET, DATA and ACCEPT ask for; empty if it can."""
    if accept not in ("", "1"):
        return f"ACCEPT={accept}\n  expected: ACCEPT=1, to make changed data the new version\n  to do: leave ACCEPT out"
    presets = sorted(path.stem for path in (Path(__file__).resolve().parents[2] / "presets").glob("*.yaml"))
    if preset and preset not in presets:
        return f"there is no preset {preset!r}\n  expected: one of {', '.join(presets)}"
    if data and not is_folder(data):
        return (
            f"DATA={data} is not a folder\n  expected: a folder of PNG, JPEG or WebP images\n  to do: correct the path"
        )
    return ""


def say(text):
    """Print what may hold what the terminal's encoding cannot."""
    encoding = sys.stdout.encoding or "ascii"
    print(text.encode(encoding, "backslashreplace").decode(encoding))


def report(*, everything=True):
    """(text, whether all that is needed is there)."""
    checks = {**NEEDED, **USEFUL} if everything else NEEDED
    results = {name: check() for name, check in checks.items()}
    lines = [f"  {name:<12} {state:<18} {found}" + (f"\n{'':33}-> {remedy}" if remedy else "")
             for name, (state, found, remedy) in results.items() if everything or state in (MISSING, BAD)]  # fmt: skip
    return "\n".join(lines), all(state not in (MISSING, BAD) for state, _, _ in results.values())


if __name__ == "__main__":
    if "--bounds" in sys.argv:
        print("\n".join(f"{name}<{first}" for name, (first, _) in BROKEN.items()))
        raise SystemExit(0)
    if "--asked" in sys.argv:
        wrong = wrong_request(os.environ.get("PRESET", ""), os.environ.get("DATA", ""), os.environ.get("ACCEPT", ""))
        if wrong:
            say(f"error: {wrong}")
        raise SystemExit(1 if wrong else 0)
    text, healthy = report(everything="--needed" not in sys.argv)
    if text:
        say(text)
    raise SystemExit(0 if healthy else 1)
