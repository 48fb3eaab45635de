"""YOLOv5's heads for conversion: plain maps in the graph, decoding outside in NumPy.

A detector is exported up to the 1x1 convolutions of its head. Their outputs are logits of
similar range. With decoded boxes (0 to 640) and probabilities (0 to 1) in one int8 tensor, one
scale covers both, and every score rounds to the same value.

`parts` splits each level in two outputs, boxes and scores, each with a scale of its own. Only rows
of the 1x1 convolution's weights move, so no operator is added. `make yolo-int8` scores both
ways: on blood cells mAP50 was 0.2 points lower with parts, mAP50-95 0.7 higher.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from scipy.special import expit
from torch import nn

from models.yolov5.build import Detector
from models.yolov5.detect import BOX, Detect
from models.yolov5.fuse import fused
from tfcompress.errors import DataError

INPUT = "images"


@dataclass(frozen=True)
class HeadSpec:
    """Rules for decoding a detector's maps, as plain numbers.

    Attributes:
        names: Classes.
        anchors: Anchor sizes (width, height) in cells, per level.
        strides: Pixels per cell, per level.
        side: Side of the detector's square input, in pixels.
        parts: Whether boxes and scores are separate outputs.
    """

    names: tuple[str, ...]
    anchors: tuple[tuple[tuple[float, float], ...], ...]
    strides: tuple[float, ...]
    side: int
    parts: bool

    @classmethod
    def of(cls, detector: Detector, side: int, parts: bool) -> HeadSpec:
        """The specification of a detector."""
        levels = detector.head.anchors.tolist()
        return cls(
            names=tuple(detector.names),
            anchors=tuple(tuple((w, h) for w, h in level) for level in levels),
            strides=tuple(detector.head.stride.tolist()),
            side=side,
            parts=parts,
        )

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs; sorted by name they are in this order."""
        levels = [f"level{i}" for i in range(len(self.strides))]
        if not self.parts:
            return tuple(levels)
        return tuple(f"{level}_{part}" for level in levels for part in ("boxes", "scores"))

    def to_json(self) -> str:
        """The specification as JSON text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str, source: str) -> HeadSpec:
        """Read the specification from JSON text.

        Raises:
            DataError: The text is not a specification.
        """
        try:
            content = json.loads(text)
            return cls(
                names=tuple(content["names"]),
                anchors=tuple(tuple(map(tuple, level)) for level in content["anchors"]),
                strides=tuple(content["strides"]),
                side=int(content["side"]),
                parts=bool(content["parts"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                source,
                f"its description of the heads cannot be read ({type(error).__name__}: {error})",
                "export the detector again",
            ) from None

    def decode(self, maps: Mapping[str, np.ndarray]) -> np.ndarray:
        """Boxes, objectness and class probabilities.

        Args:
            maps: Output maps by name, (B, h, w, channels), channels last.

        Returns:
            (B, boxes, 5 + classes) float32: center x, center y, width, height in pixels,
            probabilities; in the order of `models.yolov5.detect.decode`, whose formula it is.

        Raises:
            DataError: A map is missing or has other channels.
        """
        decoded = []
        for level, (stride, anchors) in enumerate(zip(self.strides, self.anchors, strict=True)):
            y = self._level(maps, level)
            shapes = np.asarray(anchors, np.float32)
            batch, height, width, count, values = y.shape
            y = expit(y)
            cell = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1)[:, :, None]
            centers = (2 * y[..., :2] - 0.5 + cell.astype(np.float32)) * np.float32(stride)
            sizes = (2 * y[..., 2:BOX]) ** 2 * shapes * np.float32(stride)
            boxes = np.concatenate((centers, sizes, y[..., BOX:]), -1).transpose(0, 3, 1, 2, 4)
            decoded.append(boxes.reshape(batch, count * height * width, values))
        return np.concatenate(decoded, 1)

    def normalised(self, maps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What two forms of a detector are judged by: "boxes" and "scores", about 0 to 1.

        Args:
            maps: As in `decode`.

        Returns:
            "boxes", (B, boxes, 4): centers and sizes as fractions of the square; "scores", (B,
            boxes, 1 + classes): objectness and class probabilities.
        """
        decoded = self.decode(maps)
        return {"boxes": decoded[..., :BOX] / self.side, "scores": decoded[..., BOX:]}

    def _level(self, maps: Mapping[str, np.ndarray], level: int) -> np.ndarray:
        """(B, h, w, anchors, 5 + classes) of one level."""
        count, wanted = len(self.anchors[level]), BOX + 1 + len(self.names)
        names = (
            (f"level{level}_boxes", f"level{level}_scores") if self.parts else (f"level{level}",)
        )
        missing = [name for name in names if name not in maps]
        if missing:
            raise DataError(
                f"output {missing[0]!r}",
                f"the model gives {', '.join(maps)}",
                "decode with the description that belongs to the file",
            )
        found = [maps[name] for name in names]
        channels = sum(part.shape[-1] for part in found)
        if channels != count * wanted:
            raise DataError(
                f"output {names[0]!r}",
                f"it has {channels} channels, but {count} anchors of {wanted} values are "
                f"{count * wanted}",
                "decode with the description that belongs to the file",
            )
        split = [part.reshape(*part.shape[:3], count, -1).astype(np.float32) for part in found]
        return np.concatenate(split, -1)


class PlainHead(nn.Module):
    """YOLOv5's head without the reshaping: one map of logits for each output.

    Modules are named by their outputs.

    Args:
        head: The head whose convolutions are copied.
        parts: Boxes and scores as separate outputs.
    """

    def __init__(self, head: Detect, parts: bool) -> None:
        super().__init__()
        self.levels: list[int] = []
        for level, conv in enumerate(head.m):
            rows = torch.arange(conv.out_channels).view(head.na, head.no)
            outputs = {f"level{level}": rows}
            if parts:
                outputs = {
                    f"level{level}_boxes": rows[:, :BOX],
                    f"level{level}_scores": rows[:, BOX:],
                }
            for name, chosen in outputs.items():
                self.add_module(name, _rows_of(conv, chosen.flatten()))
                self.levels.append(level)

    def forward(self, features: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """[(B, c_i, h_i, w_i), ...] to maps (B, channels, h, w); anchors vary slowest in them."""
        convs = self.children()
        return tuple(conv(features[i]) for conv, i in zip(convs, self.levels, strict=True))


def with_plain_head(detector: Detector, parts: bool = False) -> Detector:
    """A deployed copy (BatchNorm folded, evaluation mode, CPU) that gives plain maps.

    Called with (B, 3, S, S) it gives maps in the order of `HeadSpec.outputs`. All other modules
    keep their names (`model.0.conv`), so that tensors can be matched by name.
    """
    deployed = fused(detector).cpu()
    deployed.model[-1] = PlainHead(deployed.head, parts)
    return deployed.eval()


def _rows_of(conv: nn.Conv2d, rows: torch.Tensor) -> nn.Conv2d:
    """A 1x1 convolution with some of another's outputs."""
    part = nn.Conv2d(conv.in_channels, len(rows), 1)
    with torch.no_grad():
        part.weight.copy_(conv.weight[rows])
        part.bias.copy_(conv.bias[rows])
    return part
