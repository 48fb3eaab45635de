"""Distillation losses as Keras layers: the formula with its layer names, weight and adapters.

Each is also a `keras.distillation.DistillationLoss`, so Keras' own `Distiller` accepts it and
trains its adapters with the student.
"""

from __future__ import annotations

from typing import Any, Literal

import keras

from tfcompress.distillation import losses
from tfcompress.distillation.objective import Objective, Scheduled, at, checked_number
from tfcompress.errors import ConfigError
from tfcompress.graph.wiring import Shape


class _Tempered(Objective):
    """Losses between distributions over classes, with a temperature."""

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
    """Soft targets (`losses.soft_targets`), for classification or for every pixel of a map.

    Reference: Hinton, Vinyals, Dean: "Distilling the Knowledge in a Neural Network", 2015.

    Args:
        temperature: Temperature T, above 0 (default 4), or a Keras schedule of the training step.
        **kwargs: Arguments of `Objective`: `weight`, layer names, `name`.
    """

    def value(self, student: Any, teacher: Any, labels: Any, step: Any) -> Any:
        """Compute the loss before its weight, a scalar."""
        return losses.soft_targets(student, teacher, at(self.temperature, step))


@keras.saving.register_keras_serializable(package="tfcompress")
class Decoupled(_Tempered):
    """Decoupled distillation (`losses.decoupled`); the labels give the target class.

    Reference: Zhao et al.: "Decoupled Knowledge Distillation", CVPR 2022.

    Args:
        temperature: Temperature T, above 0 (default 4), or a Keras schedule of the training step.
        target_weight: Weight alpha of the target-class part.
        other_weight: Weight beta of the part among the other classes.
        **kwargs: Arguments of `Objective`: `weight`, layer names, `name`.
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
        """Compute the loss before its weight, a scalar."""
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
    """Pixel-wise soft targets (`losses.pixel_wise`): `SoftTargets` for maps of different sizes.

    Reference: Liu et al.: "Structured Knowledge Distillation for Semantic Segmentation", CVPR 2019.

    Args:
        temperature: Temperature T, above 0 (default 1), or a Keras schedule of the training step.
        **kwargs: Arguments of `Objective`: `weight`, layer names, `name`.
    """

    default_temperature = 1.0
    same_positions = False

    def value(self, student: Any, teacher: Any, labels: Any, step: Any) -> Any:
        """Compute the loss before its weight, a scalar."""
        return losses.pixel_wise(student, teacher, at(self.temperature, step))


class _Adapted(Objective):
    """Losses with a trained linear adapter (a 1x1 convolution) from student to teacher width."""

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
        """Create the adapter, if it is needed."""
        self.check(student, teacher)
        if self.adapter == "always" or student[-1] != teacher[-1]:
            self._adapter = keras.layers.Dense(teacher[-1], use_bias=False, name="adapter")
            self._adapter.build(student)
        self.built = True

    def adapted(self, student: Any) -> Any:
        """The student's features, mapped to the teacher's number of channels."""
        return student if self._adapter is None else self._adapter(student)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "adapter": self.adapter}


@keras.saving.register_keras_serializable(package="tfcompress")
class Hint(_Adapted):
    """FitNets hint (`losses.hint`): mean squared error of features, through a trained adapter.

    Reference: Romero et al.: "FitNets: Hints for Thin Deep Nets", ICLR 2015.

    Args:
        adapter: When to put a trained linear adapter on the student's features: "auto" only if the
            widths differ, "always" in any case.
        **kwargs: Arguments of `Objective`: `weight`, layer names, `name`.
    """

    def value(self, student: Any, teacher: Any, labels: Any, step: Any) -> Any:
        """Compute the loss before its weight, a scalar."""
        return losses.hint(self.adapted(student), teacher)


@keras.saving.register_keras_serializable(package="tfcompress")
class ChannelWise(_Adapted):
    """Channel-wise distillation (`losses.channel_wise`), through a trained adapter if need be.

    Reference: Shu et al.: "Channel-wise Knowledge Distillation for Dense Prediction", ICCV 2021.

    Args:
        temperature: Temperature T, above 0 (default 4), or a Keras schedule of the training step.
        adapter: When to put a trained linear adapter on the student's features: "auto" only if the
            widths differ, "always" in any case.
        **kwargs: Arguments of `Objective`: `weight`, layer names, `name`.
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
        """Compute the loss before its weight, a scalar."""
        return losses.channel_wise(self.adapted(student), teacher, at(self.temperature, step))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, for saving."""
        return {**super().get_config(), "temperature": self.temperature}


@keras.saving.register_keras_serializable(package="tfcompress")
class AttentionTransfer(Objective):
    """Attention transfer (`losses.attention_transfer`), between features of any widths.

    Reference: Zagoruyko, Komodakis: "Paying More Attention to Attention", ICLR 2017.

    Args:
        power: Exponent p of the attention maps.
        weight: Weight of the loss, or a schedule; the default 1000 is that of the authors' code.
        **kwargs: Further arguments of `Objective`: layer names, `name`.
    """

    same_channels = same_positions = False

    def __init__(self, power: float = 2.0, weight: Scheduled = 1000.0, **kwargs: Any) -> None:
        super().__init__(weight, **kwargs)
        self.power = power

    def value(self, student: Any, teacher: Any, labels: Any, step: Any) -> Any:
        """Compute the loss before its weight, a scalar."""
        return losses.attention_transfer(student, teacher, self.power)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, for saving."""
        return {**super().get_config(), "power": self.power}


