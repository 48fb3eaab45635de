"""Train a student model to match one or several teachers, with Keras' own `fit`.

```python
distiller = tfc.Distiller(teacher, student, [tfc.SoftTargets(weight=0.9)], task_weight=0.1)
distiller.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
distiller.fit(images, labels, validation_data=(val_images, val_labels))
distiller.save("student.keras")     # the plain student
```
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tfcompress.distillation.objective import Objective, Scheduled, alike, at, checked_number
from tfcompress.distillation.teachers import Knowledge, Select, Teachers
from tfcompress.errors import ConfigError, DataError
from tfcompress.graph.layers import flavor_of
from tfcompress.graph.saving import save_plain
from tfcompress.graph.strategy import check_strategy
from tfcompress.graph.taps import TappedModel
from tfcompress.graph.wiring import Shape
from tfcompress.short_repr import one_line

TEACHER = "teacher"
INPUTS = "inputs"
"""Keys of a batch that holds the inputs and the stored teacher outputs (`store.TeacherStore`)."""


class Distiller(keras.Model):
    """A student, its teachers and the distillation losses, trained as any Keras model.

    In each training step the student and each teacher run once; in validation only the student
    runs. The logs hold the weighted sum (`loss`), the student's own loss (`task_loss`) and each
    distillation loss by its name, before its weight. All are means over the epoch so far.

    Args:
        teacher: Keras 3 or tf_keras model, a callable from a batch of inputs to logits (or to a
            dict of "logits" and layer names), or a list of these. Teachers are not changed.
        student: Functional or Sequential Keras 3 model, which is trained in place. Where student
            or teacher ends in a softmax or sigmoid, the losses see the logits before it.
        losses: Distillation losses, such as `SoftTargets(temperature=4)`; one or a list.
        task_weight: Weight of the loss given to `compile`, a number of at least 0 or a Keras
            schedule of the training step (default 1). With 0 no labels are needed.
        teacher_weights: Weights of several teachers, normalized to sum to 1; equal by default.
        select: How several teachers are combined: "mean", "best" (per sample, the teacher with the
            lowest loss on the label) or a function; see `teachers.Teachers`.
        name: Name of this Keras model.

    Raises:
        ConfigError: An argument is out of range, or a layer name is unknown.
        DataError: The classes, resolutions or widths of student and teacher differ.
        LayerError: The student is subclassed, so it has no graph.
    """

    def __init__(
        self,
        teacher: Any,
        student: Any,
        losses: Sequence[Objective] | Objective,
        *,
        task_weight: Scheduled = 1.0,
        teacher_weights: Sequence[float] | None = None,
        select: Select = "mean",
        name: str = "distiller",
    ) -> None:
        super().__init__(name=name)
        losses = _checked_losses(losses)
        if flavor_of(student) != "keras":
            raise ConfigError(
                f"student {student.name!r}",
                "it is a tf_keras model, but the Distiller trains with Keras 3",
                "convert it first: tfcompress.to_keras3(student)",
            )
        check_strategy(student)
        self.student = student
        self.objectives = losses
        self.task_weight = checked_number("task_weight", task_weight, zero=True)
        listed = list(teacher) if isinstance(teacher, (list, tuple)) else [teacher]
        wanted = dict.fromkeys(o.teacher_layer_name for o in losses if o.teacher_layer_name)
        tapped = dict.fromkeys(o.student_layer_name for o in losses if o.student_layer_name)
        # Wrapped in functions, so that Keras does not take the teachers' weights for its own.
        teachers = Teachers(listed, list(wanted), teacher_weights, select)
        forward = TappedModel(student, list(tapped))
        _check_inputs(teachers, forward)
        _check_heads(forward, losses)
        self._teachers: Callable[[], Teachers] = lambda: teachers
        self._forward: Callable[[], TappedModel] = lambda: forward
        if teachers.shapes is not None:
            self._build_objectives(*teachers.shapes)
        names = _unique(["task_loss", *(objective.name for objective in losses)])
        self._parts = {name: keras.metrics.Mean(name=name) for name in names}
        self.built = True

    @property
    def teachers(self) -> Teachers:
        """The teachers. Their weights are not among the Distiller's weights."""
        return self._teachers()

    @property
    def forward(self) -> TappedModel:
        """The student as a function that also returns logits and the tapped layers' outputs."""
        return self._forward()

    def _build_objectives(self, logits: Sequence[Shape], features: dict[str, Shape]) -> None:
        """Check that shapes match and create the adapters, once."""
        own = self.forward.logit_shapes
        if len(logits) != len(own):
            raise DataError(
                "outputs",
                f"the teacher has {len(logits)}, the student has {len(own)}",
                "use models with the same outputs",
            )
        for objective in self.objectives:
            if objective.built:
                continue
            theirs, ours = objective.teacher_layer_name, objective.student_layer_name
            if theirs is None or ours is None:  # an objective has both or neither
                pairs = list(zip(own, logits, strict=True))
            else:
                pairs = [(self.forward.feature_shapes[ours], features[theirs])]
            for student, teacher in pairs:
                objective.build_for(tuple(student), tuple(teacher))

    def __repr__(self) -> str:
        names = tuple(type(objective).__name__ for objective in self.objectives)
        facts = {"student": self.student.name, "teachers": len(self.teachers.models)}
        return one_line("Distiller", {**facts, "losses": names, "task_weight": self.task_weight})

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The student's predictions; in training a dict of "outputs", "logits" and "features"."""
        if _carries_teacher(inputs):
            inputs = inputs[INPUTS]
        tapped = self.forward(inputs, training=bool(training))
        if not training:
            return tapped.outputs
        return {"outputs": tapped.outputs, "logits": tapped.logits, "features": tapped.features}

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The weighted sum of the student's loss and the distillation losses.

        Args:
            x: Inputs, or a dict of inputs and stored teacher outputs.
            y: Labels; may be None if `task_weight` is 0.
            y_pred: Return value of `call`.
            sample_weight: Sample weights of the student's own loss.
            training: Whether this is a training step. In validation only the student's own loss is
                computed.

        Returns:
            The loss, a scalar.
        """
        if not _is_tapped(y_pred):
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        optimizer = getattr(self, "optimizer", None)
        step = 0 if optimizer is None else optimizer.iterations
        # Under a distribution strategy the replicas' losses are summed, so each is divided by the
        # number of replicas. Keras has already divided its own.
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        total = 0.0
        if callable(self.task_weight) or self.task_weight > 0:
            task = super().compute_loss(x, y, y_pred["outputs"], sample_weight, training)
            self._parts["task_loss"].update_state(task * replicas)
            total = at(self.task_weight, step) * task
        knowledge = self._ask(x, y)
        _, *means = self._parts.values()
        for mean, objective in zip(means, self.objectives, strict=True):
            part = self._part(objective, y_pred, knowledge, y, step)
            mean.update_state(part)
            total = total + at(objective.weight, step) * part / replicas
        return total

    def _ask(self, x: Any, y: Any) -> Knowledge:
        """The teachers' outputs, from a forward pass or from the store."""
        if _carries_teacher(x):
            said = x[TEACHER]
            knowledge = Knowledge(list(said["logits"]), dict(said["features"]))
        else:
            labels = None if isinstance(y, (dict, list, tuple)) else y
            knowledge = self.teachers(x, labels)
        if not all(objective.built for objective in self.objectives):
            self._build_objectives(
                [tuple(t.shape) for t in knowledge.logits],
                {name: tuple(t.shape) for name, t in knowledge.features.items()},
            )
        return knowledge

    def _part(
        self, objective: Objective, y_pred: Any, knowledge: Knowledge, y: Any, step: Any
    ) -> Any:
        if objective.teacher_layer_name is not None:
            mine = y_pred["features"][objective.student_layer_name]
            return objective.value(mine, knowledge.features[objective.teacher_layer_name], y, step)
        labels = y if isinstance(y, (list, tuple)) else [y] * len(knowledge.logits)
        parts = [
            objective.value(mine, theirs, label, step)
            for mine, theirs, label in zip(y_pred["logits"], knowledge.logits, labels, strict=True)
        ]
        return ops.sum(ops.stack(parts)) if len(parts) > 1 else parts[0]

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Metrics of the student's predictions; the distillation losses only in training."""
        if _is_tapped(y_pred):
            return super().compute_metrics(x, y, y_pred["outputs"], sample_weight)
        logs = super().compute_metrics(x, y, y_pred, sample_weight)
        return {name: value for name, value in logs.items() if name not in self._parts}

    def save(self, filepath: str | os.PathLike[str], **kwargs: Any) -> None:
        """Write the student alone as a `.keras` file, atomically.

        Args:
            filepath: Path of the file. An existing file is replaced.
            **kwargs: Accepted for compatibility with `keras.Model.save`, and ignored.
        """
        save_plain(self.student, filepath)


