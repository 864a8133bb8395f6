"""Which files may leave a checkout: with a registered version (its patch, its code) or into an isolated workspace.

One rule for all of them. Changes of a tracked file travel, unless it is named like a secret. A new file travels if it
lies in a code folder, has a suffix that code or settings have, is no dotfile, no link, and small. Imports only Python.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

CODE_FOLDERS = ("src", "flows", "expectations", "presets", "studies")
# Not .txt, .csv, .ipynb, .log, .db, .bak: they hold notes, data and outputs.
SUFFIXES = frozenset(
    (
        *(".py", ".pyi", ".typed"),  # source, the marker of a typed package
        *(".j2", ".html", ".css", ".js", ".svg"),  # pages
        *(".yaml", ".yml", ".json", ".toml", ".md"),  # settings, expectations, what is said of them
    )
)
MAX_BYTES = 1 << 20
"""Of one new file; the largest source file is below 100 KB."""
MAX_TOTAL_BYTES = 8 << 20
"""Of all new files together."""
# Names of files and folders that usually hold secrets, whether git tracks them or not.
SECRETS = (
    *(".env", ".env.*", "*.env", ".envrc", ".netrc", "_netrc", ".pypirc", ".npmrc", ".pgpass", ".htpasswd"),
    *("*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.kdbx", "*.keystore", "*.tfstate", "*.ppk"),
    *(
        "id_rsa*",
        "id_dsa*",
        "id_ecdsa*",
        "id_ed25519*",
        ".git-credentials",
        ".aws",
        ".ssh",
        ".gnupg",
        ".kube",
        ".docker",
    ),
    *("credentials*", "*credentials.json", "client_secret*", "service-account*", "service_account*"),
    *("secret.*", "secrets.*", "token.json", "tokens.json"),
)
DVC_SETTINGS = (".dvc/config", ".dvc/config.local")
"""Addresses of remotes, which may hold their passwords. A run needs none of them."""
MOST_NAMED = 20
USERINFO = re.compile(
    r"""(?<=://)(?:
    [^\s'"/?#:\[]* : (?!\d{1,5}[/?#]) [^\s'"]* @  # name:password@, unless what follows the colon is a port
    | [^\s'"/?#]* @  # name@ or token@
    )""",
    re.VERBOSE,
)
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def is_secret(name: str) -> bool:
    """Whether a file's relative name looks like that of a secret."""
    parts = PurePosixPath(name.lower()).parts
    return name in DVC_SETTINGS or any(fnmatch(part, pattern) for part in parts for pattern in SECRETS)


def reason_against(name: str, *, num_bytes: int, is_link: bool = False) -> str | None:
    """Why a new file (its name relative to the checkout) stays; None if it may travel."""
    path = PurePosixPath(name)
    if path.parts[0] not in CODE_FOLDERS or len(path.parts) == 1:
        return "outside " + ", ".join(CODE_FOLDERS)
    if is_secret(name):
        return "named like a secret"
    if any(part.startswith(".") for part in path.parts):
        return "a dotfile"
    if is_link:
        return "a symbolic link"
    if path.suffix.lower() not in SUFFIXES:
        return f"no suffix of code or settings ({path.suffix or 'none'})"
    if num_bytes > MAX_BYTES:
        return f"{num_bytes / 2**20:.1f} MiB, more than {MAX_BYTES >> 20} MiB"
    return None


def choose(root: Path, names: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Which of these new files below `root` travel, and why the others stay (name -> reason)."""
    chosen, left_out, total = [], {}, 0
    for name in sorted(names):
        path = root / name
        if not path.is_symlink() and not path.is_file():  # a repository within the repository; or just deleted
            if path.is_dir():
                left_out[name] = "a folder with its own git repository"
            continue
        num_bytes = path.lstat().st_size
        reason = reason_against(name, num_bytes=num_bytes, is_link=path.is_symlink())
        if reason is None and total + num_bytes > MAX_TOTAL_BYTES:
            reason = f"beyond {MAX_TOTAL_BYTES >> 20} MiB of new files in all"
        if reason is None:
            chosen.append(name)
            total += num_bytes
        else:
            left_out[name] = reason
    return chosen, left_out


def describe_left_out(left_out: Mapping[str, str]) -> str:
    """'.env (named like a secret), notes.txt (outside …) and 3 more'. Names and reasons, no content."""
    first = [f"{name!a} ({reason})" for name, reason in list(left_out.items())[:MOST_NAMED]]
    more = len(left_out) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")


def without_userinfo(text: str) -> str:
    """A text whose URLs have lost their `user:password@`.

    Passwords are often not escaped, so one reaches to the last `@` before white space or a quote, across `@ / ? #`.
    Where a name stands without a password, or a port behind the host, only what comes before the first `/ ? #` counts:
    `https://host:80/path@v1` stays. In doubt it hides too much: `https://me:pw@host/path@v1` becomes `https://v1`.
    """
    return USERINFO.sub("", text)


def public_address(address: str) -> str:
    """One whole address as messages show it: without `user:password@`, which may hold spaces; a scheme may be missing,
    as in `http_proxy=me:pw@host:3128`."""
    whole = re.sub(r"""[\s'"]""", "_", address)
    return without_userinfo(whole) if SCHEME.match(whole) else without_userinfo(f"://{whole}")[3:]
