"""Build modules from architecture files: detectors, backbones, and classifiers on a backbone.

detector = build_detector("yolov5n", n_classes=3)
raw = detector(images)              # [(B, 3, H/8, W/8, 8), ...]
boxes = detector.decode(raw)        # (B, boxes, 8), pixels and probabilities
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.yolov5 import modules
from models.yolov5.architecture_file import (
    Architecture,
    ArchitectureError,
    Row,
    read_architecture,
)
from models.yolov5.attention import C3TR
from models.yolov5.detect import Detect, decode

MODULES: dict[str, Callable[..., nn.Module]] = {
    "Conv": modules.Conv,
    "DWConv": modules.DWConv,
    "DWConvTranspose2d": modules.DWConvTranspose2d,
    "Bottleneck": modules.Bottleneck,
    "BottleneckCSP": modules.BottleneckCSP,
    "C3": modules.C3,
    "C3TR": C3TR,
    "C3SPP": modules.C3SPP,
    "C3Ghost": modules.C3Ghost,
    "C3x": modules.C3x,
    "SPP": modules.SPP,
    "SPPF": modules.SPPF,
    "Focus": modules.Focus,
    "GhostConv": modules.GhostConv,
    "GhostBottleneck": modules.GhostBottleneck,
    "MixConv2d": modules.MixConv2d,
    "CrossConv": modules.CrossConv,
    "Concat": modules.Concat,
    "Detect": Detect,
    "ConvTranspose2d": nn.ConvTranspose2d,
    "Upsample": nn.Upsample,
    "BatchNorm2d": nn.BatchNorm2d,
}
"""Modules that a row can name. Rows may write nn.Upsample for Upsample."""

REPEATED_INSIDE = ("BottleneckCSP", "C3", "C3TR", "C3Ghost", "C3x", "NASC3")
"""Modules that take a row's number as their third argument; others are chained that many times."""

UNSCALED = ("Concat", "Upsample", "BatchNorm2d", "Detect")
"""Modules whose first argument is not a number of channels."""

CHANNEL_MULTIPLE = 8


class Graph(nn.Module):
    """Modules in the order of the file, each reading the outputs of earlier ones.

    Attributes:
        model: Modules of the rows; their parameters are named `model.<row>.<...>`.
        sources: Rows that each row reads, as absolute numbers; -1 is the input.
        channels: Number of output channels of each row.
    """

    def __init__(
        self,
        rows: list[nn.Module],
        sources: list[int | tuple[int, ...]],
        channels: list[int],
    ) -> None:
        super().__init__()
        self.model = nn.Sequential(*rows)
        self.sources = sources
        self.channels = channels
        read = {row for item in sources for row in (item if isinstance(item, tuple) else (item,))}
        self._kept = frozenset(read)

    def outputs(self, x: torch.Tensor) -> dict[int, Any]:
        """Outputs of the last row and of every row that another row reads, by row number."""
        kept = {-1: x}
        for index, (module, source) in enumerate(zip(self.model, self.sources, strict=True)):
            given = [kept[i] for i in source] if isinstance(source, tuple) else kept[source]
            x = module(given)
            if index in self._kept or index == len(self.sources) - 1:
                kept[index] = x
        return kept

    def forward(self, x: torch.Tensor) -> Any:
        """(B, 3, H, W) to the output of the last row."""
        return self.outputs(x)[len(self.sources) - 1]


class Detector(Graph):
    """A complete detector; its forward pass returns the raw maps of `Detect`.

    Attributes:
        names: Names of the classes.
        architecture: Architecture that it was built from.
        choices: Chosen options of its search space, by label; empty if it has none.
    """

    names: tuple[str, ...]
    architecture: Architecture
    choices: Mapping[str, str] = {}

    @property
    def head(self) -> Detect:
        """The detection head, which is the last module."""
        return self.model[-1]

    @property
    def n_classes(self) -> int:
        """Number of classes of the head."""
        return self.head.nc

    def decode(self, raw: list[torch.Tensor]) -> torch.Tensor:
        """Decode raw maps to (B, boxes, 5 + classes), in pixels and probabilities."""
        return decode(raw, self.head.anchors, self.head.stride)


class Backbone(Graph):
    """The rows of a backbone; its forward pass returns the last feature map.

    Attributes:
        architecture: Architecture that it was built from.
        choices: Chosen options of its search space, by label; empty if it has none.
    """

    architecture: Architecture
    choices: Mapping[str, str] = {}

    @property
    def out_channels(self) -> int:
        """Number of channels of the last feature map."""
        return self.channels[-1]


