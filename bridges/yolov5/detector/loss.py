"""YOLOv5's loss: assignment of anchors to boxes, and the parts of the loss.

A box is assigned to every anchor whose sides are within a factor of four of its own, in the cell of
its center and in the two nearest neighbor cells.

Reference:
    YOLOv5 v6/v7; CIoU (Zheng et al., 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn import functional

from bridges.yolov5.detector.boxes import complete_iou
from tfcompress.errors import ConfigError

BALANCE = {3: (4.0, 1.0, 0.4), 4: (4.0, 1.0, 0.25, 0.06)}
"""Weights of each level's objectness, the finest first."""


@dataclass(frozen=True)
class LossWeights:
    """Gains of the parts, for 80 classes at 640 pixels; `scaled` fits them to others.

    Attributes:
        box: Weight of 1 - CIoU.
        objectness: Weight of the objectness loss, over all cells.
        classes: Weight of the class loss, over the cells that hold an object.
        smoothing: Label smoothing of the classes.
        ratio: Largest factor between the sides of a box and of its anchor.
    """

    box: float = 0.05
    objectness: float = 1.0
    classes: float = 0.5
    smoothing: float = 0.0
    ratio: float = 4.0

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1:
            raise ConfigError("smoothing", f"it is {self.smoothing}", "give 0 or more, below 1")
        if self.ratio <= 1:
            raise ConfigError("ratio", f"it is {self.ratio}", "give a factor above 1, such as 4")

    def scaled(self, n_classes: int, side: int, levels: int) -> LossWeights:
        """The gains for a number of classes, an image size and a number of levels."""
        share = 3 / levels
        return replace(
            self,
            box=self.box * share,
            objectness=self.objectness * share * (side / 640) ** 2,
            classes=self.classes * share * n_classes / 80,
        )


@dataclass(frozen=True)
class Assignment:
    """The cells of one level that are assigned to a box.

    Attributes:
        image, anchor, row, column: Position of each cell, (n,) each.
        box: (n, 4): center relative to the cell, and size, in cells.
        shape: (n, 2): the anchor's sides in cells.
        label: (n,): class.
    """

    image: torch.Tensor
    anchor: torch.Tensor
    row: torch.Tensor
    column: torch.Tensor
    box: torch.Tensor
    shape: torch.Tensor
    label: torch.Tensor


def assign(
    targets: torch.Tensor, anchors: torch.Tensor, height: int, width: int, ratio: float = 4.0
) -> Assignment:
    """Assign anchors and cells of a level to boxes.

    Args:
        targets: (n, 6): image, class, center x, center y, width, height, as fractions.
        anchors: (anchors, 2) in cells.
        height: Number of rows of the level.
        width: Number of columns of the level.
        ratio: Largest factor between the sides of a box and of its anchor.
    """
    cells = torch.tensor([width, height], dtype=targets.dtype, device=targets.device)
    center, size = targets[:, 2:4] * cells, targets[:, 4:6] * cells
    factor = size[:, None] / anchors[None]  # (n, anchors, 2)
    box, anchor = (torch.maximum(factor, 1 / factor).amax(-1) < ratio).nonzero(as_tuple=True)
    image, label = targets[box, 0].long(), targets[box, 1].long()
    center, size = center[box], size[box]

    inside = center % 1
    room = cells - center
    steps = [(torch.ones(len(box), dtype=torch.bool, device=targets.device), (0, 0))]
    for axis in (0, 1):
        step = (1, 0) if axis == 0 else (0, 1)
        steps.append(((inside[:, axis] < 0.5) & (center[:, axis] > 1), (-step[0], -step[1])))
        steps.append(((inside[:, axis] > 0.5) & (room[:, axis] > 1), step))
    parts = []
    for chosen, (dx, dy) in steps:
        cell = center[chosen].long() + torch.tensor([dx, dy], device=targets.device)
        cell = torch.minimum(cell.clamp(min=0), (cells - 1).long())
        parts.append(
            (image[chosen], anchor[chosen], cell, center[chosen], size[chosen], label[chosen])
        )
    image, anchor, cell, center, size, label = (
        torch.cat(part) for part in zip(*parts, strict=True)
    )
    return Assignment(
        image=image,
        anchor=anchor,
        row=cell[:, 1],
        column=cell[:, 0],
        box=torch.cat((center - cell, size), 1),
        shape=anchors[anchor],
        label=label,
    )


class DetectionLoss(nn.Module):
    """The loss of a detector's raw maps.

    Args:
        anchors: (levels, anchors, 2) in cells, as `Detect` has them.
        n_classes: Number of classes.
        side: Side of the training images in pixels.
        weights: Weights of the parts.
    """

    def __init__(
        self,
        anchors: torch.Tensor,
        n_classes: int,
        side: int,
        weights: LossWeights = LossWeights(),
    ) -> None:
        super().__init__()
        self.register_buffer("anchors", anchors.detach().clone())
        self.n_classes = n_classes
        levels = len(anchors)
        self.weights = weights.scaled(n_classes, side, levels)
        self.balance = BALANCE.get(levels, (1.0,) * levels)

    def forward(
        self, raw: Sequence[torch.Tensor], targets: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss of a batch, and its parts.

        Args:
            raw: [(B, anchors, h, w, 5 + classes), ...].
            targets: (n, 6): image, class, box as fractions.

        Returns:
            The sum of the parts times the batch size, and the weighted parts per image: "box",
            "objectness", "classes".
        """
        zero = raw[0].new_zeros(())
        box, objectness, classes = zero, zero, zero
        for index, level in enumerate(raw):
            batch, _, height, width, _ = level.shape
            wanted = assign(targets, self.anchors[index], height, width, self.weights.ratio)
            presence = torch.zeros_like(level[..., 4])
            if len(wanted.image):
                where = (wanted.image, wanted.anchor, wanted.row, wanted.column)
                given = level[where]
                y = given[:, :4].sigmoid()
                predicted = torch.cat(
                    (2 * y[:, :2] - 0.5, (2 * y[:, 2:]).square() * wanted.shape), 1
                )
                overlap = complete_iou(predicted, wanted.box)
                box = box + (1 - overlap).mean()
                # Of several boxes in a cell the one that fits best is what it should be sure of.
                flat = (
                    (wanted.image * level.shape[1] + wanted.anchor) * height + wanted.row
                ) * width
                presence.view(-1).scatter_reduce_(
                    0,
                    flat + wanted.column,
                    overlap.detach().clamp(min=0).to(presence.dtype),
                    "amax",
                )
                if self.n_classes > 1:
                    classes = classes + functional.binary_cross_entropy_with_logits(
                        given[:, 5:], self._labels(wanted.label, given)
                    )
            objectness = objectness + self.balance[index] * (
                functional.binary_cross_entropy_with_logits(level[..., 4], presence)
            )
        parts = {
            "box": self.weights.box * box,
            "objectness": self.weights.objectness * objectness,
            "classes": self.weights.classes * classes,
        }
        total = sum(parts.values(), zero) * raw[0].shape[0]
        return total, {name: float(part.detach()) for name, part in parts.items()}

    def _labels(self, label: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
        smoothing = self.weights.smoothing
        wanted = torch.full_like(given[:, 5:], smoothing / 2)
        wanted[torch.arange(len(label), device=label.device), label] = 1 - smoothing / 2
        return wanted
