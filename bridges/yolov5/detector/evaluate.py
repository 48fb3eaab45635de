"""Average precision of detections by pycocotools, and a confusion matrix.

Reference:
    COCO detection evaluation: AP at IoU 0.50 (mAP50), and its mean over IoU 0.50, 0.55, ... 0.95
    (mAP50-95), precision at 101 levels of recall.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from bridges.yolov5.data.batches import plain_loader
from bridges.yolov5.data.dataset import LabelledImage
from bridges.yolov5.detector.boxes import pairwise_iou, suppress
from tfcompress.errors import DataError
from tfcompress.reporting.tables import Table
from tfcompress.short_repr import short_repr

RECALL = np.linspace(0, 1, 101)


@short_repr
@dataclass(frozen=True)
class DetectionScore:
    """Quality of detections against the ground truth of a set.

    Attributes:
        names: Classes.
        ap50: Average precision of each class at IoU 0.50, NaN for a class without an object.
        ap: The same, mean over IoU 0.50 to 0.95.
        objects: Objects of each class.
        precision: (classes, 101): precision at IoU 0.50 for each level of recall.
        confusion: (classes + 1, classes + 1): objects of each class (row) by what they were found
            as (column); last row: detections of nothing; last column: objects not found.
        images: Images.
    """

    names: tuple[str, ...]
    ap50: np.ndarray
    ap: np.ndarray
    objects: np.ndarray
    precision: np.ndarray
    confusion: np.ndarray
    images: int

    @property
    def map50(self) -> float:
        """Mean over the classes that have objects, IoU 0.50."""
        return float(np.nanmean(self.ap50))

    @property
    def map(self) -> float:
        """Mean over the classes that have objects, IoU 0.50 to 0.95."""
        return float(np.nanmean(self.ap))

    def table(self, title: str = "") -> Table:
        """One row per class, and the means."""
        table = Table(("class", "objects", "mAP50", "mAP50-95"), title=title)
        for row in zip(self.names, self.objects, self.ap50, self.ap, strict=True):
            name, objects, ap50, ap = row
            table.add(name, str(objects), _number(ap50), _number(ap))
        table.total("mean", str(self.objects.sum()), _number(self.map50), _number(self.map))
        return table

    def to_dict(self) -> dict[str, Any]:
        """The numbers for JSON."""
        return {
            "map50": self.map50,
            "map": self.map,
            "images": self.images,
            "classes": {
                name: {"objects": int(objects), "ap50": float(ap50), "ap": float(ap)}
                for name, objects, ap50, ap in zip(
                    self.names, self.objects, self.ap50, self.ap, strict=True
                )
            },
        }


def evaluate_detector(
    detect: Callable[[torch.Tensor], torch.Tensor],
    images: Sequence[LabelledImage],
    names: Sequence[str],
    side: int,
    batch: int = 16,
    confidence: float = 0.001,
    iou: float = 0.6,
    device: str | torch.device = "cpu",
) -> DetectionScore:
    """Run a detector over letterboxed images and score what it finds.

    Args:
        detect: Function from images (B, 3, S, S) to decoded boxes (B, boxes, 5 + classes) in
            pixels of the square.
        images: Labelled images.
        names: Names of the classes.
        side: Side of the square.
        batch: Number of images per batch.
        confidence: Detections below it are dropped; low, for the whole precision-recall curve.
        iou: Overlap threshold of non-maximum suppression.
        device: Device that the detector runs on.

    Raises:
        DataError: The images have no box.
    """
    found, wanted = [], []
    with torch.no_grad():
        for pixels, targets in plain_loader(images, side, batch):
            decoded = detect(pixels.to(device)).cpu()
            for index, detections in enumerate(suppress(decoded, confidence, iou)):
                found.append(detections)
                wanted.append(_corner_targets(targets, index, side))
    return score_detections(found, wanted, names)


def score_detections(
    found: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor], names: Sequence[str]
) -> DetectionScore:
    """Score the detections of each image.

    Args:
        found: Detections per image, (n, 6): corners, confidence, class.
        wanted: Ground truth per image, (m, 5): class, corners.
        names: Names of the classes.

    Raises:
        DataError: The ground truth has no object.
    """
    objects = np.zeros(len(names), int)
    for boxes in wanted:
        objects += np.bincount(boxes[:, 0].long().numpy(), minlength=len(names))
    if not objects.any():
        raise DataError("the images to score on", "they have no box", "label them")
    precision = _coco_precision(found, wanted, len(names))  # (10, 101, classes), -1: no object
    with np.errstate(invalid="ignore"):
        valid = np.where(precision < 0, np.nan, precision)
    return DetectionScore(
        names=tuple(names),
        ap50=valid[0].mean(0),
        ap=valid.mean((0, 1)),
        objects=objects,
        precision=valid[0].T,
        confusion=confusion_matrix(found, wanted, len(names)),
        images=len(wanted),
    )


def confusion_matrix(
    found: Sequence[torch.Tensor],
    wanted: Sequence[torch.Tensor],
    n_classes: int,
    confidence: float = 0.25,
    iou: float = 0.45,
) -> np.ndarray:
    """Objects by what they were found as, each matched once, the largest overlap first.

    Returns:
        (classes + 1, classes + 1); the last row and column stand for nothing.
    """
    matrix = np.zeros((n_classes + 1, n_classes + 1), int)
    for detections, boxes in zip(found, wanted, strict=True):
        sure = detections[detections[:, 4] > confidence]
        overlap = pairwise_iou(boxes[:, 1:].float(), sure[:, :4].float()).numpy()
        free_rows, free_columns = set(range(len(boxes))), set(range(len(sure)))
        for flat in np.argsort(-overlap, axis=None, kind="stable"):
            row, column = np.unravel_index(flat, overlap.shape)
            if overlap[row, column] <= iou:
                break
            if row in free_rows and column in free_columns:
                matrix[int(boxes[row, 0]), int(sure[column, 5])] += 1
                free_rows.discard(row)
                free_columns.discard(column)
        for row in free_rows:
            matrix[int(boxes[row, 0]), n_classes] += 1
        for column in free_columns:
            matrix[n_classes, int(sure[column, 5])] += 1
    return matrix


def _coco_precision(
    found: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor], n_classes: int
) -> np.ndarray:
    """Precision at every IoU, recall and class, (10, 101, classes)."""
    annotations, detections = [], []
    for image, boxes in enumerate(wanted):
        for label, x0, y0, x1, y1 in boxes.tolist():
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(label),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "iscrowd": 0,
                }
            )
    for image, rows in enumerate(found):
        for x0, y0, x1, y1, confidence, label in rows.tolist():
            detections.append(
                {
                    "image_id": image,
                    "category_id": int(label),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "score": confidence,
                }
            )
    truth = COCO()
    truth.dataset = {
        "images": [{"id": image} for image in range(len(wanted))],
        "annotations": annotations,
        "categories": [{"id": index} for index in range(n_classes)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        if not detections:
            has = np.array(
                [any(a["category_id"] == c for a in annotations) for c in range(n_classes)]
            )
            return np.where(has, 0.0, -1.0) * np.ones((10, len(RECALL), 1))
        run = COCOeval(truth, truth.loadRes(detections), "bbox")
        run.params.maxDets = [1, 100, 300]
        run.evaluate()
        run.accumulate()
    return run.eval["precision"][:, :, :, 0, -1]


def _corner_targets(targets: torch.Tensor, index: int, side: int) -> torch.Tensor:
    """Boxes of one image of a batch: class and corners in pixels."""
    own = targets[targets[:, 0] == index]
    center, half = own[:, 2:4] * side, own[:, 4:6] * side / 2
    return torch.cat((own[:, 1:2], center - half, center + half), 1)


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.4f}"
