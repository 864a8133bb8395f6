"""fetch: make `data/` hold exactly the configured data set, atomically, and never change its version unasked.

The new folder is built beside the old one and swapped in by two renames. A kill between the two leaves the old version
under another name; the next fetch puts it back first. What an interrupted fetch had already downloaded is used again.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ganline.data.chain import all_mirrors
from ganline.data.checksums import SUMS, bullets, list_files, present, read_sums, write_sums
from ganline.data.config import DataConfig
from ganline.data.sources.base import Plan
from ganline.errors import DataError, listed
from ganline.files import sync_folder

log = logging.getLogger(__name__)

ALREADY_THERE = "already there"


@dataclass(frozen=True)
class FetchReport:
    """What fetch did."""

    source: str
    changed: bool
    files: dict[str, str]
    """sha256 of every file."""
    origins: dict[str, str]
    """Who served each file."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Files of a folder source that were left out, and why."""
    note: str = ""
    skipped_list: str = ""
    """A file that names all of `skipped`, if there is one."""

    def __str__(self) -> str:
        lines = [f"{self.source}: {len(self.files)} files, {'new version in place' if self.changed else 'unchanged'}"]
        lines += [f"  {count} from {origin}" for origin, count in Counter(self.origins.values()).most_common()]
        for reason, count in Counter(self.skipped.values()).most_common():
            names = [name for name, why in self.skipped.items() if why == reason]
            lines.append(f"  skipped {count} ({reason}): {listed(names, whole_list=self.skipped_list)}")
        return "\n".join(lines + ([f"  {self.note}"] if self.note else []))


def fetch(config: DataConfig, folder: Path, *, accept: bool = False) -> FetchReport:
    """Make `folder` hold the configured data set and nothing else.

    Damaged or missing files are repaired. A version with other content takes the place of the old only with `accept`.
    """
    staging, previous = _sibling(folder, "fetch"), _sibling(folder, "previous")
    _recover(folder, previous)
    source = config.source
    plan = source.plan()
    held = {name: present(folder, name) for name in list_files(folder)}
    version = read_sums(folder)
    if not accept:
        _refuse_other_version(config, plan, folder, version=version, held=held)
    if version == plan.files == held:
        origins = dict.fromkeys(plan.files, ALREADY_THERE)
        return FetchReport(source.name, False, plan.files, origins, plan.skipped, source.remarks)
    there = {name for name, sha256 in plan.files.items() if held.get(name) == sha256}
    kept = there | _keep_only(plan, staging)
    try:
        origins = dict.fromkeys(kept, ALREADY_THERE)
        origins |= source.fill(plan.files.keys() - kept, plan, staging, mirrors=all_mirrors(config.mirrors))
        for name in there:
            _link(folder / name, staging / name)
        write_sums(staging, plan.files)
        _swap(staging, folder, previous)
    except BaseException:
        if not list_files(staging):
            shutil.rmtree(staging, ignore_errors=True)
        raise
    return FetchReport(source.name, True, plan.files, origins, plan.skipped, source.remarks)


def _refuse_other_version(
    config: DataConfig, plan: Plan, folder: Path, *, version: dict[str, str], held: dict[str, str | None]
) -> None:
    """Raise where the folder holds other content than the plan, by its own record. Damage is no other version."""
    if not version and config.source.pinned is None:
        version = {name: sha256 or "" for name, sha256 in held.items()}
    added = [f"added: {name}" for name in plan.files if version and name not in version and name not in held]
    changed = [
        f"changed: {name}"
        for name, sha256 in plan.files.items()
        if version.get(name, sha256) != sha256 and held.get(name) != sha256
    ]
    removed = [f"removed: {name}" for name in sorted(version.keys() | held.keys()) if name not in plan.files]
    if changes := changed + added + removed:
        counts = f"{len(added)} added, {len(changed)} changed, {len(removed)} removed"
        raise DataError(
            f"{folder} holds another version of the data than {config.source.name} now ({counts}):{bullets(changes)}",
            expected="the recorded version; a new one only when it is asked for",
            remedy=(
                "if the change is meant: the same `make run …` with ACCEPT=1 beside it (`ganline fetch --accept` does "
                "it for the folder you are in)"
            ),
        )


def _keep_only(plan: Plan, staging: Path) -> set[str]:
    """Names of good files left in the staging folder by an interrupted fetch; everything else in it is removed."""
    staging.mkdir(parents=True, exist_ok=True)
    good = set()
    for name in (*list_files(staging), SUMS):
        if name in plan.files and not (staging / name).is_symlink() and present(staging, name) == plan.files[name]:
            good.add(name)
        else:
            (staging / name).unlink(missing_ok=True)
    return good


def _link(source: Path, target: Path) -> None:
    """The same file under a second name, or a copy where the file system has no hard links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def _swap(staging: Path, folder: Path, previous: Path) -> None:
    for path in staging.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    if folder.exists():
        folder.replace(previous)
    staging.replace(folder)
    sync_folder(folder.parent)
    shutil.rmtree(previous, ignore_errors=True)


def _recover(folder: Path, previous: Path) -> None:
    """Undo a swap that was cut between its two renames; clear what one left after them."""
    if previous.exists() and not folder.exists():
        log.warning("an earlier fetch was cut short: putting the previous %s back", folder)
        previous.replace(folder)
    shutil.rmtree(previous, ignore_errors=True)


def _sibling(folder: Path, purpose: str) -> Path:
    return folder.with_name(f".partial-{purpose}-{folder.name}")
