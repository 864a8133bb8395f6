"""Numbers about single images, vectorised over a stack of equal shape; all of them follow from one histogram each."""

from __future__ import annotations

import hashlib

import numpy as np

LEVELS = np.arange(256)
DECIMALS = 6  # logarithms differ in their last bits between instruction sets; the manifest must not


def histograms(images: np.ndarray) -> np.ndarray:
    """uint8 [N, H, W, C] -> int64 [N, 256]: how often each value occurs, all channels together."""
    counts = np.zeros((len(images), 256), dtype=np.int64)
    flat = images.reshape(len(images), -1)
    step = max(1, (1 << 22) // max(1, flat.shape[1]))
    for start in range(0, len(flat), step):
        part = flat[start : start + step]
        if len(part) == 1:  # a large image, piece by piece: bincount widens what it gets to int64
            for piece in np.array_split(part[0], max(1, part.size >> 22)):
                counts[start] += np.bincount(piece, minlength=256)
        else:
            keys = part + np.arange(len(part), dtype=np.int64)[:, None] * 256
            counts[start : start + step] = np.bincount(keys.ravel(), minlength=len(part) * 256).reshape(-1, 256)
    return counts


def describe(images: np.ndarray) -> dict[str, np.ndarray]:
    """uint8 [N, H, W, C] -> mean, std, min, max (of 0..255), entropy (bits, of the values) and constant, each [N]."""
    counts = histograms(images)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / totals
    mean = counts @ LEVELS / totals[:, 0]
    variance = (shares * (LEVELS - mean[:, None]) ** 2).sum(axis=1)
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    return {
        "mean": mean.round(DECIMALS),
        "std": np.sqrt(variance).round(DECIMALS),
        "min": (counts > 0).argmax(axis=1),
        "max": 255 - (counts[:, ::-1] > 0).argmax(axis=1),
        "entropy": (-(shares * logs).sum(axis=1) + 0.0).round(DECIMALS),
        "constant": (images == images[:, :1, :1]).all(axis=(1, 2, 3)),
    }


def pixel_hash(image: np.ndarray) -> str:
    """sha256 of an image's shape and pixels: equal exactly when the images are."""
    digest = hashlib.sha256("x".join(map(str, image.shape)).encode() + b":")
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()
