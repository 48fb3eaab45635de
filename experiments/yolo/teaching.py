"""A teacher for detectors in training: its fields, and what it adds to the loss."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from bridges.yolov5.distill.teacher import Distillation, DistillSettings
from experiments.yolo.detection import DetectionConfig
from models.yolov5.build import Detector
from tfcompress.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TaughtConfig(DetectionConfig):
    """Fields of every program in which a detector may be taught by another one."""

    own_teachers: ClassVar[tuple[str, ...]] = ()
    """Words for detectors of the run itself."""

    teacher: str = ""
    """Teacher's .pt file: its logits and features are distilled; empty for none."""
    logits: Literal["l2", "kl", "bce", "none"] = "l2"
    """Loss between class logits; none leaves logits out."""
    logit_ratio: float = 0.1
    """Weight of the teacher's logits."""
    temperature: float = 5.0
    """Temperature of the "kl" comparison of logits."""
    features: float = 0.002
    """Weight of the teacher's features near objects; 0 leaves them out."""
    feature_levels: tuple[int, ...] = (0,)
    """Feature maps of the head that are distilled; 0 is the finest."""

    def check(self) -> None:
        """Check what would only fail after loading."""
        super().check()
        self.distillation()
        if self.teacher not in ("", *self.own_teachers) and not Path(self.teacher).is_file():
            raise ConfigError(
                "teacher", f"there is no file {self.teacher}", "give a detector's .pt"
            )

    def distillation(self) -> DistillSettings:
        """What is distilled.

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
