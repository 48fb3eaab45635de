"""Distill a detector from a teacher: logits and features.

teaching = Distillation(teacher, student, DistillSettings(logits="kl", temperature=3.0), side=320)
result = train_detector(student, data, settings, extra_losses=[teaching])

The teacher may be of another size. Its copy here is in evaluation mode whatever happens to the
student, and takes no gradient. The adapters that give the student's features the teacher's width
are linear (features behind SiLU are signed) and are trained with the student. They start from the
best map of the first batch's features: random ones would pull a trained student's features apart.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import nn

from bridges.yolov5.detector.loss import LossWeights
from bridges.yolov5.distill.losses import CLASS_LOSSES, imitation, imitation_mask, logit_parts
from models.yolov5.build import Detector
from tfcompress.errors import ConfigError


@dataclass(frozen=True)
class DistillSettings:
    """Which outputs of the teacher are distilled, and with which weights.

    Attributes:
        logits: Loss between class logits: "l2", "kl", "bce", or "none".
        ratio: Weight of the logit loss, on top of the detection loss's weights. With the published
            0.5 (and 0.01 for features) the teacher's gradient is three times the task's on a small
            set.
        temperature: Temperature of "kl".
        features: Weight of the feature loss; 0: no features.
        levels: Indices of the head's input maps whose features are distilled; 0 is the finest.
        threshold: Threshold of `imitation_mask`.
    """

    logits: Literal["l2", "kl", "bce", "none"] = "l2"
    ratio: float = 0.1
    temperature: float = 5.0
    features: float = 0.002
    levels: tuple[int, ...] = (0,)
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.logits not in (*CLASS_LOSSES, "none"):
            known = ", ".join((*CLASS_LOSSES, "none"))
            raise ConfigError("logits", f"{self.logits!r} is unknown", f"use {known}")
        for name in ("ratio", "temperature"):
            if not getattr(self, name) > 0:
                raise ConfigError(name, f"it is {getattr(self, name)}", "use a number above 0")
        if self.features < 0:
            raise ConfigError("features", f"it is {self.features}", "use 0 or more")
        if not 0 < self.threshold < 1:
            raise ConfigError("threshold", f"it is {self.threshold}", "use a share in (0, 1)")
        if self.logits == "none" and self.features == 0:
            raise ConfigError(
                "logits, features", "nothing is left to imitate", "set logits, or features above 0"
            )


def check_teacher(teacher: Detector, student: Detector) -> None:
    """Raise an error if a teacher does not fit a student.

    Raises:
        ConfigError: They differ in classes, levels, anchors or strides.
    """

    def differ(what: str, there: Any, here: Any, fix: str) -> None:
        raise ConfigError("teacher", f"its {what} are {there}, the student's {here}", fix)

    if teacher.names != student.names:
        differ(
            "classes",
            ", ".join(teacher.names),
            ", ".join(student.names),
            "train the teacher on the student's data",
        )
    a, b = teacher.head, student.head
    if (a.nl, a.na) != (b.nl, b.na):
        differ(
            "maps",
            f"{a.nl} with {a.na} anchors each",
            f"{b.nl} with {b.na}",
            "use an architecture with the same head",
        )
    if a.stride.tolist() != b.stride.tolist():
        differ("strides", a.stride.tolist(), b.stride.tolist(), "use the same strides")
    if not torch.allclose(a.anchors.cpu(), b.anchors.cpu(), rtol=1e-3):
        pixels = [(h.anchors.cpu() * h.stride.view(-1, 1, 1)).round().tolist() for h in (a, b)]
        differ("anchors", *pixels, "give the student the teacher's anchors before it is trained")


class Adapter(nn.Conv2d):
    """A 3x3 convolution from the student's channels to the teacher's.

    Attributes:
        started: Whether `start` has been called; kept in checkpoints.
    """

    started: torch.Tensor

    def __init__(self, channels: int, wanted: int) -> None:
        super().__init__(channels, wanted, 3, padding=1)
        self.register_buffer("started", torch.tensor(False))

    @torch.no_grad()
    def start(self, student: torch.Tensor, teacher: torch.Tensor) -> None:
        """Become the 1x1 map from one to the other of least squares (with a little ridge)."""
        x, y = (maps.transpose(0, 1).flatten(1).T.double() for maps in (student, teacher))
        x = torch.cat((x, torch.ones_like(x[:, :1])), 1)
        gram = x.T @ x
        ridge = 1e-6 * gram.diagonal().mean() * torch.eye(len(gram), dtype=x.dtype, device=x.device)
        solution = torch.linalg.solve(gram + ridge, x.T @ y)
        self.weight.zero_()
        self.weight[:, :, 1, 1] = solution[:-1].T.to(self.weight)
        self.bias.copy_(solution[-1])
        self.started.fill_(True)


class Distillation:
    """An `ExtraLoss`: a teacher's part of the loss of a student.

    Attributes:
        module: The adapters, one for each level of features.
        teacher: A copy, in evaluation mode.

    Args:
        teacher: The teacher; it is not changed.
        student: Detector of the widths that will be trained; it is not changed.
        settings: Distillation settings.
        side: Side of the training images in pixels.
        weights: Weights of the detection loss; default: its own.

    Raises:
        ConfigError: They do not fit each other, or there is no such level.
    """

    def __init__(
        self,
        teacher: Detector,
        student: Detector,
        settings: DistillSettings = DistillSettings(),
        side: int = 320,
        weights: LossWeights | None = None,
    ) -> None:
        check_teacher(teacher, student)
        known = range(student.head.nl)
        if settings.features and not (settings.levels and set(settings.levels) <= set(known)):
            raise ConfigError(
                "levels", f"they are {settings.levels}", f"use some of {', '.join(map(str, known))}"
            )
        self.teacher = copy.deepcopy(teacher).eval().requires_grad_(False)
        self.settings = settings
        self.gains = (weights or LossWeights()).scaled(student.n_classes, side, student.head.nl)
        self.levels = settings.levels if settings.features else ()
        self.module: nn.Module = nn.ModuleList(
            Adapter(_width(student, level), _width(teacher, level)) for level in self.levels
        )
        self.described: Mapping[str, Any] = {
            "loss": "distillation",
            "teacher": teacher.architecture.name,
            "teacher_channels": list(teacher.channels),
            **{k: list(v) if isinstance(v, tuple) else v for k, v in asdict(settings).items()},
        }

    def __call__(
        self,
        detector: Detector,
        images: torch.Tensor,
        outputs: Mapping[int, Any],
        targets: torch.Tensor,
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """The teacher's part, per image: "teacher_box", "_objectness", "_classes", "_features"."""
        self.teacher.to(images.device).eval()
        with torch.no_grad():
            wanted = self.teacher.outputs(images)
        parts: dict[str, torch.Tensor] = {}
        if self.settings.logits != "none":
            parts |= self._logits(outputs[_last(detector)], wanted[_last(self.teacher)])
        if self.levels:
            parts["teacher_features"] = self._features(detector, outputs, wanted, targets)
        return sum(parts.values()), {name: float(part.detach()) for name, part in parts.items()}

    def _logits(
        self, student: list[torch.Tensor], teacher: list[torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        sums = [
            sum(level)
            for level in zip(
                *(
                    logit_parts(
                        s.float(), t.float(), self.settings.logits, self.settings.temperature
                    )
                    for s, t in zip(student, teacher, strict=True)
                ),
                strict=True,
            )
        ]
        names = ("box", "objectness", "classes")
        return {
            f"teacher_{name}": self.settings.ratio * getattr(self.gains, name) * part
            for name, part in zip(names, sums, strict=True)
        }

    def _features(
        self,
        detector: Detector,
        outputs: Mapping[int, Any],
        wanted: Mapping[int, Any],
        targets: torch.Tensor,
    ) -> torch.Tensor:
        total = targets.new_zeros(())
        pixels = detector.head.anchors * detector.head.stride.view(-1, 1, 1).to(targets)
        for level, adapter in zip(self.levels, self.module, strict=True):
            student = outputs[detector.sources[-1][level]].float()
            teacher = wanted[self.teacher.sources[-1][level]].float()
            anchors = pixels.reshape(-1, 2) / float(detector.head.stride[level])
            mask = imitation_mask(
                targets, anchors, len(student), *student.shape[2:], self.settings.threshold
            )
            if not adapter.started:
                adapter.start(student, teacher)
            total = total + imitation(adapter(student), teacher, mask)
        return self.settings.features * total


def _last(detector: Detector) -> int:
    """The row of the raw maps."""
    return len(detector.model) - 1


def _width(detector: Detector, level: int) -> int:
    """Channels of a map that the head reads."""
    return detector.head.m[level].in_channels
