"""A detector in one file of plain tensors and text: it is read without running code of the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bridges.yolov5.detector.widths import fit_widths
from models.yolov5.architecture_file import parse_architecture
from models.yolov5.build import Detector, build_detector
from models.yolov5.search_space import build_detector_space, frozen_pick
from models.yolov5.weights import WeightsError, load_weights, read_plain
from tfcompress.atomic import atomic_path
from tfcompress.errors import DataError
from tfcompress.short_repr import short_repr

FORMAT = "tfcompress-detector"
VERSION = 1


@short_repr
@dataclass(frozen=True)
class LoadedDetector:
    """What a file holds.

    Attributes:
        detector: The detector, in evaluation mode.
        side: Side of the training images in pixels.
        details: Other saved values (scores, epochs).
    """

    detector: Detector
    side: int
    details: dict[str, Any]


def save_detector(
    path: str | Path, detector: Detector, side: int, details: dict[str, Any] | None = None
) -> Path:
    """Write architecture, names of the classes and tensors; an old file stays until it is whole."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "name": detector.architecture.name,
        "architecture": detector.architecture.to_yaml(),
        "choices": dict(detector.choices),
        "channels": list(detector.channels),
        "names": list(detector.names),
        "side": side,
        "details": details or {},
        "state_dict": {key: value.cpu() for key, value in detector.state_dict().items()},
    }
    with atomic_path(path) as temporary:
        torch.save(content, temporary)
    return Path(path)


def load_detector(path: str | Path) -> LoadedDetector:
    """Read a file of `save_detector`.

    Raises:
        DataError: No such file, another kind of file, or one of a later version.
        WeightsError: Its tensors do not fit its architecture.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(str(path), "there is no such file", "give a detector's .pt file")
    try:
        content = read_plain(path)
    except WeightsError:
        content = None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(
            str(path),
            "it is no detector file of this package",
            "give what yolo-train wrote; for a public checkpoint, convert it to plain tensors (see "
            "models.yolov5.weights) and load it into build_detector(...)",
        )
    if content["version"] > VERSION:
        raise DataError(
            str(path), f"it has version {content['version']}", "update this package to read it"
        )
    architecture = parse_architecture(content["architecture"], str(path), content["name"])
    names, choices = tuple(content["names"]), content["choices"]
    if choices:
        detector = build_detector_space(architecture, frozen_pick(choices), names)
        detector.choices = choices
    else:
        detector = build_detector(architecture, names=names)
    fit_widths(detector, content["state_dict"])
    detector.channels = content["channels"]
    load_weights(detector, content["state_dict"])
    return LoadedDetector(detector.eval(), int(content["side"]), dict(content["details"]))
