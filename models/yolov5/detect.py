"""YOLOv5's head: raw maps of several levels, and their decoding to boxes.

A raw map is (batch, anchors, height, width, 5 + classes): x, y, w, h, objectness and class logits
of every anchor in every cell. `decode` converts them to boxes in pixels of the input.

Reference:
    YOLOv5: xy = (2 sigmoid(t) - 0.5 + cell) * stride, wh = (2 sigmoid(t))^2 * anchor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

BOX = 4
"""Number of values of a box; the index of the objectness."""


class Detect(nn.Module):
    """The detection head: one 1x1 convolution per level.

    Args:
        nc: Number of classes.
        anchors: Anchors of each level, [w1, h1, w2, h2, ...] in pixels of the input.
        channels: Number of channels of each level's feature map.

    Attributes:
        anchors: Anchors (levels, anchors, 2), in cells of their level once the strides are set.
        stride: Pixels per cell of each level, (levels,).
    """

    def __init__(
        self, nc: int, anchors: Sequence[Sequence[float]], channels: Sequence[int]
    ) -> None:
        super().__init__()
        self.nc = nc
        self.no = nc + BOX + 1
        self.nl = len(anchors)
        self.na = len(anchors[0]) // 2
        pixels = torch.tensor(anchors, dtype=torch.float32).view(self.nl, self.na, 2)
        self.register_buffer("anchors", pixels)
        self.stride = torch.ones(self.nl)
        self.m = nn.ModuleList(nn.Conv2d(width, self.no * self.na, 1) for width in channels)

    def set_strides(self, strides: Sequence[float]) -> None:
        """Set the pixels per cell of each level, and convert the anchors from pixels to cells."""
        self.anchors *= (self.stride / torch.tensor(strides)).view(-1, 1, 1).to(self.anchors)
        self.stride = torch.tensor(strides, dtype=torch.float32)

    def start_biases(self, objects_per_image: float = 8.0, image_size: int = 640) -> None:
        """Initialize the biases to predict few objects and no particular class.

        Reference:
            Lin et al., Focal Loss for Dense Object Detection, 2017, section 3.3.
        """
        with torch.no_grad():
            for conv, stride in zip(self.m, self.stride.tolist(), strict=True):
                bias = conv.bias.view(self.na, -1)
                bias[:, BOX] += math.log(objects_per_image / (image_size / stride) ** 2)
                bias[:, BOX + 1 :] += math.log(0.6 / (self.nc - 0.99999))

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """[(B, c_i, h_i, w_i), ...] to [(B, anchors, h_i, w_i, 5 + classes), ...]."""
        raw = []
        for conv, features in zip(self.m, maps, strict=True):
            y = conv(features)
            batch, _, height, width = y.shape
            y = y.view(batch, self.na, self.no, height, width)
            raw.append(y.permute(0, 1, 3, 4, 2).contiguous())
        return raw


def decode(
    raw: Sequence[torch.Tensor], anchors: torch.Tensor, stride: torch.Tensor
) -> torch.Tensor:
    """Decode the raw maps of all levels to boxes, objectness and class probabilities.

    Args:
        raw: Raw maps of `Detect`, one per level.
        anchors: Anchors (levels, anchors, 2), in cells.
        stride: Pixels per cell of each level, (levels,).

    Returns:
        Boxes (B, boxes, 5 + classes): center x, center y, width and height in pixels, objectness
        and class probabilities.
    """
    boxes = []
    for level, pixels, shapes in zip(raw, stride.to(raw[0]), anchors.to(raw[0]), strict=True):
        batch, count, height, width, values = level.shape
        y = level.sigmoid()
        rows = torch.arange(height, device=level.device, dtype=level.dtype)
        columns = torch.arange(width, device=level.device, dtype=level.dtype)
        cell = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)
        centers = (2 * y[..., :2] - 0.5 + cell) * pixels
        sizes = (2 * y[..., 2:4]) ** 2 * shapes.view(1, count, 1, 1, 2) * pixels
        decoded = torch.cat((centers, sizes, y[..., 4:]), -1)
        boxes.append(decoded.view(batch, count * height * width, values))
    return torch.cat(boxes, 1)
