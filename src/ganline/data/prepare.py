"""prepare: the images that passed the gate, cropped, resized and recoloured, as arrays that can be memory-mapped.

An image is cropped to its centre square, then resized with Pillow's Lanczos filter, which widens with the reduction
(no aliasing) and keeps edges sharper than a box; NVlabs' dataset_tool.py offers the same. An image that has the size
and the channels already is left as it is, bit for bit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from ganline.data.config import DataConfig, PrepareConfig
from ganline.data.reading import read
from ganline.data.sources.base import RawImage
from ganline.data.statistics import pixel_hash
from ganline.errors import DataError, listed
from ganline.files import atomic_path, write_json

SPLITS = ("train", "val", "test")
LEAST = {"train": 2, "val": 1, "test": 2}


def prepare(
    data: DataConfig,
    manifest: pd.DataFrame,
    quarantined: Collection[int],
    config: PrepareConfig,
    folder: Path,
    out_folder: Path,
) -> dict[str, int]:
    """Write SPLIT_images.npy (uint8 [N, C, H, W]), SPLIT_labels.npy (int64 [N], -1 for none) and dataset.json.

    Rows keep the manifest's order; quarantined rows and those with an error are left out. Returns images by split.
    """
    kept = manifest[~manifest["index"].isin(list(quarantined)) & manifest["error"].isna()]
    if not len(kept[kept["split"] == "train"]):
        raise DataError("no training images are left", expected="at least one image in the train split")
    names = list(data.source.label_names or sorted(kept["label"].dropna().unique()))
    counts = {split: int((kept["split"] == split).sum()) for split in SPLITS}
    out_folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        arrays = {
            split: np.lib.format.open_memmap(
                stack.enter_context(atomic_path(out_folder / f"{split}_images.npy")),
                mode="w+",
                dtype=np.uint8,
                shape=(counts[split], config.channels, config.resolution, config.resolution),
            )
            for split in SPLITS
        }
        position = dict.fromkeys(SPLITS, 0)
        for split, image in _kept_images(data, kept, folder):
            arrays[split][position[split]] = fit(image, resolution=config.resolution, channels=config.channels)
            position[split] += 1
        for array in arrays.values():
            array.flush()
    assert position == counts, (position, counts)
    classes = {name: number for number, name in enumerate(names)}
    for split in SPLITS:
        labels = kept.loc[kept["split"] == split, "label"].map(classes).fillna(-1).to_numpy(np.int64)
        with atomic_path(out_folder / f"{split}_labels.npy") as partial:
            np.save(partial, labels)
    summary = {
        "name": data.source.name,
        "labels": names,
        "resolution": config.resolution,
        "channels": config.channels,
        "counts": counts,
        "set_aside": len(manifest) - len(kept),
        "note": data.source.remarks,
    }
    write_json(out_folder / "dataset.json", summary)
    return counts


def check_usable(manifest: pd.DataFrame, quarantined: Collection[int]) -> None:
    """Raise DataError where training or measuring could not work: a split too small, or only some images labelled."""
    kept = manifest[~manifest["index"].isin(list(quarantined))]
    counts = {split: int((kept["split"] == split).sum()) for split in SPLITS}
    if small := [f"{split} {counts[split]}" for split, least in LEAST.items() if counts[split] < least]:
        raise DataError(
            f"too few images in a split: {', '.join(small)} of {len(kept)}",
            expected="at least " + ", ".join(f"{least} in {split}" for split, least in LEAST.items()),
            remedy="add images, or raise manifest.validation_share, and manifest.test_share where the data have no "
            "test split",
        )
    unlabelled = kept[kept["label"].isna()]
    if 0 < len(unlabelled) < len(kept):
        names = unlabelled["file"].astype(str).tolist()
        raise DataError(
            f"{len(unlabelled)} of {len(kept)} images have no label: {listed(names)}",
            expected="a label for every image (all in sub-folders), or for none",
            remedy="move them into sub-folders",
        )


def read_quarantine(path: Path) -> list[int]:
    """The indices of the rows that the gate set aside, from its quarantine.csv."""
    return pd.read_csv(path)["index"].astype(int).tolist()


def fit(pixels: np.ndarray, *, resolution: int, channels: int) -> np.ndarray:
    """uint8 [H, W, C] -> uint8 [channels, resolution, resolution]: centre square, resized; grey by ITU-R 601."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    pixels = pixels[top : top + side, left : left + side]
    if side != resolution or (pixels.shape[2] == 3 and channels == 1):
        image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))
        if channels == 1:
            image = image.convert("L")
        if side != resolution:
            image = image.resize((resolution, resolution), Image.Resampling.LANCZOS)
        pixels = np.asarray(image).reshape(resolution, resolution, -1)
    planes = pixels.transpose(2, 0, 1)
    return np.broadcast_to(planes, (channels, resolution, resolution))


def _kept_images(data: DataConfig, kept: pd.DataFrame, folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Split and pixels of every kept row, in order, each checked against the manifest's content hash."""
    rows = dict(zip(kept["index"], zip(kept["split"], kept["sha256"], strict=True), strict=True))
    for block in read(data, folder):
        for image in block:
            if image.index in rows:
                split, sha256 = rows.pop(image.index)
                yield split, _checked(image, sha256)
    if rows:
        files = kept.loc[kept["index"].isin(list(rows)), "file"].astype(str).unique().tolist()
        raise DataError(
            f"{len(rows)} images of the manifest are not in the data: {listed(files)}", remedy="run `ganline verify`"
        )


def _checked(image: RawImage, sha256: str) -> np.ndarray:
    if image.pixels is None or pixel_hash(image.pixels) != sha256:
        raise DataError(
            f"{image.file} #{image.item} is not the image that the manifest describes",
            expected="data and manifest of one version",
            remedy="run `ganline verify`, then `dvc repro manifest`",
        )
    return image.pixels
