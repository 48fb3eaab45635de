"""What the detection programs do: train detectors, and measure their files on the test images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bridges.yolov5.data.dataset import DetectionData, LabelledImage
from bridges.yolov5.detector.evaluate import DetectionScore
from bridges.yolov5.detector.extra_loss import ExtraLoss
from bridges.yolov5.detector.file import load_detector, save_detector
from bridges.yolov5.detector.find import find_objects
from bridges.yolov5.detector.plots import (
    draw_boxes,
    plot_confusion,
    plot_detection_curves,
    plot_detections,
)
from bridges.yolov5.detector.train import TrainResult, TrainSettings, train_detector
from experiments.common.report import History, history_section, picture
from experiments.yolo.detection import (
    DetectionConfig,
    cost_of,
    load_detection,
    read_detector,
    score_detector,
    start_detector,
)
from models.yolov5.build import Detector
from tfcompress.reporting.page import Finding, Section
from tfcompress.reporting.plots import plot_tradeoff
from tfcompress.reporting.run import Run
from tfcompress.reporting.tables import Table


@dataclass(frozen=True)
class Study:
    """The config, data and run of a detection program.

    Attributes:
        config: Configuration of the program.
        data: Images with boxes.
        run: Run that files, checkpoints and pictures are saved in.
    """

    config: Any
    data: DetectionData
    run: Run

    @classmethod
    def of(cls, config: DetectionConfig, run: Run) -> Study:
        """Read the data; generated where the config names none."""
        return cls(config, load_detection(config, run), run)

    def start(self) -> Detector:
        """A new detector, as `start_detector` makes it."""
        return start_detector(self.config, self.data.names, self.run)

    def read(self, path: str, what: str) -> Detector:
        """A detector's file, checked against the data; `what` is the field that named it."""
        return read_detector(path, self.data.names, what, self.config, self.run)

    def load(self, name: str) -> Detector:
        """The detector in the run's `name.pt`."""
        return load_detector(self.run.path(f"{name}.pt")).detector

    def train(
        self,
        detector: Detector,
        name: str,
        file: str = "",
        settings: TrainSettings | None = None,
        extra_losses: Sequence[ExtraLoss] = (),
    ) -> TrainResult:
        """Train with a line for each epoch and a checkpoint, write the best; it resumes by itself.

        Args:
            detector: Detector that the training starts from.
            name: Name in the console and of the checkpoint.
            file: Stem of the file; empty: `name`.
            settings: How to train; default: as the config says.
            extra_losses: Losses beside the detector's own.
        """
        settings = settings or self.config.settings()
        result = train_detector(
            detector,
            self.data,
            settings,
            self.run.path("checkpoints", f"{name}.pt"),
            epoch_printer(self.run, name, settings.epochs),
            extra_losses,
        )
        if result.anchors and result.anchors.replaced:
            self.run.print(str(result.anchors))
        details = {"best_epoch": result.best_epoch, "val_map": result.best_map}
        self.save(file or name, result.detector, details)
        return result

    def save(self, name: str, detector: Detector, details: Mapping[str, Any]) -> None:
        """Write `name.pt`."""
        save_detector(self.run.path(f"{name}.pt"), detector, self.config.side, details)

    def measure(self, names: Sequence[str], reference: str = "") -> Measured:
        """Read the files of detectors back, score and time them.

        Args:
            names: Stems of the run's files.
            reference: Detector whose cost the others' are shares of; empty for no shares.
        """
        with self.run.console.status("measuring the files on the test images"):
            loaded = {name: load_detector(self.run.path(f"{name}.pt")) for name in names}
            scores = {name: score_detector(each, self.data) for name, each in loaded.items()}
            detectors = {name: each.detector for name, each in loaded.items()}
            costs, numbers = cost_of(detectors, self.config.side)
        split = self.data.test_split
        table = comparison_table(scores, numbers, split, reference)
        return Measured(scores, numbers, table, costs, f"{scores[names[0]].images} {split} images")

    def training(self, histories: Mapping[str, History], more: Mapping[str, str] = {}) -> Section:
        """The section of the page with mAP and loss against the epoch.

        Args:
            histories: Rows of each detector, by name.
            more: Titles of further metrics, by their keys.
        """
        metrics = {"map": "mAP50-95", "map50": "mAP50", "loss": "loss", **more}
        return history_section(self.run, histories, metrics=metrics)


@dataclass(frozen=True)
class Measured:
    """Detectors' files, measured.

    Attributes:
        scores: Quality on the test images, by name.
        numbers: Cost, by name.
        table: Quality and cost.
        costs: Cost alone, in detail.
        images: Number and split of the images, in words.
    """

    scores: dict[str, DetectionScore]
    numbers: dict[str, Any]
    table: Table
    costs: Table
    images: str

    def section(self, run: Run, text: Sequence[str] = ()) -> Section:
        """The comparison and its trade-off plot, as a section of the page."""
        points = [(n, self.numbers[n]["macs"] / 1e6, each.map) for n, each in self.scores.items()]
        figure = plot_tradeoff(points, "million MACs", "mAP50-95 on the test images")
        pictures = (picture(run, "cost", figure, "Quality against cost"),)
        return Section("Comparison", text, (self.table, self.costs), pictures, self.findings())

    def findings(self) -> tuple[Finding, ...]:
        """The best detector, for the top of the page."""
        best = max(self.scores, key=lambda name: self.scores[name].map)
        return (Finding("Best mAP50-95", f"{self.scores[best].map:.4f}", best),)

    def metrics(self) -> dict[str, Any]:
        """The numbers for `metrics.json`."""
        test = {name: score.to_dict() for name, score in self.scores.items()}
        return {"test": test, "cost": self.numbers}

    def words(self, names: Sequence[str]) -> str:
        """mAP50-95 of some detectors, in words."""
        return ", ".join(f"{self.scores[name].map:.4f} {name}" for name in names)


def epoch_printer(run: Run, name: str, epochs: int) -> Callable[[dict[str, float], bool], None]:
    """A function that prints a line for each epoch."""

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
    """Quality and cost of several detectors, one row each, as shares of the reference's if any."""
    shares = ("of MACs", "of params", "of latency") if reference else ()
    table = Table(
        ("detector", "mAP50", "mAP50-95", "parameters", "MACs", "median", *shares),
        title=f"On the {split} images, files read back",
        drop=("parameters", "of params", "MACs", "median"),
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


def quality_section(
    run: Run,
    detector: Detector,
    score: DetectionScore,
    images: Sequence[LabelledImage],
    side: int,
    shown: int = 8,
) -> Section:
    """Precision-recall curves, the confusion matrix, and images with boxes."""
    chosen = [images[int(i)] for i in np.linspace(0, len(images) - 1, min(shown, len(images)))]
    pictures, titles = [], []
    for image, found in zip(chosen, find_objects(detector, chosen, side), strict=True):
        pictures.append(draw_boxes(image.read(), found.tolist(), score.names))
        titles.append(f"{image.path.name}: {len(image.boxes)} objects")
    parts = (
        ("precision_recall", plot_detection_curves(score),
         "Precision against recall on the test images, IoU 0.50"),
        ("confusion", plot_confusion(score),
         "Objects of the test images (rows) by what they were detected as"),
        ("detections", plot_detections(pictures, titles),
         "Detections in test images, confidence 0.25 and above"),
    )  # fmt: skip
    shown_pictures = tuple(picture(run, *part) for part in parts)
    found = Finding("mAP50-95 on the test images", f"{score.map:.4f}", detector.architecture.name)
    return Section("Quality", (), (score.table(),), shown_pictures, (found,))
