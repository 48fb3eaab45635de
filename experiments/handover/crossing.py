"""Inputs for detectors in any format, and the measurement of a detector's or ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bridges.handover import HEADS
from bridges.handover.detectors import LiteDetector, OnnxDetector, onnx_runner
from bridges.handover.onnx_model import OnnxModel
from bridges.yolov5.data.augment import letterbox
from bridges.yolov5.data.dataset import LabelledImage, read_detection_data
from bridges.yolov5.data.synthetic import draw_scene
from bridges.yolov5.detector.evaluate import evaluate_detector
from experiments.common.inputs import image_paths
from experiments.common.report import Report
from experiments.yolo.detection import check_names
from tfcompress.data.scenes import read_image, with_channels
from tfcompress.errors import ConfigError
from tfcompress.evaluation.latency import measure_latency
from tfcompress.reporting.tables import Table


def as_inputs(images: Sequence[LabelledImage | np.ndarray], side: int) -> np.ndarray:
    """Images of any size as a detector takes them, (N, 3, side, side) float32 in [0, 1]."""
    squares = [
        letterbox(image.read() if isinstance(image, LabelledImage) else image, side)[0]
        for image in images
    ]
    return np.stack(squares).transpose(0, 3, 1, 2).astype(np.float32) / 255


def evenly(images: Sequence[LabelledImage], at_most: int) -> list[LabelledImage]:
    """At most so many of the images, evenly spaced."""
    chosen = np.linspace(0, len(images) - 1, min(at_most, len(images)))
    return [images[int(i)] for i in chosen.round()]


def images_of(path: str, side: int, at_most: int) -> np.ndarray:
    """Images of a file or folder, or generated ones, as a detector takes them.

    Raises:
        DataError: There are none, or one cannot be read.
    """
    if not path:
        generator = np.random.default_rng(0)
        return as_inputs([draw_scene(generator, 160, 6)[0] for _ in range(at_most)], side)
    paths = image_paths(Path(path))
    chosen = np.linspace(0, len(paths) - 1, min(at_most, len(paths))).round().astype(int)
    return as_inputs([with_channels(read_image(paths[i]), 3) for i in chosen], side)


def measure_detector_file(path: str | Path, data: str, threads: int) -> Report:
    """Cost of a detector's .onnx or .tflite file and, on a data set, its mAP.

    Raises:
        DataError: The file or the data set cannot be read.
        ConfigError: The data set has other classes.
    """
    path = Path(path)
    detector = OnnxDetector.load(path) if path.suffix == ".onnx" else LiteDetector.load(path)
    timed = detector.runner(threads) if isinstance(detector, OnnxDetector) else detector.model
    cost = _measured(path, timed, detector.spec.side, threads)
    if not data:
        return cost
    images = read_detection_data(data)
    check_names(images.names, detector.spec.names, str(path))
    split = images.test_split
    score = evaluate_detector(detector, images.splits[split], images.names, detector.spec.side)
    table = score.table(f"{score.images} {split} images")
    return Report(tables=(*cost.tables, table), metrics={**cost.metrics, "test": score.to_dict()})


def measure_onnx_file(path: str | Path, data: str, threads: int) -> Report:
    """Size and latency of any ONNX file, and the quality of a detector's.

    Raises:
        DataError: See `measure_detector_file`.
        ConfigError: A data set is given, and the file is no detector's.
    """
    model = OnnxModel.load(path)
    if HEADS in model.metadata:
        return measure_detector_file(path, data, threads)
    if data:
        raise ConfigError(
            str(path),
            "it is no detector's file, so it is not known how to score it",
            "leave DATA empty; or bring it to Keras (bridges.handover.to_keras) and score that",
        )
    return _measured(Path(path), onnx_runner(model, threads), None, threads)


def _measured(path: Path, timed: Any, side: int | None, threads: int) -> Report:
    """File size and latency."""
    (latency,) = measure_latency([timed], threads=threads)
    size = path.stat().st_size
    at = "" if side is None else f" at {side} pixels"
    table = Table(("model", "file", "median", "p90"), title=f"Cost{at}, {threads} thread")
    table.add(
        path.name,
        f"{size / 1e6:.2f} MB",
        f"{latency.median_ms:.2f} ms",
        f"{latency.p90_ms:.2f} ms",
    )
    table.note(f"latency of {latency.runtime}, batch {latency.batch}")
    cost = {path.name: {"size_bytes": size, "latency": latency.to_dict()}}
    return Report(tables=(table,), metrics={"cost": cost})
