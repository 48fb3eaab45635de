"""Distillation losses with what they need around the formula: layers, weights, adapters.

Each is a `keras.distillation` loss too, so Keras' own `Distiller` takes it; what is trained with
the student (adapters) is tracked there as well.
"""

from __future__ import annotations

import re
from typing import Any, Literal, TypeAlias

import keras

from tfcompress.distillation import losses
from tfcompress.errors import ConfigError, DataError
from tfcompress.graph.wiring import Shape

Scheduled: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule
"""A number, or one that follows the training step: any of Keras' schedules."""


class Objective(keras.layers.Layer, keras.distillation.DistillationLoss):
    """What all distillation losses share.

    Args:
        weight: Factor of the loss in our Distiller's sum; a schedule of the training step is
            possible. Keras' own takes its `distillation_loss_weights` instead.
        teacher_layer_name: Layer (name or path) of the teacher to compare at; None: its logits.
        student_layer_name: The same of the student.
        name: Shown with each epoch; default the class's, as in "soft_targets".
    """

    same_positions = True
    """Whether the two must have the same shape but for the channels."""
    same_channels = True
    """Whether they must have the same number of channels, or classes."""
    any_rank = False
    """Whether one may have positions (height, width) that the other has not."""
    over_classes = False
    """Whether logits are taken as those of classes that exclude each other."""

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
                "one of teacher_layer_name and student_layer_name is given",
                "give both, or neither for the logits",
            )

    def value(self, student: Any, teacher: Any, labels: Any, step: Any) -> Any:
        """The loss, one number, without its weight."""
        raise NotImplementedError

    def build_for(self, student: Shape, teacher: Shape) -> None:
        """Make what is trained with the student, for shapes with the batch axis.

        Raises:
            DataError: The two cannot be compared.
        """
        self.check(student, teacher)
        self.built = True

    def check(self, student: Shape, teacher: Shape) -> None:
        """Refuse shapes that cannot be compared.

        Raises:
            DataError: They cannot.
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
            "AttentionTransfer, Relational or Contrastive, which fit different sizes",
        )

    # keras.distillation's side

    def compute_loss(self, teacher_outputs: Any, student_outputs: Any, **kwargs: Any) -> Any:
        """The loss, as `keras.distillation.Distiller` calls it: schedules stay at step 0."""
        if not self.built:
            self.build_for(tuple(student_outputs.shape), tuple(teacher_outputs.shape))
        return self.value(student_outputs, teacher_outputs, kwargs.get("labels"), 0)

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        """Refuse tensors that cannot be compared."""
        self.check(tuple(student_outputs.shape), tuple(teacher_outputs.shape))

    def validate_model_compatibility(self, teacher: Any, student: Any) -> None:
        """Make adapters before Keras collects what is trained."""
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


class _Tempered(Objective):
    """Of distributions over classes, with a temperature."""

    over_classes = True
    default_temperature = 4.0

    def __init__(self, temperature: Scheduled | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        chosen = self.default_temperature if temperature is None else temperature
        self.temperature = checked_number(f"{type(self).__name__} temperature", chosen, zero=False)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "temperature": self.temperature}


@keras.saving.register_keras_serializable(package="tfcompress")
class SoftTargets(_Tempered):
    """`losses.soft_targets`: classes, or every pixel of a segmentation.

    Args:
        temperature: T, above 0 (default 4); a schedule of the training step is possible.
        **kwargs: Of `Objective`.
    """

    def value(self, student: Any, teacher: Any, labels: Any, step: Any) -> Any:
        """The loss, one number."""
        return losses.soft_targets(student, teacher, at(self.temperature, step))


@keras.saving.register_keras_serializable(package="tfcompress")
class Decoupled(_Tempered):
    """`losses.decoupled`; the target class comes from the labels.

    Args:
        temperature: T, above 0 (default 4).
        target_weight: alpha.
        other_weight: beta.
        **kwargs: Of `Objective`.
    """

    def __init__(
        self,
        temperature: Scheduled | None = None,
        target_weight: float = 1.0,
        other_weight: float = 8.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(temperature, **kwargs)
        self.target_weight, self.other_weight = target_weight, other_weight

    def value(self, student: Any, teacher: Any, labels: Any, step: Any) -> Any:
        """The loss, one number."""
        temperature = at(self.temperature, step)
        return losses.decoupled(
            student, teacher, labels, temperature, self.target_weight, self.other_weight
        )

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, for saving."""
        more = {"target_weight": self.target_weight, "other_weight": self.other_weight}
        return {**super().get_config(), **more}


@keras.saving.register_keras_serializable(package="tfcompress")
class PixelWise(_Tempered):
    """`losses.pixel_wise`: as `SoftTargets`, for maps of different size too.

    Args:
        temperature: T, above 0 (default 1).
        **kwargs: Of `Objective`.
    """

    default_temperature = 1.0
    same_positions = False

    def value(self, student: Any, teacher: Any, labels: Any, step: Any) -> Any:
        """The loss, one number."""
        return losses.pixel_wise(student, teacher, at(self.temperature, step))


class _Adapted(Objective):
    """With a learned 1x1 convolution on the student's features where the widths differ."""

    same_channels = same_positions = False

    def __init__(self, adapter: Literal["auto", "always"] = "auto", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if adapter not in ("auto", "always"):
            raise ConfigError(
                f"{type(self).__name__} adapter", f"{adapter!r}", "use 'auto' or 'always'"
            )
        self.adapter = adapter
        self._adapter: Any = None

    def build_for(self, student: Shape, teacher: Shape) -> None:
        """Make the adapter."""
        self.check(student, teacher)
        if self.adapter == "always" or student[-1] != teacher[-1]:
            self._adapter = keras.layers.Dense(teacher[-1], use_bias=False, name="adapter")
            self._adapter.build(student)
        self.built = True

    def adapted(self, student: Any) -> Any:
        """The student's features in the teacher's width."""
        return student if self._adapter is None else self._adapter(student)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "adapter": self.adapter}


