"""The base class of all distillation losses, and checks that they share."""

from __future__ import annotations

import re
from typing import Any, TypeAlias

import keras

from tfcompress.errors import ConfigError, DataError
from tfcompress.graph.wiring import Shape
from tfcompress.short_repr import ReprByConfig

Scheduled: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule
"""A number, or a Keras learning-rate schedule that maps the training step to a number."""


class Objective(ReprByConfig, keras.layers.Layer, keras.distillation.DistillationLoss):
    """Base class of all distillation losses.

    Args:
        weight: Weight of the loss in the sum of `tfcompress.Distiller`: a number of at least 0, or
            a Keras schedule of the training step. Keras' own Distiller ignores it and uses its
            `distillation_loss_weights`.
        teacher_layer_name: Name or path of the teacher's layer whose output is compared. None
            compares the logits.
        student_layer_name: Name or path of the student's layer. None compares the logits; give
            both names or neither.
        name: Name in the training logs; by default the class name in snake case ("soft_targets").

    Raises:
        ConfigError: The weight is negative, or only one of the layer names is given.
    """

    same_positions = True
    """Whether the shapes must be equal in all axes but the channels."""
    same_channels = True
    """Whether the number of channels or classes must be equal."""
    any_rank = False
    """Whether the ranks may differ: one a feature map, the other a vector."""
    over_classes = False
    """Whether the logits are those of mutually exclusive classes."""

    def __init__(
        self,
        weight: Scheduled = 1.0,
        teacher_layer_name: str | None = None,
        student_layer_name: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name or _snake_case(type(self).__name__))
        self.weight = checked_number(f"{type(self).__name__} weight", weight, zero=True)
        self.teacher_layer_name = teacher_layer_name
        self.student_layer_name = student_layer_name
        if (teacher_layer_name is None) != (student_layer_name is None):
            raise ConfigError(
                f"{type(self).__name__} layers",
                "only one of teacher_layer_name and student_layer_name is given",
                "give both, or neither to compare logits",
            )

    def value(self, student: Any, teacher: Any, labels: Any, step: Any) -> Any:
        """Compute the loss before its weight.

        Args:
            student: The student's logits or features.
            teacher: The teacher's logits or features.
            labels: Labels of the batch; None if there are none.
            step: Training step, which schedules follow.

        Returns:
            A scalar.
        """
        raise NotImplementedError

    def build_for(self, student: Shape, teacher: Shape) -> None:
        """Create the weights that are trained with the student (adapters, projections).

        Args:
            student: Shape of the student's tensor, with the batch axis.
            teacher: Shape of the teacher's tensor, with the batch axis.

        Raises:
            DataError: The two cannot be compared.
        """
        self.check(student, teacher)
        self.built = True

    def check(self, student: Shape, teacher: Shape) -> None:
        """Refuse shapes (with the batch axis) that cannot be compared.

        Raises:
            DataError: The channels, resolutions or ranks differ where they must not.
        """
        if self.same_channels and student[-1] != teacher[-1]:
            problem = "have different numbers of channels or classes"
        elif self.same_positions and not alike(student[1:-1], teacher[1:-1]):
            problem = "have different resolutions"
        elif not self.any_rank and len(student) != len(teacher):
            problem = "have different ranks"
        else:
            return
        raise DataError(
            f"{type(self).__name__} of {self.teacher_layer_name or 'the logits'}",
            f"student {tuple(student)} and teacher {tuple(teacher)} {problem}",
            "use models of the same classes and resolution, or compare features with Hint, "
            "AttentionTransfer, Relational or Contrastive, which accept different sizes",
        )

    # The interface of keras.distillation.DistillationLoss.

    def compute_loss(self, teacher_outputs: Any, student_outputs: Any, **kwargs: Any) -> Any:
        """The loss, as `keras.distillation.Distiller` calls it. Schedules stay at step 0 there."""
        if not self.built:
            self.build_for(tuple(student_outputs.shape), tuple(teacher_outputs.shape))
        return self.value(student_outputs, teacher_outputs, kwargs.get("labels"), 0)

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        """Refuse tensors that cannot be compared, with a `DataError`."""
        self.check(tuple(student_outputs.shape), tuple(teacher_outputs.shape))

    def validate_model_compatibility(self, teacher: Any, student: Any) -> None:
        """Create the adapters before Keras collects the trainable weights."""
        if self.teacher_layer_name and self.student_layer_name and not self.built:
            self.build_for(
                tuple(student.get_layer(self.student_layer_name).output.shape),
                tuple(teacher.get_layer(self.teacher_layer_name).output.shape),
            )

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, for saving."""
        return {
            "weight": self.weight,
            "teacher_layer_name": self.teacher_layer_name,
            "student_layer_name": self.student_layer_name,
            "name": self.name,
        }


def at(value: Scheduled, step: Any) -> Any:
    """The value of a number or schedule at a training step."""
    return value(step) if callable(value) else value


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def alike(one: Shape, other: Shape) -> bool:
    """Whether two shapes can be equal; an axis of None matches any size."""
    return len(one) == len(other) and all(
        a is None or b is None or a == b for a, b in zip(one, other, strict=True)
    )


def checked_number(what: str, value: Scheduled, zero: bool) -> Scheduled:
    """Validate a weight or temperature.

    Args:
        what: Name of the value in the error.
        value: Number, Keras schedule, or a schedule's saved config.
        zero: Whether 0 is allowed.

    Returns:
        A float or a schedule.

    Raises:
        ConfigError: The number is negative, or 0 where that is not allowed.
    """
    if isinstance(value, dict):  # a schedule, from a saved config
        value = keras.saving.deserialize_keras_object(value)
    if callable(value):
        return value
    if not value > 0 and not (zero and value == 0):
        at_least = "a number of at least 0" if zero else "a number above 0"
        raise ConfigError(what, f"it is {value}", f"use {at_least}, or a Keras schedule")
    return float(value)
