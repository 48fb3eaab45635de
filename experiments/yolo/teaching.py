"""A teacher for detectors in training: its fields, its file, and what it adds to the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from bridges.yolov5.detector.file import load_detector
from bridges.yolov5.distill.teacher import Distillation, DistillSettings
from experiments.yolo.detection import DetectionConfig
from models.yolov5.build import Detector
from tfcompress.errors import ConfigError
from tfcompress.reporting.run import Run


@dataclass(frozen=True, kw_only=True)
class TaughtConfig(DetectionConfig):
    """Fields of every experiment in which a detector may be taught by another one."""

    own_teachers: ClassVar[tuple[str, ...]] = ()
    """Words for detectors of the run itself."""

    teacher: str = ""
    """A detector's .pt file: its logits and features are imitated; empty for none."""
    logits: Literal["l2", "kl", "bce", "none"] = "l2"
    """How class logits are compared; none leaves logits out."""
    logit_ratio: float = 0.1
    """Weight of the teacher's logits."""
    temperature: float = 5.0
    """Of the logits' "kl"."""
    features: float = 0.002
    """Weight of the teacher's features near objects; 0 leaves them out."""
    feature_levels: tuple[int, ...] = (0,)
    """Maps that the head reads and whose features are imitated; 0 is the finest."""

    def check(self) -> None:
        """Check what would fail after loading."""
        super().check()
        self.distillation()
        if self.teacher not in ("", *self.own_teachers) and not Path(self.teacher).is_file():
            raise ConfigError(
                "teacher", f"there is no file {self.teacher}", "give a detector's .pt"
            )

    def distillation(self) -> DistillSettings:
        """What is imitated.

        Raises:
            ConfigError: A field is out of its range.
        """
        return DistillSettings(
            logits=self.logits,
            ratio=self.logit_ratio,
            temperature=self.temperature,
            features=self.features,
            levels=self.feature_levels,
        )


def read_detector(
    path: str, names: Sequence[str], what: str, config: DetectionConfig, run: Run
) -> Detector:
    """A detector's file, for data of certain classes; another image size is printed.

    Args:
        path: The .pt file.
        names: Classes of the data.
        what: The field that named the file, for the message.
        config: The run's image size.
        run: Where to print.

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


def with_anchors_of(student: Detector, teacher: Detector) -> Detector:
    """The student itself, a new one, with the teacher's anchors where it has as many."""
    if student.head.anchors.shape == teacher.head.anchors.shape:
        student.head.anchors.copy_(teacher.head.anchors)
    return student


def taught_by(
    teacher: Detector,
    student: Detector,
    config: TaughtConfig,
    settings: DistillSettings | None = None,
) -> Distillation:
    """The teacher's part of the loss of a student.

    Raises:
        ConfigError: They do not fit each other.
    """
    training = config.settings()
    return Distillation(
        teacher, student, settings or config.distillation(), training.side, training.loss
    )
