"""Boxes: forms, overlap, and non-maximum suppression.

A box is (center x, center y, width, height) or its corners (x0, y0, x1, y1), in pixels or cells.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch


def corners(boxes: torch.Tensor) -> torch.Tensor:
    """(..., 4) centers and sizes to corners."""
    center, half = boxes[..., :2], boxes[..., 2:4] / 2
    return torch.cat((center - half, center + half), -1)


def centers(boxes: torch.Tensor) -> torch.Tensor:
    """(..., 4) corners to centers and sizes."""
    low, high = boxes[..., :2], boxes[..., 2:4]
    return torch.cat(((low + high) / 2, high - low), -1)


def pairwise_iou(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Intersection over union of every corner box of `a` (n, 4) with every one of `b`, (n, m)."""
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (a, b)]
    return shared / (areas[0][:, None] + areas[1][None] - shared).clamp(min=1e-9)


def complete_iou(a: torch.Tensor, b: torch.Tensor, eps: float = 1e-7) -> torch.Tensor:
    """CIoU of boxes `a` (n, 4) with boxes `b` (n, 4), centers and sizes, (n,).

    Reference:
        Zheng et al., Distance-IoU Loss, 2020, arXiv:1911.08287, equations 5, 8 to 11: IoU minus the
        distance of the centers over the diagonal of the enclosing box, minus alpha v for the
        difference in aspect ratio. Alpha takes no gradient.
    """
    ca, cb = corners(a), corners(b)
    low = torch.maximum(ca[:, :2], cb[:, :2])
    high = torch.minimum(ca[:, 2:], cb[:, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    union = a[:, 2:].prod(-1) + b[:, 2:].prod(-1) - shared + eps
    iou = shared / union
    enclosing = torch.maximum(ca[:, 2:], cb[:, 2:]) - torch.minimum(ca[:, :2], cb[:, :2])
    diagonal = enclosing.square().sum(-1) + eps
    distance = (a[:, :2] - b[:, :2]).square().sum(-1)
    angles = [torch.atan(boxes[:, 2] / (boxes[:, 3] + eps)) for boxes in (a, b)]
    v = 4 / math.pi**2 * (angles[1] - angles[0]).square()
    with torch.no_grad():
        alpha = v / (v - iou + 1 + eps)
    return iou - distance / diagonal - alpha * v


def suppress(
    decoded: torch.Tensor,
    confidence: float = 0.25,
    iou: float = 0.45,
    most: int = 300,
    candidates: int = 3000,
    one_class_each: bool = False,
) -> list[torch.Tensor]:
    """Detections of each image: per class, the best box of each group of overlapping boxes.

    Args:
        decoded: Decoded boxes (B, boxes, 5 + classes) of `Detector.decode`.
        confidence: Smallest objectness times class probability.
        iou: Overlap above which the weaker of two boxes of a class is dropped.
        most: Largest number of detections kept per image.
        candidates: Largest number of boxes considered per image, by confidence.
        one_class_each: Use only the most probable class of a box; otherwise every class above the
            confidence, as average precision requires.

    Returns:
        For each image (n, 6): corners, confidence, class, by falling confidence.
    """
    found = []
    for boxes in decoded:
        scores = boxes[:, 5:] * boxes[:, 4:5]
        if one_class_each:
            best, classes = scores.max(1)
            rows = (best > confidence).nonzero().flatten()
            classes, scores = classes[rows], best[rows]
        else:
            rows, classes = (scores > confidence).nonzero(as_tuple=True)
            scores = scores[rows, classes]
        order = scores.argsort(descending=True, stable=True)[:candidates]
        kept = torch.cat(
            (
                corners(boxes[rows[order], :4]),
                scores[order, None],
                classes[order, None].to(boxes.dtype),
            ),
            1,
        )
        found.append(kept[_greedy(kept, iou)[:most]])
    return found


def _greedy(detections: torch.Tensor, iou: float) -> list[int]:
    """Indices that remain, by OpenCV's greedy suppression within each class."""
    if not len(detections):
        return []
    rows = detections.cpu().double().numpy()
    sizes = np.concatenate((rows[:, :2], rows[:, 2:4] - rows[:, :2]), 1)
    kept = cv2.dnn.NMSBoxesBatched(
        sizes.tolist(), rows[:, 4].tolist(), rows[:, 5].astype(int).tolist(), 0.0, iou
    )
    return sorted(np.asarray(kept).astype(int).reshape(-1).tolist())
