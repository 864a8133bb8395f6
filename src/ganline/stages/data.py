"""Stages on data: raw bytes to a manifest, a judgement, arrays."""

from __future__ import annotations

import logging
from pathlib import Path

from ganline.config import Config
from ganline.errors import listed
from ganline.files import fresh_folder, read_json, write_json
from ganline.stages.places import DATA, EXPECTATIONS, MANIFEST, PREPARE, PREVIOUS_PROFILE, VALIDATE

log = logging.getLogger(__name__)


def manifest(config: Config, root: Path) -> None:
    """Check every raw byte, then describe every image in a row."""
    from ganline.data.manifest import build_manifest, write_manifest

    rows, profile = build_manifest(config.data, config.manifest, root / DATA)
    fresh_folder(root / MANIFEST)
    write_manifest(rows, root / MANIFEST / "manifest.parquet")
    write_json(root / MANIFEST / "profile.json", profile)
    broken = rows.loc[rows["error"].notna(), "file"].astype(str).tolist()
    log.info("manifest: %d images, %d not decodable%s", len(rows), len(broken), f": {listed(broken)}" if broken else "")


def validate(config: Config, root: Path) -> None:
    """Judge the manifest by the expectations; the report is written whatever the verdict."""
    from ganline.data.manifest import read_manifest
    from ganline.integrations.expectations import validate_to_folder

    verdict = validate_to_folder(
        read_manifest(root / MANIFEST / "manifest.parquet"),
        config=config.validate_,
        data=config.data,
        data_folder=root / DATA,
        suites=root / EXPECTATIONS,
        profile=read_json(root / MANIFEST / "profile.json"),
        previous_profile=read_json(root / PREVIOUS_PROFILE),
        out=root / VALIDATE,
    )
    log.info("validate: %s", verdict.message() or f"all expectations are met; see {root / VALIDATE / 'report.html'}")


def prepare(config: Config, root: Path) -> None:
    """Decode the accepted images into arrays."""
    from ganline.data.manifest import read_manifest
    from ganline.data.prepare import check_usable, read_quarantine
    from ganline.data.prepare import prepare as prepare_arrays

    rows = read_manifest(root / MANIFEST / "manifest.parquet")
    quarantined = read_quarantine(root / VALIDATE / "quarantine.csv")
    check_usable(rows, quarantined)
    counts = prepare_arrays(
        data=config.data,
        config=config.prepare,
        manifest=rows,
        quarantined=quarantined,
        folder=root / DATA,
        out_folder=fresh_folder(root / PREPARE),
    )
    log.info("prepare: %s", counts)
