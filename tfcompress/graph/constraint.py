"""Pruning masks, installed as the constraints of variables.

Keras applies `variable.constraint` after every optimizer step: in graph mode, under XLA, with mixed
precision, `steps_per_execution` and distribution strategies, and in any loop that calls
`optimizer.apply`. Constraints are not saved with the model, so the saved file is plain Keras. The
mask is a non-trainable variable, so that a schedule can change it without retracing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfcompress.internals import keras as keras3_names
from tfcompress.internals import tensorflow as tensorflow_names
from tfcompress.internals import tf_keras as tf_keras_names


class MaskConstraint:
    """Constraint that sets masked weights to zero, after the variable's previous constraint.

    Args:
        variable: Keras variable to be masked.
        keep: Boolean mask of the variable's shape, True where the weight is kept.
        inner: Previous constraint of the variable, applied first.

    Attributes:
        mask: Boolean `tf.Variable` of the weight's shape, True where the weight is kept.
        inner: Previous constraint of the variable; None if it had none.
    """

    def __init__(self, variable: Any, keep: np.ndarray, inner: Any = None) -> None:
        native = _native(variable)
        strategy = getattr(native, "distribute_strategy", None) or tf.distribute.get_strategy()
        with tf.init_scope(), strategy.scope():
            self.mask = tf.Variable(
                keep,
                dtype=tf.bool,
                trainable=False,
                name=f"{variable.name.split(':')[0]}_mask",
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )
        self.inner = inner

    @property
    def keep(self) -> np.ndarray:
        """The mask as an array; of a mirrored mask, the copy on the first device."""
        return read(self.mask)

    def __call__(self, weight: Any) -> tf.Tensor:
        """Constrain and mask the weight after an optimizer step."""
        if self.inner is not None:
            weight = self.inner(weight)
        return self.apply(weight)

    def apply(self, tensor: Any) -> tf.Tensor:
        """Set a tensor (a weight, or its moving average) to zero where the mask is False."""
        return masked(tf.convert_to_tensor(tensor), self.mask)


def masked(tensor: tf.Tensor, mask: Any) -> tf.Tensor:
    """Set a tensor to zero where the mask is False, even where it is NaN or infinite."""
    return tf.math.multiply_no_nan(tensor, tf.cast(mask, tensor.dtype))


def read(variable: Any) -> np.ndarray:
    """Read a variable as a read-only array, without a copy if it is in host memory."""
    value = _native(variable).read_value()
    try:
        return np.asarray(memoryview(value))
    except (TypeError, BufferError, ValueError):  # mirrored, bfloat16, or on a GPU
        return np.asarray(value)


def mask_of_variable(variable: Any) -> MaskConstraint | None:
    """The mask that is installed on a variable; None if there is none."""
    constraint = getattr(variable, "constraint", None)
    return constraint if isinstance(constraint, MaskConstraint) else None


def install(variable: Any, keep: np.ndarray) -> tuple[MaskConstraint, bool]:
    """Install a mask on a variable, or change the installed one, and zero the masked weights.

    Args:
        variable: Keras variable of either flavor.
        keep: Boolean mask of the variable's shape, True where the weight is kept.

    Returns:
        The constraint, and whether it is new. After a new one, the train step must be retraced.
    """
    constraint = mask_of_variable(variable)
    new = constraint is None
    if constraint is None:
        constraint = MaskConstraint(variable, keep, getattr(variable, "constraint", None))
        set_constraint(variable, constraint)
    else:
        constraint.mask.assign(keep)
    variable.assign(constraint.apply(variable))
    _mask_moving_averages(variable, constraint)
    return constraint, new


def _native(variable: Any) -> Any:
    """The `tf.Variable` behind a Keras 3 variable or a tf_keras autocast variable."""
    if _is_of_keras3(variable) and keras3_names.VALUE.on(variable):
        return keras3_names.VALUE.of(variable)
    return tf_keras_names.AUTOCAST.of(variable, variable)


def _is_of_keras3(variable: Any) -> bool:
    return type(variable).__module__.startswith("keras.")


def set_constraint(variable: Any, constraint: Callable[[Any], tf.Tensor]) -> None:
    """Set the constraint of a variable.

    tf_keras variables have no public setter, and mirrored ones hold one variable per device.
    """
    if _is_of_keras3(variable):
        variable.constraint = constraint
        return
    native = _native(variable)
    for replica in tensorflow_names.REPLICAS.of(native, ()) or (native,):
        tensorflow_names.CONSTRAINT.put(replica, constraint)


def _mask_moving_averages(variable: Any, constraint: MaskConstraint) -> None:
    """Make optimizers with `use_ema=True` mask the moving averages of masked variables.

    Keras averages weights *before* it applies constraints, and at the end of `fit` it overwrites
    the weights with the averages, without constraints. Without this hook, the zeros would be lost
    silently. When a schedule prunes a weight later, its average must become zero as well. The hook
    is installed on the optimizers' base class, because the optimizer of a custom loop cannot be
    found in any other way. Variables without a mask are not affected, and the classes are as they
    were when the last mask is gone.
    """
    if _is_of_keras3(variable):
        keras3_names.after_averages(
            keras3_names.BASE_OPTIMIZER.get(), _mask_averages_keras, constraint
        )
    else:
        from tf_keras.optimizers import Optimizer

        keras3_names.after_averages(Optimizer, _mask_averages_tf_keras, constraint)


def _mask_averages_keras(optimizer: Any, variables: Any) -> None:
    averages = keras3_names.AVERAGES.of(optimizer)
    for variable, average in zip(variables, averages, strict=True):
        constraint = mask_of_variable(variable)
        if constraint is not None and average is not None:
            average.assign(constraint.apply(average))


def _mask_averages_tf_keras(optimizer: Any, variables: Any) -> None:
    for variable in variables:
        constraint = mask_of_variable(variable)
        if constraint is None:
            continue
        key = tf_keras_names.VARIABLE_KEY.of(optimizer)(variable)
        index = tf_keras_names.AVERAGE_INDEX.of(optimizer)[key]
        average = keras3_names.AVERAGES.of(optimizer)[index]
        tf_keras_names.STRATEGY.of(optimizer).extended.update(
            average,
            lambda value, mask: value.assign(masked(tf.convert_to_tensor(value), mask)),
            args=(constraint.mask,),
            group=False,
        )
