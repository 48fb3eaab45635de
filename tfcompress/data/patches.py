"""Cut images into patches and put predictions together again; pixel scaling. NumPy only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from tfcompress.errors import ConfigError, DataError

Scaling = Literal["minmax", "standard", "unit"]

IGNORED = 255
"""Label of pixels that are ignored, because another patch contains them."""


def scale_image(image: np.ndarray, scaling: Scaling) -> np.ndarray:
    """Scale an image, per channel over the whole image.

    Args:
        image: Image `(H, W, C)`, uint8.
        scaling: Kind of scaling. "minmax" maps each channel to 0..1, "standard" to mean 0 and
            standard deviation 1 (with both, a constant channel becomes 0). "unit" divides by 255.

    Returns:
        The image `(H, W, C)`, float32.

    Raises:
        ConfigError: The scaling is unknown.
    """
    wide = image.astype(np.float32)
    if scaling == "unit":
        return wide / 255
    if scaling == "minmax":
        low, high = wide.min(axis=(0, 1)), wide.max(axis=(0, 1))
        return (wide - low) / np.where(high > low, high - low, 1)
    if scaling == "standard":
        mean, deviation = wide.mean(axis=(0, 1)), wide.std(axis=(0, 1))
        return (wide - mean) / np.where(deviation > 0, deviation, 1)
    raise ConfigError("scaling", f"{scaling!r} is unknown", "use 'minmax', 'standard' or 'unit'")


def offsets(size: int, patch: int, stride: int) -> list[int]:
    """Start positions of patches along one side; the last patch is aligned with the edge."""
    starts = list(range(0, size - patch + 1, stride))
    if starts[-1] != size - patch:
        starts.append(size - patch)
    return starts


def cut_patches(
    image: np.ndarray,
    labels: np.ndarray,
    patch: int,
    stride: int,
    where: str,
    count_once: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Cut an image and its labels into patches, row by row.

    Args:
        image: Image `(H, W, C)`.
        labels: Class indices `(H, W)`, uint8.
        patch: Side length P of a patch, in pixels.
        stride: Distance between neighboring patches, in pixels.
        where: Path of the file, for errors.
        count_once: Whether to label pixels that an earlier patch contains as `IGNORED`.

    Returns:
        Patches `(N, P, P, C)` and their labels `(N, P, P)`.

    Raises:
        DataError: The patch is larger than the image.
        ConfigError: The patch or the stride is below 1.
    """
    height, width = labels.shape
    if patch < 1 or stride < 1:
        raise ConfigError("patch and stride", f"{patch} and {stride}", "use at least 1")
    if patch > min(height, width):
        raise DataError(
            where,
            f"a patch of {patch}x{patch} is larger than the image ({height}x{width})",
            f"use a patch of at most {min(height, width)}",
        )
    pieces, piece_labels = [], []
    counted = np.zeros(labels.shape, bool)
    for top in offsets(height, patch, stride):
        for left in offsets(width, patch, stride):
            window = np.s_[top : top + patch, left : left + patch]
            own = labels[window].copy()
            if count_once:
                own[counted[window]] = IGNORED
                counted[window] = True
            pieces.append(image[window])
            piece_labels.append(own)
    return np.stack(pieces), np.stack(piece_labels)


def predict_image(
    predict: Callable[[np.ndarray], np.ndarray],
    image: np.ndarray,
    patch: int,
    overlap: float = 0.25,
) -> np.ndarray:
    """Predict an image of any size with a model that takes patches of a fixed size.

    Overlapping predictions are averaged, with weights that decrease toward the edges of a patch,
    where convolutions see padding. An image smaller than a patch is first mirrored at its edges.

    Args:
        predict: Function from patches `(N, P, P, C)` to class probabilities `(N, P, P, classes)`.
        image: Image `(H, W, C)`, scaled as the model's training images.
        patch: Side length P of the patches, in pixels.
        overlap: Share of a patch that its neighbor covers too, in [0, 1).

    Returns:
        Class probabilities `(H, W, classes)`, float32.
    """
    height, width = image.shape[:2]
    missing = [max(0, patch - height), max(0, patch - width)]
    padded = np.pad(image, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="symmetric")
    stride = max(1, round(patch * (1 - overlap)))
    places = [
        (top, left)
        for top in offsets(padded.shape[0], patch, stride)
        for left in offsets(padded.shape[1], patch, stride)
    ]
    ramp = 1 - np.abs(np.arange(patch) - (patch - 1) / 2) / (patch / 2)
    weight = np.outer(ramp, ramp)[..., None].astype(np.float32)
    pieces = predict(np.stack([padded[y : y + patch, x : x + patch] for y, x in places]))
    total = np.zeros((*padded.shape[:2], pieces.shape[-1]), np.float32)
    weights = np.zeros((*padded.shape[:2], 1), np.float32)
    for (top, left), piece in zip(places, pieces, strict=True):
        window = np.s_[top : top + patch, left : left + patch]
        total[window] += weight * piece
        weights[window] += weight
    return (total / weights)[:height, :width]


def balanced_class_weights(shares: np.ndarray, power: float = 0.5) -> np.ndarray:
    """Class weights that are larger for rarer classes: `share ** -power`, with a mean of 1.

    Args:
        shares: Share of each class in the pixels, `(classes,)`. A class without pixels gets the
            weight of the rarest class that has some.
        power: Exponent: 0 weighs all classes equally, 1 by inverse frequency, 0.5 in between.

    Returns:
        Weights `(classes,)` that sum to the number of classes.
    """
    present = shares > 0
    filled = np.where(present, shares, shares[present].min())
    weights = filled**-power
    return weights * (weights.size / weights.sum())