def _check_inputs(teachers: Teachers, student: TappedModel) -> None:
    """Refuse different inputs: student and teachers are given the same batch."""
    for teacher in teachers.models:
        if not isinstance(teacher, TappedModel):
            continue
        theirs, mine = teacher.wiring.input_shapes, student.wiring.input_shapes
        fit = len(theirs) == len(mine) and all(map(alike, theirs, mine))
        if not fit:
            raise DataError(
                f"teacher {teacher.model.name!r}",
                f"it takes inputs of shape {theirs}, the student of shape {mine}",
                "use models of the same resolution, or put a Resizing layer before the teacher: "
                "keras.Sequential([keras.Input(shape), keras.layers.Resizing(h, w), teacher])",
            )


def _check_heads(student: TappedModel, losses: Sequence[Objective]) -> None:
    """Refuse losses over classes on several sigmoids, which do not form a distribution."""
    wrong = [loss for loss in losses if loss.over_classes and loss.student_layer_name is None]
    for activation, shape in zip(student.activations, student.logit_shapes, strict=True):
        if wrong and activation == "sigmoid" and shape[-1] != 1:
            raise ConfigError(
                f"{type(wrong[0]).__name__} on {student.model.name!r}",
                f"it compares distributions over classes, but the output is {shape[-1]} sigmoids",
                "end in a softmax, or compare features with Hint, Relational or Contrastive",
            )


def _checked_losses(losses: Sequence[Objective] | Objective) -> list[Objective]:
    listed: list[Any] = list(losses) if isinstance(losses, (list, tuple)) else [losses]
    wrong = [loss for loss in listed if not isinstance(loss, Objective)]
    if wrong or not listed:
        what = f"{wrong[0]!r} is not a distillation loss" if wrong else "the list is empty"
        raise ConfigError("losses", what, "give e.g. [SoftTargets(temperature=4)]")
    return listed


def _unique(names: Sequence[str]) -> list[str]:
    """Names made unique: "_2", "_3" is appended to repetitions."""
    return [
        name if names[:i].count(name) == 0 else f"{name}_{names[:i].count(name) + 1}"
        for i, name in enumerate(names)
    ]


def _is_tapped(y_pred: Any) -> bool:
    return isinstance(y_pred, dict) and set(y_pred) == {"outputs", "logits", "features"}


def _carries_teacher(inputs: Any) -> bool:
    return isinstance(inputs, dict) and set(inputs) == {INPUTS, TEACHER}
