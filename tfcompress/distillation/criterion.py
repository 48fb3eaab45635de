"""Distillation as a criterion of a custom training loop.

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


class KLDistillation:
    """`(1 - alpha) L(labels, y_pred) + alpha tau^2 KL(softmax(t / tau) || softmax(s / tau))`.

    Reference: Hinton, Vinyals, Dean: "Distilling the Knowledge in a Neural Network", 2015, section
    2. The KL divergence is summed over classes and averaged over everything else.

    Args:
        teacher: As `Distiller` takes it; runs in inference mode, tapped before a final softmax.
        student_loss: `(labels, y_pred) -> number`, such as a Keras loss.
        alpha: Share of the distillation loss, from 0 to 1.
        tau: Temperature, above 0.
        from_logits: Whether `y_pred` is logits; False: the probabilities of a student that ends
            in a softmax, whose logarithms are logits up to a constant.

    Attributes:
        running_student_loss: Sum of the student's losses (without `1 - alpha`) so far.
        running_distillation_loss: Sum of `tau^2 KL` so far.

    Raises:
        ConfigError: A share or temperature out of range.
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
            raise ConfigError("alpha", f"it is {alpha}", "use a share from 0 to 1")
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

    def __call__(self, y_pred: Any, y_true: Any, x: Any) -> Any:
        """The loss of a batch.

        Args:
            y_pred: The student's output for `x`, `(N, ..., classes)`.
            y_true: Labels, as `student_loss` takes them.
            x: The inputs, for the teacher.

        Raises:
            DataError: Student and teacher have different shapes.
        """
        teacher = self.teachers(x).logits[0]
        if tuple(teacher.shape[1:]) != tuple(y_pred.shape[1:]):
            raise DataError(
                "y_pred",
                f"its shape is {tuple(y_pred.shape)}, and the teacher's {tuple(teacher.shape)}",
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
        """Sum of the student's losses since the last reset."""
        return float(self._sums[0].result())

    @property
    def running_distillation_loss(self) -> float:
        """Sum of the distillation losses since the last reset."""
        return float(self._sums[1].result())

    def reset_running_loss(self) -> None:
        """Set both sums to 0."""
        for total in self._sums:
            total.reset_state()
