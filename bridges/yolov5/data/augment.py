"""Images and boxes for training: letterbox, mosaic, random affine crop, HSV, flips.

Images are (H, W, 3) uint8 RGB; boxes (n, 5) are class and corners in pixels. Everything random is
drawn from the generator that is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from tfcompress.errors import ConfigError

GRAY = 114
"""What fills the border."""


@dataclass(frozen=True)
class Augmentation:
    """Strength of the changes to training images.

    Attributes:
        mosaic: Probability of four images in one.
        scale: Zoom within 1 - scale and 1 + scale.
        translate: Shift, as a fraction of the side.
        degrees: Rotation, at most, either way.
        hue, saturation, value: Largest relative change of each.
        flip_left_right, flip_up_down: Probabilities.
    """

    mosaic: float = 1.0
    scale: float = 0.5
    translate: float = 0.1
    degrees: float = 0.0
    hue: float = 0.015
    saturation: float = 0.7
    value: float = 0.4
    flip_left_right: float = 0.5
    flip_up_down: float = 0.0

    def __post_init__(self) -> None:
        for name, most in vars(self).items():
            limit = 180 if name == "degrees" else 1
            if not 0 <= most <= limit:
                raise ConfigError(name, f"it is {most}", f"give a number from 0 to {limit}")


def letterbox(image: np.ndarray, side: int) -> tuple[np.ndarray, float, tuple[int, int]]:
    """Scale to fit a square and fill the rest with gray.

    Returns:
        The square, (side, side, 3); the scale; the border at the left and at the top, in pixels.
    """
    scaled, scale = fit_side(image, side)
    height, width = scaled.shape[:2]
    left, top = (side - width) // 2, (side - height) // 2
    square = np.full((side, side, 3), GRAY, np.uint8)
    square[top : top + height, left : left + width] = scaled
    return square, scale, (left, top)


def fit_side(image: np.ndarray, side: int) -> tuple[np.ndarray, float]:
    """Scale the longer side to `side`; the image and the scale."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale == 1:
        return image, 1.0
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return cv2.resize(image, size, interpolation=method), scale


def move_boxes(boxes: np.ndarray, scale: float, shift: tuple[float, float]) -> np.ndarray:
    """Corner boxes scaled, then shifted by (x, y)."""
    moved = boxes.copy()
    moved[:, 1:] = moved[:, 1:] * scale + np.tile(np.asarray(shift, boxes.dtype), 2)
    return moved


def make_mosaic(
    images: Sequence[np.ndarray],
    boxes: Sequence[np.ndarray],
    side: int,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Four images around a random middle on a canvas of twice the side.

    Reference:
        Bochkovskiy et al., YOLOv4, 2020, arXiv:2004.10934, section 3.3.
    """
    canvas = np.full((2 * side, 2 * side, 3), GRAY, np.uint8)
    middle = generator.uniform(0.5 * side, 1.5 * side, 2).astype(int)
    placed = []
    for corner, (image, own) in enumerate(zip(images, boxes, strict=True)):
        height, width = image.shape[:2]
        left = middle[0] - width if corner % 2 == 0 else middle[0]
        top = middle[1] - height if corner < 2 else middle[1]
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + width, 2 * side), min(top + height, 2 * side)
        canvas[y0:y1, x0:x1] = image[y0 - top : y1 - top, x0 - left : x1 - left]
        placed.append(clip_boxes(move_boxes(own, 1.0, (left, top)), 2 * side, 2 * side))
    return canvas, np.concatenate(placed)


def random_affine(
    image: np.ndarray,
    boxes: np.ndarray,
    side: int,
    augmentation: Augmentation,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Turn, zoom and shift around the middle into a square of `side`; boxes follow."""
    height, width = image.shape[:2]
    angle = generator.uniform(-augmentation.degrees, augmentation.degrees)
    zoom = generator.uniform(1 - augmentation.scale, 1 + augmentation.scale)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, max(zoom, 0.05))
    shift = generator.uniform(0.5 - augmentation.translate, 0.5 + augmentation.translate, 2) * side
    matrix[:, 2] += shift - (width / 2, height / 2)
    warped = cv2.warpAffine(image, matrix, (side, side), borderValue=(GRAY,) * 3)
    if not len(boxes):
        return warped, boxes
    x0, y0, x1, y1 = boxes[:, 1:].T
    points = np.stack((x0, y0, x1, y0, x1, y1, x0, y1), -1).reshape(-1, 4, 2)
    turned = points @ matrix[:, :2].T + matrix[:, 2]
    moved = np.concatenate((boxes[:, :1], turned.min(1), turned.max(1)), 1).astype(np.float32)
    return warped, keep_visible(moved, side)


def keep_visible(boxes: np.ndarray, side: int, least: float = 0.1) -> np.ndarray:
    """Boxes clipped to the square; those of which too little is left go.

    Args:
        boxes: (n, 5), class and corners, perhaps outside.
        side: Side of the square.
        least: Smallest fraction of a box's area that must be inside.
    """
    clipped = clip_boxes(boxes, side, side)
    before, after = (b[:, 3:] - b[:, 1:3] for b in (boxes, clipped))
    long = after.max(1) / np.maximum(after.min(1), 1e-6)
    good = (after > 2).all(1) & (after.prod(1) > least * before.prod(1)) & (long < 100)
    return clipped[good]


def clip_boxes(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Corner boxes cut to the image; those wholly outside become empty."""
    clipped = boxes.copy()
    clipped[:, [1, 3]] = clipped[:, [1, 3]].clip(0, width)
    clipped[:, [2, 4]] = clipped[:, [2, 4]].clip(0, height)
    return clipped


def change_colors(
    image: np.ndarray, augmentation: Augmentation, generator: np.random.Generator
) -> np.ndarray:
    """Hue, saturation and value scaled, each by its own random factor."""
    most = (augmentation.hue, augmentation.saturation, augmentation.value)
    if not any(most):
        return image
    factors = 1 + generator.uniform(-1, 1, 3) * most
    steps = np.arange(256)
    tables = (
        (steps * factors[0] % 180).astype(np.uint8),
        (steps * factors[1]).clip(0, 255).astype(np.uint8),
        (steps * factors[2]).clip(0, 255).astype(np.uint8),
    )
    channels = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
    changed = [cv2.LUT(channel, table) for channel, table in zip(channels, tables, strict=True)]
    return cv2.cvtColor(cv2.merge(changed), cv2.COLOR_HSV2RGB)


def random_flips(
    image: np.ndarray,
    boxes: np.ndarray,
    augmentation: Augmentation,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Mirrored left to right and up to down, each with its probability."""
    height, width = image.shape[:2]
    if generator.random() < augmentation.flip_left_right:
        image = image[:, ::-1]
        boxes = boxes.copy()
        boxes[:, [1, 3]] = width - boxes[:, [3, 1]]
    if generator.random() < augmentation.flip_up_down:
        image = image[::-1]
        boxes = boxes.copy()
        boxes[:, [2, 4]] = height - boxes[:, [4, 2]]
    return image, boxes
