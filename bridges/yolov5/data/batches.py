"""Batches of images and boxes for PyTorch: augmented ones for training, letterboxed ones else.

A batch is images (B, 3, S, S) float32 in [0, 1] and targets (n, 6): image, class, center x, center
y, width, height, as fractions of the square.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from bridges.yolov5.data.augment import (
    Augmentation,
    change_colors,
    fit_side,
    keep_visible,
    letterbox,
    make_mosaic,
    move_boxes,
    random_affine,
    random_flips,
)
from bridges.yolov5.data.dataset import LabelledImage

CACHE_BYTES = 2 * 1024**3
"""Images are kept in memory, scaled, as long as they take less than this."""


class TrainingImages(Dataset):
    """Augmented images; what is drawn depends on the seed, the epoch and the index alone.

    Attributes:
        epoch: Set it before each epoch.
    """

    def __init__(
        self,
        images: Sequence[LabelledImage],
        side: int,
        augmentation: Augmentation,
        seed: int = 0,
    ) -> None:
        self.store = ScaledImages(images, side)
        self.side = side
        self.augmentation = augmentation
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = np.random.default_rng((self.seed, self.epoch, index))
        changes = self.augmentation
        if generator.random() < changes.mosaic:
            chosen = [index, *generator.integers(0, len(self), 3)]
            parts = [self.store[int(i)] for i in chosen]
            image, boxes = make_mosaic(*zip(*parts, strict=True), self.side, generator)
        else:
            image, boxes = self.store[index]
        image, boxes = random_affine(image, boxes, self.side, changes, generator)
        image = change_colors(image, changes, generator)
        image, boxes = random_flips(image, boxes, changes, generator)
        return as_tensor(image), as_target(boxes, self.side)


class LetterboxedImages(Dataset):
    """Images as they are, fitted into the square; for evaluation."""

    def __init__(self, images: Sequence[LabelledImage], side: int) -> None:
        self.store = ScaledImages(images, side)
        self.side = side

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image, boxes = self.store[index]
        square, scale, (left, top) = letterbox(image, self.side)
        boxes = keep_visible(move_boxes(boxes, scale, (left, top)), self.side, least=0)
        return as_tensor(square), as_target(boxes, self.side)


class ScaledImages:
    """Images with the longer side scaled, and corner boxes in pixels; cached while memory lasts."""

    def __init__(self, images: Sequence[LabelledImage], side: int) -> None:
        self.images = tuple(images)
        self.side = side
        self._cache: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._room = CACHE_BYTES

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if index not in self._cache:
            labelled = self.images[index]
            image, _ = fit_side(labelled.read(), self.side)
            item = image, pixel_corners(labelled.boxes, image.shape[0], image.shape[1])
            if image.nbytes > self._room:
                return item
            self._room -= image.nbytes
            self._cache[index] = item
        return self._cache[index]


def pixel_corners(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """(n, 5) class, centers and sizes as fractions, to class and corners in pixels."""
    sides = np.array([width, height], np.float32)
    center, half = boxes[:, 1:3] * sides, boxes[:, 3:5] * sides / 2
    return np.concatenate((boxes[:, :1], center - half, center + half), 1)


def as_target(boxes: np.ndarray, side: int) -> torch.Tensor:
    """(n, 5) class and corners in pixels, to class, centers and sizes as fractions."""
    low, high = boxes[:, 1:3], boxes[:, 3:5]
    rows = np.concatenate((boxes[:, :1], (low + high) / 2 / side, (high - low) / side), 1)
    return torch.from_numpy(rows.astype(np.float32))


def as_tensor(image: np.ndarray) -> torch.Tensor:
    """(H, W, 3) uint8 to (3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255


def collate(
    items: Sequence[tuple[torch.Tensor, torch.Tensor]],
) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of items."""
    rows = [
        torch.cat((torch.full((len(boxes), 1), float(index)), boxes), 1)
        for index, (_, boxes) in enumerate(items)
    ]
    return torch.stack([image for image, _ in items]), torch.cat(rows)


def training_loader(images: TrainingImages, batch: int, workers: int = 0) -> DataLoader:
    """Shuffled batches; the order, too, depends on the seed and the epoch alone."""
    generator = torch.Generator()
    generator.manual_seed(images.seed * 100_003 + images.epoch)
    return DataLoader(
        images,
        batch_size=batch,
        shuffle=True,
        collate_fn=collate,
        num_workers=workers,
        generator=generator,
        drop_last=len(images) % batch == 1 and len(images) > 1,
    )


def plain_loader(
    images: Sequence[LabelledImage], side: int, batch: int, workers: int = 0
) -> DataLoader:
    """Letterboxed batches in the order of the images."""
    return DataLoader(
        LetterboxedImages(images, side), batch_size=batch, collate_fn=collate, num_workers=workers
    )
