"""What every detection experiment shares: its configuration, data, detector, and report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from rich.console import Console

from bridges.yolov5.data.augment import Augmentation
from bridges.yolov5.data.dataset import DetectionData, LabelledImage, read_detection_data
from bridges.yolov5.data.synthetic import write_shapes
from bridges.yolov5.detector.cost import cost_table, count_torch_cost, measure_torch_latency
from bridges.yolov5.detector.evaluate import DetectionScore, evaluate_detector
from bridges.yolov5.detector.extra_loss import ExtraLoss
from bridges.yolov5.detector.file import LoadedDetector, load_detector, save_detector
from bridges.yolov5.detector.find import find_objects
from bridges.yolov5.detector.loss import LossWeights
from bridges.yolov5.detector.plots import (
    draw_boxes,
    plot_confusion,
    plot_detection_curves,
    plot_detections,
)
from bridges.yolov5.detector.train import TrainResult, TrainSettings, train_detector
from bridges.yolov5.nas.architecture import read_found
from bridges.yolov5.nas.transplant import transplant
from models.yolov5.architecture_file import ArchitectureError
from models.yolov5.build import Detector, build_detector
from models.yolov5.weights import WeightsError, load_weights
from tfcompress.errors import ConfigError
from tfcompress.reporting.page import Section
from tfcompress.reporting.plots import save_figure
from tfcompress.reporting.run import Run
from tfcompress.reporting.tables import Table

BAD_INPUT = (ArchitectureError, WeightsError)
"""Errors of `models.yolov5`, which knows nothing of `tfcompress`."""

DETECTION_SMOKE = {
    "shapes": 24,
    "shape_side": 96,
    "side": 96,
    "epochs": 2,
    "batch": 8,
    "warmup_epochs": 1.0,
    "plain_epochs": 1,
}


@dataclass(frozen=True, kw_only=True)
class DetectionConfig:
    """Fields of every detection experiment."""

    data: str = ""
    """data.yaml in YOLO's layout, or its folder; empty: generated shapes."""
    shapes: int = 200
    """Generated training images, where there is no data; for validation and test a third each."""
    shape_side: int = 160
    """Side of the generated images."""

    model: str = "yolov5n"
    """yolov5n, s, m, l or x, an architecture's .yaml, a found one's .json, or the .pt of a detector
    (pruned or not), which is trained on."""
    weights: str = ""
    """Plain tensor file to start from; what does not fit is left as it is."""
    backbone: str = ""
    """The .json of a found architecture whose backbone is put into the detector; its neck and head
    keep their weights."""
    side: int = 320
    """Side of the square that images are fitted into, a multiple of 32."""

    epochs: int = 80
    batch: int = 8
    optimizer: Literal["sgd", "adamw"] = "adamw"
    learning_rate: float = 0.002
    """At its highest; it ends at `final_rate` of that. SGD wants about 0.01."""
    final_rate: float = 0.05
    weight_decay: float = 0.01
    """SGD wants about 0.0005."""
    warmup_epochs: float = 3.0
    plain_epochs: int = 5
    """Last epochs, without mosaics."""
    mosaic: float = 1.0
    """Probability of four images in one."""
    zoom: float = 0.5
    """Zoom within 1 - zoom and 1 + zoom."""
    flip_up_down: float = 0.0
    label_smoothing: float = 0.0
    validate_every: int = 1
    seed: int = 0
    device: str = "auto"
    workers: int = 0
    """Processes that read images."""

    root: str = "runs"
    """Folder of all runs."""
    run: str = "default"
    """Name of the run."""
    resume: bool = False
    """Go on with an interrupted run."""

    def check(self) -> None:
        """Check what would fail after loading."""
        self.settings()

    def settings(self, epochs: int | None = None) -> TrainSettings:
        """How a detector is trained.

        Raises:
            ConfigError: A field is out of its range.
        """
        return TrainSettings(
            epochs=epochs or self.epochs,
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
        check_classes(names, detector.names, config.model)
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


def train_and_save(
    detector: Detector,
    data: DetectionData,
    config: DetectionConfig,
    run: Run,
    name: str,
    file: str = "model.pt",
    settings: TrainSettings | None = None,
    extra_losses: Sequence[ExtraLoss] = (),
) -> TrainResult:
    """Train with a line for each epoch and a checkpoint, write the best; it resumes by itself."""
    settings = settings or config.settings()
    checkpoint = run.path("checkpoints", f"{name}.pt")
    show = epoch_printer(run, name, settings.epochs)
    result = train_detector(detector, data, settings, checkpoint, show, extra_losses)
    if result.anchors and result.anchors.replaced:
        run.print(str(result.anchors))
    save_detector(
        run.path(file),
        result.detector,
        config.side,
        {"best_epoch": result.best_epoch, "val_map": result.best_map},
    )
    return result


def epoch_printer(run: Run, name: str, epochs: int) -> Callable[[dict[str, float], bool], None]:
    """What prints a line for each epoch."""

    def show(row: dict[str, float], best: bool) -> None:
        scores = (
            f"  val mAP50 {row['val_map50']:.4f}  mAP50-95 {row['val_map']:.4f}"
            if "val_map" in row
            else ""
        )
        run.print(
            f"{name:9s} {row['epoch']:3d}/{epochs}  loss {row['loss']:.4f}{scores}  "
            f"{row['seconds']:.1f} s{'  *' if best else ''}"
        )

    return show


def comparison_table(
    scores: Mapping[str, DetectionScore],
    numbers: Mapping[str, Any],
    split: str,
    reference: str = "",
) -> Table:
    """Quality and cost of several detectors, one row each.

    Args:
        scores: By name.
        numbers: Of `cost_of`, by the same names.
        split: The images that they were scored on.
        reference: The detector whose cost the others' are shares of; empty for no shares.
    """
    shares = ("of MACs", "of params", "of latency") if reference else ()
    table = Table(
        ("detector", "mAP50", "mAP50-95", "parameters", "MACs", "median", *shares),
        title=f"On the {split} images, files read back",
    )

    def cost(name: str) -> tuple[int, int, float]:
        own = numbers[name]
        return own["macs"], own["parameters"], own["latency"]["median_ms"]

    whole = cost(reference) if reference else ()

    for name, score in scores.items():
        macs, parameters, median = cost(name)
        table.add(
            name,
            f"{score.map50:.4f}",
            f"{score.map:.4f}",
            f"{parameters:,}",
            f"{macs:,}",
            f"{median:.1f} ms",
            *(f"{own / of:.1%}" for own, of in zip(cost(name), whole, strict=False)),
        )
    return table


def score_file(run: Run, file: str, data: DetectionData, split: str) -> DetectionScore:
    """Score the detector that a file of the run holds."""
    return score_detector(load_detector(run.path(file)), data, split)


def measure_file(path: str | Path, data: str, threads: int, console: Console) -> dict[str, Any]:
    """Print what a detector's file costs and, on a data set, what it gives; the numbers.

    Raises:
        DataError: It is no detector's file, or the data set cannot be read.
        ConfigError: Its classes are not the data's.
    """
    loaded = load_detector(path)
    costs, numbers = cost_of({Path(path).name: loaded.detector}, loaded.side, threads)
    found: dict[str, Any] = {"cost": numbers}
    if data:
        images = read_detection_data(data)
        check_classes(images.names, loaded.detector.names, str(path))
        split = images.test_split
        score = score_detector(loaded, images, split)
        console.print(score.table(f"{score.images} {split} images").to_rich())
        found["test"] = score.to_dict()
    console.print(costs.to_rich())
    return found


def check_classes(wanted: Sequence[str], names: Sequence[str], where: str) -> None:
    """Refuse a model file of other classes than the data's.

    Args:
        wanted: The data's.
        names: The file's.
        where: The file.

    Raises:
        ConfigError: It has others.
    """
    if tuple(wanted) != tuple(names):
        raise ConfigError(
            where,
            f"its classes are {', '.join(names)}, the data's {', '.join(wanted)}",
            "give the data that it was trained for",
        )


def score_detector(loaded: LoadedDetector, data: DetectionData, split: str) -> DetectionScore:
    """Score a detector that was read from a file."""
    detector = loaded.detector
    return evaluate_detector(
        lambda images: detector.decode(detector(images)),
        data.splits[split],
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


def quality_section(
    run: Run,
    detector: Detector,
    score: DetectionScore,
    images: Sequence[LabelledImage],
    side: int,
    shown: int = 8,
) -> Section:
    """Precision-recall curves, what is taken for what, and images with boxes."""
    chosen = [images[int(i)] for i in np.linspace(0, len(images) - 1, min(shown, len(images)))]
    pictures, titles = [], []
    for image, found in zip(chosen, find_objects(detector, chosen, side), strict=True):
        pixels = image.read()
        pictures.append(draw_boxes(pixels, found.tolist(), score.names))
        titles.append(f"{image.path.name}: {len(image.boxes)} objects")
    made = {
        "precision_recall": plot_detection_curves(score),
        "confusion": plot_confusion(score),
        "detections": plot_detections(pictures, titles),
    }
    captions = (
        "Precision against recall on the test images, IoU 0.50",
        "Objects of the test images by what they were found as",
        "Found in test images, confidence 0.25 and above",
    )
    return Section(
        "Quality",
        tables=(score.table(),),
        pictures=tuple(
            (caption, save_figure(figure, run.path("plots", f"{name}.png")))
            for caption, (name, figure) in zip(captions, made.items(), strict=True)
        ),
    )
