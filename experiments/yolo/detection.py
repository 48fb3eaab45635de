"""The detection programs' fields, data and detectors, and how a detector's file is scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from bridges.yolov5.data.augment import Augmentation
from bridges.yolov5.data.dataset import DetectionData, read_detection_data
from bridges.yolov5.data.synthetic import write_shapes
from bridges.yolov5.detector.cost import cost_table, count_torch_cost, measure_torch_latency
from bridges.yolov5.detector.evaluate import DetectionScore, evaluate_detector
from bridges.yolov5.detector.file import LoadedDetector, load_detector
from bridges.yolov5.detector.loss import LossWeights
from bridges.yolov5.detector.train import TrainSettings
from bridges.yolov5.nas.architecture import read_found
from bridges.yolov5.nas.transplant import transplant
from experiments.common.program import RunConfig
from experiments.common.report import Report
from models.yolov5.architecture_file import ArchitectureError
from models.yolov5.build import Detector, build_detector
from models.yolov5.weights import WeightsError, load_weights
from tfcompress.errors import ConfigError
from tfcompress.reporting.run import Run
from tfcompress.reporting.tables import Table

BAD_INPUT = (ArchitectureError, WeightsError)
"""Errors of `models.yolov5`, which does not import `tfcompress`'s."""

SMALL = {"side": 64, "shape_side": 64}
DETECTION_SMOKE = {
    "shapes": 24,
    "shape_side": 96,
    "side": 96,
    "epochs": 2,
    "batch": 8,
    "warmup_epochs": 1.0,
    "plain_epochs": 1,
}
"""Fields that make a detection program small enough for a minute."""


@dataclass(frozen=True, kw_only=True)
class DetectionConfig(RunConfig):
    """Fields of every detection program."""

    data: str = ""
    """data.yaml in YOLO's layout, or its folder; empty: generated shapes."""
    shapes: int = 200
    """Number of generated training images, where there is no data; validation and test get a third
    of it each."""
    shape_side: int = 160
    """Side of the generated images, in pixels."""

    model: str = "yolov5n"
    """Architecture: yolov5n, s, m, l or x, an architecture's .yaml, a found one's .json, or the .pt
    of a detector (pruned or not), which is trained on."""
    weights: str = ""
    """Plain tensor file to start from; layers that it does not fit keep their new weights."""
    backbone: str = ""
    """Found architecture (.json) whose backbone is put into the detector; its neck and head keep
    their weights."""
    side: int = 320
    """Side of the square that images are fitted into, a multiple of 32."""

    epochs: int = 80
    """Number of training epochs."""
    batch: int = 8
    """Images per batch."""
    optimizer: Literal["sgd", "adamw"] = "adamw"
    """Optimizer."""
    learning_rate: float = 0.002
    """Peak learning rate; it ends at `final_rate` of that. SGD needs about 0.01."""
    final_rate: float = 0.05
    """Share of the learning rate at the end."""
    weight_decay: float = 0.01
    """Weight decay; SGD needs about 0.0005."""
    warmup_epochs: float = 3.0
    """Epochs over which the learning rate rises."""
    plain_epochs: int = 5
    """Number of last epochs without mosaics."""
    mosaic: float = 1.0
    """Probability of four images in one."""
    zoom: float = 0.5
    """Range of the random zoom, between 1 - zoom and 1 + zoom."""
    flip_up_down: float = 0.0
    """Probability of an upside-down image."""
    label_smoothing: float = 0.0
    """Label smoothing of the class loss."""
    validate_every: int = 1
    """Epochs between two validations."""
    seed: int = 0
    """Seed of weights, order and augmentation."""
    device: str = "auto"
    """Device: auto, cpu, or cuda."""
    workers: int = 0
    """Number of processes that read images."""

    def check(self) -> None:
        """Check what would only fail after loading."""
        self.settings()

    def settings(self, epochs: int | None = None) -> TrainSettings:
        """How a detector is trained.

        Raises:
            ConfigError: A field is out of its range.
        """
        return TrainSettings(
            epochs=self.epochs if epochs is None else epochs,
            side=self.side,
            batch=self.batch,
            optimizer=self.optimizer,
            learning_rate=self.learning_rate,
            final_rate=self.final_rate,
            weight_decay=self.weight_decay,
            warmup_epochs=self.warmup_epochs,
            plain_epochs=self.plain_epochs,
            seed=self.seed,
            workers=self.workers,
            device=self.device,
            validate_every=self.validate_every,
            augmentation=Augmentation(
                mosaic=self.mosaic, scale=self.zoom, flip_up_down=self.flip_up_down
            ),
            loss=LossWeights(smoothing=self.label_smoothing),
        )