@keras.saving.register_keras_serializable(package="tfcompress")
class Relational(Objective):
    """Relational distillation (`losses.relational`), between embeddings of any widths.

    It compares pairs and triples within a batch, so it needs large batches.

    Reference: Park et al.: "Relational Knowledge Distillation", CVPR 2019.

    Args:
        distance_weight: Weight of the distance loss.
        angle_weight: Weight of the angle loss.
        **kwargs: Arguments of `Objective`: `weight`, layer names, `name`.
    """

    same_channels = same_positions = False
    any_rank = True

    def __init__(
        self, distance_weight: float = 25.0, angle_weight: float = 50.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.distance_weight, self.angle_weight = distance_weight, angle_weight

    def value(self, student: Any, teacher: Any, labels: Any, step: Any) -> Any:
        """Compute the loss before its weight, a scalar."""
        return losses.relational(student, teacher, self.distance_weight, self.angle_weight)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, for saving."""
        more = {"distance_weight": self.distance_weight, "angle_weight": self.angle_weight}
        return {**super().get_config(), **more}


@keras.saving.register_keras_serializable(package="tfcompress")
class Contrastive(Objective):
    """Contrastive distillation (`losses.contrastive`), in a space that both are projected to.

    The two linear projections are trained with the student.

    Reference: Tian, Krishnan, Isola: "Contrastive Representation Distillation", ICLR 2020.

    Args:
        dimensions: Number of dimensions of the common space.
        temperature: Divisor of the cosine similarities, above 0, or a schedule.
        **kwargs: Arguments of `Objective`: `weight`, layer names, `name`.
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
        """Create the two projections."""
        self.check(student, teacher)
        self._student.build((None, student[-1]))
        self._teacher.build((None, teacher[-1]))
        self.built = True

    def value(self, student: Any, teacher: Any, labels: Any, step: Any) -> Any:
        """Compute the loss before its weight, a scalar."""
        student = self._student(losses.embedding(student))
        teacher = self._teacher(losses.embedding(teacher))
        return losses.contrastive(student, teacher, at(self.temperature, step))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, for saving."""
        more = {"dimensions": self.dimensions, "temperature": self.temperature}
        return {**super().get_config(), **more}