class Classifier(nn.Module):
    """A classifier: a backbone, the mean over positions, and a linear layer."""

    def __init__(self, backbone: Backbone, n_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(backbone.out_channels, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) to logits (B, classes)."""
        return self.head(self.pool(self.backbone(x)).flatten(1))


def build_detector(
    source: str | Path | Architecture,
    n_classes: int | None = None,
    names: tuple[str, ...] = (),
    in_channels: int = 3,
) -> Detector:
    """Build a detector from a shipped architecture, a file, or an `Architecture`.

    Args:
        source: Name of a shipped architecture ("yolov5n", "yolov5s", "yolov5m", "yolov5l",
            "yolov5x"), the path of a YAML file, or an architecture that was read from one.
        n_classes: Number of classes; by default the number of `names`, or else the file's.
        names: Names of the classes; "class 0" and so on by default.
        in_channels: Number of channels of the images.

    Raises:
        ArchitectureError: The file is invalid or has no head, or the number of names differs from
            the number of classes.
    """
    return assemble_detector(_given(source), n_classes, names, in_channels)


def assemble_detector(
    architecture: Architecture,
    n_classes: int | None = None,
    names: tuple[str, ...] = (),
    in_channels: int = 3,
    placed: Mapping[str, Callable[..., nn.Module]] = {},
) -> Detector:
    """Build a detector from an `Architecture`; see `build_detector`, and `parse_rows` for `placed`.

    Raises:
        ArchitectureError: It has no head, or the number of names differs from that of classes.
    """
    if names and n_classes not in (None, len(names)):
        raise ArchitectureError(f"{len(names)} names for {n_classes} classes; give one for each")
    classes = n_classes or len(names) or architecture.n_classes
    if not architecture.head:
        raise ArchitectureError(
            f"{architecture.name} has no 'head'; use build_backbone, or a file with a head"
        )
    if architecture.head[-1].module != "Detect":
        raise ArchitectureError(f"{architecture.head[-1].where}: the last row is not Detect")
    architecture = architecture.with_classes(classes)
    detector = Detector(*parse_rows(architecture, architecture.rows, in_channels, placed))
    _set_strides(detector, in_channels)
    detector.head.start_biases()
    detector.architecture = architecture
    detector.names = tuple(names) or tuple(f"class {index}" for index in range(classes))
    return detector


def build_backbone(source: str | Path | Architecture, in_channels: int = 3) -> Backbone:
    """Build only the backbone of an architecture, with rows numbered as in the detector.

    Raises:
        ArchitectureError: The file is invalid.
    """
    return assemble_backbone(_given(source), in_channels)


def assemble_backbone(
    architecture: Architecture,
    in_channels: int = 3,
    placed: Mapping[str, Callable[..., nn.Module]] = {},
) -> Backbone:
    """Build a backbone from an `Architecture`; see `parse_rows` for `placed`."""
    backbone = Backbone(*parse_rows(architecture, architecture.backbone, in_channels, placed))
    backbone.architecture = architecture
    return backbone


def resolve(architecture: Architecture) -> Architecture:
    """Apply the depth and width multiples to the rows; both multiples become 1."""

    def resolved(row: Row) -> Row:
        args = row.args
        name = row.module.removeprefix("nn.")
        if args and type(args[0]) is int and name not in UNSCALED:
            args = (scaled_channels(args[0], architecture.width_multiple), *args[1:])
        return replace(row, number=_repeats(row, architecture), args=args)

    return replace(
        architecture,
        depth_multiple=1.0,
        width_multiple=1.0,
        backbone=tuple(map(resolved, architecture.backbone)),
        head=tuple(map(resolved, architecture.head)),
    )


def build_classifier(
    source: str | Path | Architecture | Backbone, n_classes: int, in_channels: int = 3
) -> Classifier:
    """Build a classifier on a backbone.

    Args:
        source: Backbone, or the architecture that `build_backbone` makes one from.
        n_classes: Number of classes.
        in_channels: Number of channels of the images.

    Raises:
        ArchitectureError: The file is invalid.
    """
    backbone = source if isinstance(source, Backbone) else build_backbone(source, in_channels)
    return Classifier(backbone, n_classes)


def parse_rows(
    architecture: Architecture,
    rows: tuple[Row, ...],
    in_channels: int,
    placed: Mapping[str, Callable[..., nn.Module]] = {},
) -> tuple[list[nn.Module], list[int | tuple[int, ...]], list[int]]:
    """Make the modules of rows.

    Args:
        architecture: Architecture that gives multiples, anchors and classes.
        rows: Rows to make modules of.
        in_channels: Number of channels of the images.
        placed: Further modules by name; they take the number of their row as a first argument.

    Returns:
        The modules, the rows that each reads, and their numbers of output channels.

    Raises:
        ArchitectureError: A row is invalid. The error names the row, its line and the problem.
    """
    built: list[nn.Module] = []
    sources: list[int | tuple[int, ...]] = []
    channels: list[int] = []
    for index, row in enumerate(rows):
        name = row.module.removeprefix("nn.")
        if name not in MODULES and name not in placed:
            known = ", ".join(sorted({**MODULES, **placed}))
            raise ArchitectureError(f"{row.where}: module {row.module!r} is unknown; use {known}")
        make = partial(placed[name], index) if name in placed else MODULES[name]
        read = _absolute(row, index)
        widths = [in_channels if i == -1 else channels[i] for i in _as_tuple(read)]
        number = _repeats(row, architecture)
        arguments, out = _arguments(name, row, architecture, widths, number)
        try:
            if name in REPEATED_INSIDE or number == 1:
                module = make(*arguments)
            else:
                repeated = [make(*arguments)]
                repeated += [make(out, *arguments[1:]) for _ in range(number - 1)]
                module = nn.Sequential(*repeated)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ArchitectureError(f"{row.where}: {row.module}: {error}") from None
        built.append(module)
        sources.append(read)
        channels.append(out)
    return built, sources, channels


def _arguments(
    name: str, row: Row, architecture: Architecture, widths: list[int], number: int
) -> tuple[list[Any], int]:
    """The complete arguments of a row's module, and its number of output channels."""
    args = [_constant(item, architecture) for item in row.args]
    if name == "Concat":
        return args, sum(widths)
    if name == "Detect":
        anchors = args[1] if len(args) > 1 else architecture.anchors
        if not anchors or len(anchors) != len(widths):
            raise ArchitectureError(
                f"{row.where}: anchors of {len(anchors or ())} levels for {len(widths)} maps; give "
                "one list for each"
            )
        return [architecture.n_classes, anchors, widths], 0
    if name == "BatchNorm2d":
        return [widths[0]], widths[0]
    if name == "Upsample":
        return args, widths[0]
    if len(widths) != 1:
        raise ArchitectureError(f"{row.where}: {row.module} reads one row, not {len(widths)}")
    if not args or type(args[0]) is not int:
        raise ArchitectureError(f"{row.where}: the first of 'args' is the number of channels")
    out = scaled_channels(args[0], architecture.width_multiple)
    repeats = [number] if name in REPEATED_INSIDE else []
    return [widths[0], out, *repeats, *args[1:]], out


def scaled_channels(channels: int, multiple: float) -> int:
    """Multiply a number of channels by the width multiple, and round up to a multiple of 8."""
    return math.ceil(channels * multiple / CHANNEL_MULTIPLE) * CHANNEL_MULTIPLE


def _repeats(row: Row, architecture: Architecture) -> int:
    """Number of repetitions of a row after the depth multiple, which a single row ignores."""
    return max(round(row.number * architecture.depth_multiple), 1) if row.number > 1 else 1


def _constant(item: Any, architecture: Architecture) -> Any:
    """The value of an argument that a file writes as a word."""
    words = {"None": None, "nc": architecture.n_classes, "anchors": architecture.anchors}
    return words.get(item, item) if isinstance(item, str) else item


def _absolute(row: Row, index: int) -> int | tuple[int, ...]:
    """The rows that a row reads, as absolute numbers; -1 is the input."""
    found = []
    for item in _as_tuple(row.source):
        absolute = index + item if item < 0 else item
        if not -1 <= absolute < index:
            raise ArchitectureError(
                f"{row.where}: it reads row {item}, which is not before it; rows before are "
                f"0 to {index - 1}"
            )
        found.append(absolute)
    return tuple(found) if isinstance(row.source, tuple) else found[0]


def _as_tuple(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)


def _given(source: str | Path | Architecture) -> Architecture:
    return source if isinstance(source, Architecture) else read_architecture(source)


def _set_strides(detector: Detector, in_channels: int, size: int = 256) -> None:
    """Measure the pixels per cell of each level on an empty image."""
    mode = detector.training
    detector.eval()
    with torch.no_grad():
        raw = detector(torch.zeros(1, in_channels, size, size))
    detector.train(mode)
    detector.head.set_strides([size / level.shape[2] for level in raw])
