"""Check whether the anchors fit the boxes of a data set, and replace them by k-means if not.

Reference:
    Redmon and Farhadi, YOLO9000, 2016, arXiv:1612.08242, section 2 (dimension clusters).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans

from bridges.yolov5.data.dataset import LabelledImage
from tfcompress.short_repr import short_repr

ENOUGH = 0.98
"""Least share of boxes with a fitting anchor."""


@short_repr
@dataclass(frozen=True)
class AnchorCheck:
    """How well anchors fit.

    Attributes:
        recall: Fraction of the boxes that some anchor fits (sides within the factor).
        anchors: (levels, anchors, 2) in pixels of the square: the given ones, or better ones.
        replaced: Whether the anchors were replaced.
    """

    recall: float
    anchors: np.ndarray
    replaced: bool

    def __str__(self) -> str:
        what = "k-means anchors took their place" if self.replaced else "they stay"
        return f"anchors fit {self.recall:.1%} of the boxes; {what}"


def check_anchors(
    anchors: np.ndarray,
    images: Sequence[LabelledImage],
    side: int,
    ratio: float = 4.0,
    seed: int = 0,
) -> AnchorCheck:
    """Keep anchors that fit nearly every box, else cluster the boxes' sizes.

    Args:
        anchors: (levels, anchors, 2) in pixels.
        images: Training images.
        side: Side of the square that they are scaled to.
        ratio: Largest allowed factor between the sides of a box and of its anchor.
        seed: Seed of k-means.
    """
    sizes = box_sizes(images, side)
    recall = anchor_recall(anchors, sizes, ratio)
    count = anchors.shape[0] * anchors.shape[1]
    if recall >= ENOUGH or len(np.unique(sizes, axis=0)) < count:
        return AnchorCheck(recall, anchors, replaced=False)
    # In logarithms, equal factors are equally far.
    clusters = KMeans(count, n_init=10, random_state=seed).fit(np.log(sizes))
    better = np.exp(clusters.cluster_centers_)
    better = better[np.argsort(better.prod(-1))].reshape(anchors.shape).astype(np.float32)
    if anchor_recall(better, sizes, ratio) <= recall:
        return AnchorCheck(recall, anchors, replaced=False)
    return AnchorCheck(recall, better, replaced=True)


def anchor_recall(anchors: np.ndarray, sizes: np.ndarray, ratio: float) -> float:
    """Fraction of the sizes (n, 2) with an anchor whose sides are within the factor."""
    factor = sizes[:, None] / anchors.reshape(1, -1, 2)
    return float((np.maximum(factor, 1 / factor).max(-1).min(1) < ratio).mean())


def box_sizes(images: Sequence[LabelledImage], side: int) -> np.ndarray:
    """Widths and heights of all boxes in pixels of the square, (n, 2); tiny ones left out."""
    sizes = [
        image.boxes[:, 3:] * np.array(image.size[::-1]) * side / max(image.size) for image in images
    ]
    everything = np.concatenate(sizes).astype(np.float64)
    return everything[(everything > 2).all(1)]