def load_detection(config: DetectionConfig, run: Run) -> DetectionData:
    """The data set, its size printed; generated below the run's folder where there is none."""
    source: str | Path = config.data
    if not config.data:
        counts = (config.shapes, max(config.shapes // 3, 2), max(config.shapes // 3, 2))
        source = write_shapes(
            run.path("generated_shapes"), counts, config.shape_side, seed=config.seed
        )
    data = read_detection_data(source)
    run.print(*data.lines(), *data.notes)
    return data


def start_detector(config: DetectionConfig, names: Sequence[str], run: Run) -> Detector:
    """A new detector from its seed, with the given weights where they fit.

    Raises:
        ArchitectureError: The architecture is unknown or wrong.
        WeightsError: The file is no plain tensor file, or nothing in it fits.
        ConfigError: The detector's file has other classes.
    """
    torch.manual_seed(config.seed)
    if Path(config.model).suffix == ".pt":
        detector = load_detector(config.model).detector
        check_names(names, detector.names, config.model)
    elif Path(config.model).suffix == ".json":
        detector = read_found(config.model).detector(tuple(names))
    else:
        detector = build_detector(config.model, names=tuple(names))
    if config.weights:
        run.print(f"{config.weights}: {load_weights(detector, config.weights, partial=True)}")
    if config.backbone:
        done = transplant(detector, read_found(config.backbone, config.model).backbone())
        run.print(done.table())
        detector = done.detector
    cost = count_torch_cost(detector, (3, config.side, config.side))
    run.print(
        f"{detector.architecture.name}: {cost.parameters:,} parameters, {cost.macs:,} MACs at "
        f"{config.side} pixels"
    )
    return detector


def read_detector(
    path: str, names: Sequence[str], what: str, config: DetectionConfig, run: Run
) -> Detector:
    """A detector's file, for data of certain classes; another image size is printed.

    Args:
        path: The .pt file.
        names: Classes of the data.
        what: Field that named the file, for the message.
        config: Configuration with the run's image size.
        run: Run to print in.

    Raises:
        DataError: It is no detector's file.
        ConfigError: It has other classes.
    """
    loaded = load_detector(path)
    detector = loaded.detector
    if detector.names != tuple(names):
        raise ConfigError(
            what,
            f"{path} has the classes {', '.join(detector.names)}, the data {', '.join(names)}",
            "give one that was trained on this data",
        )
    if loaded.side != config.side:
        run.print(
            f"{path} was trained at {loaded.side} pixels; this run has {config.side} (--side)"
        )
    return detector


def check_names(wanted: Sequence[str], names: Sequence[str], where: str) -> None:
    """Refuse a model file of other classes than the data's.

    Raises:
        ConfigError: The classes differ; `where` names the file.
    """
    if tuple(wanted) != tuple(names):
        raise ConfigError(
            where,
            f"its classes are {', '.join(names)}, the data's {', '.join(wanted)}",
            "give the data that it was trained for",
        )


def score_detector(loaded: LoadedDetector, data: DetectionData) -> DetectionScore:
    """Score a detector that was read from a file, on the test images."""
    detector = loaded.detector
    return evaluate_detector(
        lambda images: detector.decode(detector(images)),
        data.splits[data.test_split],
        data.names,
        loaded.side,
    )


def cost_of(
    detectors: dict[str, Detector], side: int, threads: int = 1
) -> tuple[Table, dict[str, Any]]:
    """Parameters, MACs and latency of detectors, timed in turn: a table, and the numbers."""
    shape = (3, side, side)
    costs = [count_torch_cost(detector, shape) for detector in detectors.values()]
    latencies = measure_torch_latency(list(detectors.values()), shape, threads=threads)
    title = f"Cost at {side} pixels, {threads} thread"
    numbers = {
        name: {**cost.to_dict(), "latency": latency.to_dict()}
        for name, cost, latency in zip(detectors, costs, latencies, strict=True)
    }
    return cost_table(list(detectors), costs, latencies, title), numbers


def measure_file(path: str | Path, data: str, threads: int) -> Report:
    """Cost of a detector's .pt file and, on a data set, its mAP.

    Raises:
        DataError: It is no detector's file, or the data set cannot be read.
        ConfigError: The data set has other classes.
    """
    loaded = load_detector(path)
    costs, numbers = cost_of({Path(path).name: loaded.detector}, loaded.side, threads)
    if not data:
        return Report(tables=(costs,), metrics={"cost": numbers})
    images = read_detection_data(data)
    check_names(images.names, loaded.detector.names, str(path))
    score = score_detector(loaded, images)
    table = score.table(f"{score.images} {images.test_split} images")
    return Report(tables=(table, costs), metrics={"cost": numbers, "test": score.to_dict()})
