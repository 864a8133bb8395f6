"""The manifest: a row an image, with split, statistics, content hash, copies, and why it could not be decoded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ganline.data.checksums import verify
from ganline.data.config import DataConfig, ManifestConfig
from ganline.data.profile import profile_of
from ganline.data.reading import read
from ganline.data.sources.base import Block
from ganline.data.statistics import describe, pixel_hash
from ganline.files import atomic_path

SCHEMA = pa.schema(
    [
        pa.field("index", pa.int64(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("item", pa.int64(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("width", pa.int64()),
        pa.field("height", pa.int64()),
        pa.field("mode", pa.string()),
        pa.field("mean", pa.float64()),
        pa.field("std", pa.float64()),
        pa.field("min", pa.int64()),
        pa.field("max", pa.int64()),
        pa.field("entropy", pa.float64()),
        pa.field("sha256", pa.string()),
        pa.field("error", pa.string()),
        pa.field("duplicate_of", pa.int64()),
        pa.field("leak_of", pa.int64()),
        pa.field("constant", pa.bool_(), nullable=False),
    ]
)
DTYPES = {
    field.name: {"int64": "Int64" if field.nullable else "int64", "double": "float64", "bool": "bool"}.get(
        str(field.type), "string"
    )
    for field in SCHEMA
}


def build_manifest(data: DataConfig, config: ManifestConfig, folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Check every byte of `folder`, then decode and describe every image. Returns the manifest and its profile."""
    verify(data, folder)
    rows = pd.concat([_describe_block(block) for block in read(data, folder)], ignore_index=True)
    rows["split"] = assign_splits(rows["split"], rows["sha256"], config)
    rows["duplicate_of"], rows["leak_of"] = find_copies(rows)
    manifest = rows[SCHEMA.names].astype(DTYPES)
    return manifest, profile_of(manifest)


def assign_splits(own: pd.Series, sha256: pd.Series, config: ManifestConfig) -> pd.Series:
    """train, val or test for every row: the source's own split first, then shares by content hash.

    Equal images share a split, and adding files moves none of the others. Images that cannot be decoded go to train.
    """
    test_draw = sha256.map(lambda digest: int(digest[:8], 16) / 2**32, na_action="ignore").astype(float)
    val_draw = sha256.map(lambda digest: int(digest[8:16], 16) / 2**32, na_action="ignore").astype(float)
    split = own.where(own.notna(), "train")
    split = split.mask(own.isna() & (test_draw < config.test_share), "test")
    return split.mask((split == "train") & (val_draw < config.validation_share), "val")


def find_copies(rows: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """For each row: the first row of its split with equal pixels, and (train, val) the first such row of test."""
    first = rows.groupby(["split", "sha256"])["index"].transform("min")
    duplicate_of = first.where(first < rows["index"])
    tests = rows[rows["split"] == "test"].groupby("sha256")["index"].min()
    leak_of = rows["sha256"].map(tests).where(rows["split"] != "test")
    return duplicate_of.astype("Int64"), leak_of.astype("Int64")


def write_manifest(manifest: pd.DataFrame, path: Path) -> None:
    """Write Parquet; equal manifests give equal bytes (no pandas metadata, no time)."""
    table = pa.Table.from_pandas(manifest, schema=SCHEMA, preserve_index=False).replace_schema_metadata(None)
    with atomic_path(path) as partial:
        pq.write_table(table, partial, compression="zstd")


def read_manifest(path: Path) -> pd.DataFrame:
    """The manifest as build_manifest returned it."""
    return pq.read_table(path, schema=SCHEMA).to_pandas().astype(DTYPES)


def _describe_block(block: Block) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "index": [image.index for image in block],
            "file": [image.file for image in block],
            "item": [image.item for image in block],
            "split": pd.array([image.split for image in block], dtype="string"),
            "label": pd.array([image.label for image in block], dtype="string"),
            "mode": pd.array([image.mode for image in block], dtype="string"),
            "error": pd.array([image.error for image in block], dtype="string"),
            "sha256": pd.array(
                [None if image.pixels is None else pixel_hash(image.pixels) for image in block], dtype="string"
            ),
        }
    )
    columns: dict[str, Any] = {name: np.full(len(block), np.nan) for name in ("mean", "std", "entropy")}
    columns |= {name: np.full(len(block), -1) for name in ("width", "height", "min", "max")}
    columns["constant"] = np.zeros(len(block), dtype=bool)
    for positions, stack in _stacks(block):
        for name, values in describe(stack).items():
            columns[name][positions] = values
        columns["height"][positions], columns["width"][positions] = stack.shape[1:3]
    for name, values in columns.items():
        integers = np.issubdtype(values.dtype, np.integer)
        frame[name] = pd.array(values, dtype="Int64") if integers else values
        if integers:
            frame.loc[frame["sha256"].isna(), name] = pd.NA
    return frame


def _stacks(block: Block) -> Iterator[tuple[list[int], np.ndarray]]:
    """The images of a block grouped by shape: their positions, and uint8 [N, H, W, C]."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for position, image in enumerate(block):
        if image.pixels is not None:
            groups.setdefault(image.pixels.shape, []).append(position)
    for positions in groups.values():
        yield positions, np.stack([pixels for i in positions if (pixels := block[i].pixels) is not None])