@keras.saving.register_keras_serializable(package="tfcompress")
class Hint(_Adapted):
    """`losses.hint` behind a learned adapter, as FitNets have it.

    Args:
        adapter: "auto": only where the widths differ; "always".
        **kwargs: Of `Objective`.
    """

    def value(self, student: Any, teacher: Any, labels: Any, step: Any) -> Any:
        """The loss, one number."""
        return losses.hint(self.adapted(student), teacher)


@keras.saving.register_keras_serializable(package="tfcompress")
class ChannelWise(_Adapted):
    """`losses.channel_wise`; features of different widths through a learned adapter.

    Args:
        temperature: T, above 0 (default 4).
        adapter: "auto": only where the widths differ; "always".
        **kwargs: Of `Objective`.
    """

    def __init__(
        self,
        temperature: Scheduled = 4.0,
        adapter: Literal["auto", "always"] = "auto",
        **kwargs: Any,
    ) -> None:
        super().__init__(adapter, **kwargs)
        self.temperature = checked_number("ChannelWise temperature", temperature, zero=False)

    def value(self, student: Any, teacher: Any, labels: Any, step: Any) -> Any:
        """The loss, one number."""
        return losses.channel_wise(self.adapted(student), teacher, at(self.temperature, step))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, for saving."""
        return {**super().get_config(), "temperature": self.temperature}


@keras.saving.register_keras_serializable(package="tfcompress")
class AttentionTransfer(Objective):
    """`losses.attention_transfer`: any two widths.

    Args:
        power: p.
        weight: The paper's code uses 1000.
        **kwargs: Of `Objective`.
    """

    same_channels = same_positions = False

    def __init__(self, power: float = 2.0, weight: Scheduled = 1000.0, **kwargs: Any) -> None:
        super().__init__(weight, **kwargs)
        self.power = power

    def value(self, student: Any, teacher: Any, labels: Any, step: Any) -> Any:
        """The loss, one number."""
        return losses.attention_transfer(student, teacher, self.power)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, for saving."""
        return {**super().get_config(), "power": self.power}


@keras.saving.register_keras_serializable(package="tfcompress")
class Relational(Objective):
    """`losses.relational`: any two widths; wants batches of some size.

    Args:
        distance_weight: Of the distances.
        angle_weight: Of the angles.
        **kwargs: Of `Objective`.
    """

    same_channels = same_positions = False
    any_rank = True

    def __init__(
        self, distance_weight: float = 25.0, angle_weight: float = 50.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.distance_weight, self.angle_weight = distance_weight, angle_weight

    def value(self, student: Any, teacher: Any, labels: Any, step: Any) -> Any:
        """The loss, one number."""
        return losses.relational(student, teacher, self.distance_weight, self.angle_weight)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, for saving."""
        more = {"distance_weight": self.distance_weight, "angle_weight": self.angle_weight}
        return {**super().get_config(), **more}


@keras.saving.register_keras_serializable(package="tfcompress")
class Contrastive(Objective):
    """`losses.contrastive` behind two learned projections to as many dimensions.

    Args:
        dimensions: Of the common space.
        temperature: Of the similarities (default 0.07).
        **kwargs: Of `Objective`.
    """

    same_channels = same_positions = False
    any_rank = True

    def __init__(self, dimensions: int = 128, temperature: Scheduled = 0.07, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dimensions = dimensions
        self.temperature = checked_number("Contrastive temperature", temperature, zero=False)
        self._student = keras.layers.Dense(dimensions, name="student_projection")
        self._teacher = keras.layers.Dense(dimensions, name="teacher_projection")

    def build_for(self, student: Shape, teacher: Shape) -> None:
        """Make the projections."""
        self.check(student, teacher)
        self._student.build((None, student[-1]))
        self._teacher.build((None, teacher[-1]))
        self.built = True

    def value(self, student: Any, teacher: Any, labels: Any, step: Any) -> Any:
        """The loss, one number."""
        student = self._student(losses.embedding(student))
        teacher = self._teacher(losses.embedding(teacher))
        return losses.contrastive(student, teacher, at(self.temperature, step))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, for saving."""
        more = {"dimensions": self.dimensions, "temperature": self.temperature}
        return {**super().get_config(), **more}


def at(value: Scheduled, step: Any) -> Any:
    """A number that may follow the training step, at one."""
    return value(step) if callable(value) else value


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def alike(one: Shape, other: Shape) -> bool:
    """Whether two shapes may be equal; None fits anything."""
    return len(one) == len(other) and all(
        a is None or b is None or a == b for a, b in zip(one, other, strict=True)
    )


def checked_number(what: str, value: Scheduled, zero: bool) -> Scheduled:
    """A weight or temperature that can be, or a ConfigError.

    Args:
        what: What the error calls it.
        value: A number, or a schedule.
        zero: Whether 0 is one.
    """
    if isinstance(value, dict):  # a schedule, from a saved config
        value = keras.saving.deserialize_keras_object(value)
    if callable(value):
        return value
    if not value > 0 and not (zero and value == 0):
        at_least = "a number of at least 0" if zero else "a number above 0"
        raise ConfigError(what, f"it is {value}", f"use {at_least}, or a Keras schedule")
    return float(value)
