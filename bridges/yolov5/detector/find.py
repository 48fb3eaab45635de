"""Objects in images of any size: fit into the square, detect, and back to the image's pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from bridges.yolov5.data.augment import letterbox
from bridges.yolov5.data.batches import as_tensor
from bridges.yolov5.data.dataset import LabelledImage
from bridges.yolov5.detector.boxes import suppress
from models.yolov5.build import Detector


def find_objects(
    detector: Detector,
    images: Sequence[LabelledImage | np.ndarray],
    side: int,
    confidence: float = 0.25,
    iou: float = 0.45,
) -> list[torch.Tensor]:
    """Detections of each image, in its own pixels, (n, 6): corners, confidence, class.

    Args:
        detector: The detector, in evaluation mode.
        images: Labelled images, or (H, W, 3) uint8 arrays.
        side: Side of the square.
        confidence: Smallest confidence.
        iou: Overlap threshold of non-maximum suppression.
    """
    found = []
    for image in images:
        pixels = image.read() if isinstance(image, LabelledImage) else image
        height, width = pixels.shape[:2]
        square, scale, (left, top) = letterbox(pixels, side)
        with torch.inference_mode():
            decoded = detector.decode(detector(as_tensor(square)[None]))
        boxes = suppress(decoded, confidence, iou, one_class_each=True)[0].clone()
        boxes[:, :4] -= torch.tensor([left, top, left, top])
        boxes[:, :4] /= scale
        boxes[:, [0, 2]] = boxes[:, [0, 2]].clamp(0, width)
        boxes[:, [1, 3]] = boxes[:, [1, 3]].clamp(0, height)
        found.append(boxes)
    return found
