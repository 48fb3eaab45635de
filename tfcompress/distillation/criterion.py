"""Distillation as a loss for custom training loops.

```python
criterion = KLDistillation(teacher, keras.losses.CategoricalCrossentropy(), alpha=0.9, tau=3)
with tf.GradientTape() as tape:
    loss = criterion(student(images, training=True), labels, images)
```
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from tfcompress.distillation.losses import soft_targets
from tfcompress.distillation.teachers import Teachers
from tfcompress.errors import ConfigError, DataError
from tfcompress.short_repr import one_line


class KLDistillation:
    """`(1 - alpha) L(labels, y_pred) + alpha tau^2 KL(softmax(t / tau) || softmax(s / tau))`.

    Reference: Hinton, Vinyals, Dean: "Distilling the Knowledge in a Neural Network", 2015, section
    2. The KL divergence is summed over classes and averaged over the batch and all positions.

    Args:
        teacher: Model, callable or list of these, as `Distiller` takes them. It runs in inference
            mode. Where a model ends in a softmax, its logits are used.
        student_loss: Loss of the student alone, `(labels, y_pred) -> tensor`, such as a Keras loss.
        alpha: Weight of the distillation loss, from 0 to 1. The student's own loss has the weight
            `1 - alpha`.
        tau: Temperature, above 0.
        from_logits: Whether `y_pred` holds logits. False means probabilities, from a student that
            ends in a softmax: their logarithms equal the logits up to a constant.

    Attributes:
        running_student_loss: Sum of the student's own losses since the last reset, before the
            weight `1 - alpha`.
        running_distillation_loss: Sum of `tau^2 KL` since the last reset, before the weight
            `alpha`.

    Raises:
        ConfigError: `alpha` or `tau` is out of range, or `student_loss` is not callable.
    """

    def __init__(
        self,
        teacher: Any,
        student_loss: Callable[[Any, Any], Any],
        alpha: float = 0.9,
        tau: float = 3.0,
        from_logits: bool = True,
    ) -> None:
        if not 0 <= alpha <= 1:
            raise ConfigError("alpha", f"it is {alpha}", "use a number from 0 to 1")
        if not tau > 0:
            raise ConfigError("tau", f"it is {tau}", "use a temperature above 0")
        if not callable(student_loss):
            raise ConfigError(
                "student_loss", f"{student_loss!r} cannot be called", "give a Keras loss"
            )
        listed = teacher if isinstance(teacher, (list, tuple)) else [teacher]
        self.teachers = Teachers(listed, ())
        self.student_loss = student_loss
        self.alpha, self.tau, self.from_logits = alpha, tau, from_logits
        self._sums = [keras.metrics.Sum(name=n) for n in ("student_loss", "distillation_loss")]

    def __repr__(self) -> str:
        facts = {"alpha": self.alpha, "tau": self.tau, "from_logits": self.from_logits}
        return one_line("KLDistillation", facts)

    def __call__(self, y_pred: Any, y_true: Any, x: Any) -> Any:
        """Compute the loss of a batch.

        Args:
            y_pred: The student's output for `x`, `(N, ..., classes)`.
            y_true: Labels, as `student_loss` takes them.
            x: Inputs, which the teacher is run on.

        Returns:
            The loss, a float32 scalar.

        Raises:
            DataError: The outputs of student and teacher have different shapes.
        """
        teacher = self.teachers(x).logits[0]
        if tuple(teacher.shape[1:]) != tuple(y_pred.shape[1:]):
            raise DataError(
                "y_pred",
                f"its shape is {tuple(y_pred.shape)}, but the teacher's is {tuple(teacher.shape)}",
                "use a student with the teacher's classes and resolution",
            )
        logits = y_pred
        if not self.from_logits:
            logits = ops.log(ops.clip(ops.cast(y_pred, "float32"), 1e-30, 1.0))
        task = ops.mean(self.student_loss(y_true, y_pred))
        soft = soft_targets(logits, teacher, self.tau)
        for total, part in zip(self._sums, (task, soft), strict=True):
            total.update_state(ops.stop_gradient(part))
        return (1 - self.alpha) * task + self.alpha * soft

    @property
    def running_student_loss(self) -> float:
        """Sum of the student's own losses since the last reset."""
        return float(self._sums[0].result())

    @property
    def running_distillation_loss(self) -> float:
        """Sum of the distillation losses since the last reset."""
        return float(self._sums[1].result())

    def reset_running_loss(self) -> None:
        """Set both sums to 0."""
        for total in self._sums:
            total.reset_state()
