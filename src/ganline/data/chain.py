"""The chain of providers: each in turn is asked for what is still missing; if all fail, one error names them all."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from ganline.data.archives import ProxyFails, PublishedFile, Unavailable
from ganline.data.providers import Provider
from ganline.errors import FetchError

log = logging.getLogger(__name__)

MIRROR_VARIABLE = "GANLINE_MIRROR"


def all_mirrors(configured: Sequence[str]) -> tuple[str, ...]:
    """Mirrors of the configuration, then those of the environment variable (separated by commas)."""
    named = os.environ.get(MIRROR_VARIABLE, "").split(",")
    return tuple(dict.fromkeys([*configured, *(name.strip() for name in named if name.strip())]))


def obtain(
    data_set: str, files: Sequence[PublishedFile], providers: Sequence[Provider], folder: Path
) -> dict[str, str]:
    """Adopt all files into `folder`; return the provider of each. Raise one FetchError when some cannot be had."""
    origins: dict[str, str] = {}
    failures: list[str] = []
    proxies: set[str] = set()
    for provider in providers:
        missing = [file for file in files if not (folder / file.name).exists()]
        if not missing:
            break
        log.info("%s: asking %s for %s", data_set, provider.name, _names(missing))
        try:
            provider.serve(missing, folder)
        except Unavailable as problem:
            failures.append(f"{provider.name}: {problem}")
            if isinstance(problem, ProxyFails):
                proxies.add(problem.variable)
            log.info("%s: %s", data_set, failures[-1])
        origins |= {file.name: provider.name for file in missing if (folder / file.name).exists()}
    missing = [file for file in files if not (folder / file.name).exists()]
    if missing:
        raise _all_failed(data_set, missing, failures, proxies)
    return origins


def _all_failed(
    data_set: str, missing: Sequence[PublishedFile], failures: Sequence[str], proxies: Collection[str] = ()
) -> FetchError:
    tried = "".join(f"\n    {number}. {failure}" for number, failure in enumerate(failures, 1))
    sums = "".join(f"\n    {file.name}  sha256 {file.sha256}" for file in missing)
    return FetchError(
        f"{data_set}: no provider could serve {_names(missing)}. Tried, in this order:{tried}",
        expected=f"these files, as they are or as NAME.gz:{sums}",
        remedy=(
            (f"correct or unset {' and '.join(sorted(proxies))}; or " if proxies else "")
            + "connect to the internet and run `ganline fetch` again; or put the files in a folder or on a web server "
            f"and name it: {MIRROR_VARIABLE}=/path/to/folder ganline fetch; or begin without a "
            "download: make run PRESET=digits"
        ),
    )


def _names(files: Sequence[PublishedFile]) -> str:
    return ", ".join(file.name for file in files)
