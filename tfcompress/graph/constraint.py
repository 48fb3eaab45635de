"""Pruning masks, installed as the constraints of variables.

Keras applies `variable.constraint` after every optimizer step: in graph mode, under XLA, with mixed
precision, `steps_per_execution` and distribution strategies, and in any loop that calls
`optimizer.apply`. Constraints are not saved with the model, so the saved file is plain Keras. The
mask is a non-trainable variable, so that a schedule can change it without retracing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

_HOOKED = "_tfcompress_masks_averages"


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
    _hook_moving_averages(variable)
    return constraint, new


def _native(variable: Any) -> Any:
    """The `tf.Variable` behind a Keras 3 variable or a tf_keras autocast variable."""
    if type(variable).__module__.startswith("keras.") and hasattr(variable, "_value"):
        return variable._value
    return getattr(variable, "_variable", variable)


def set_constraint(variable: Any, constraint: Callable[[Any], tf.Tensor]) -> None:
    """Set the constraint of a variable.

    tf_keras variables have no public setter, and mirrored ones hold one variable per device.
    """
    if type(variable).__module__.startswith("keras."):
        variable.constraint = constraint
        return
    native = _native(variable)
    for replica in getattr(native, "_values", ()) or (native,):
        replica._constraint = constraint


def _hook_moving_averages(variable: Any) -> None:
    """Make optimizers with `use_ema=True` mask the moving averages of masked variables.

    Keras averages weights *before* it applies constraints, and at the end of `fit` it overwrites
    the weights with the averages, without constraints. Without this hook, the zeros would be lost
    silently. When a schedule prunes a weight later, its average must become zero as well. The hook
    is installed on the optimizers' base class, because the optimizer of a custom loop cannot be
    found in any other way. Variables without a mask are not affected.
    """
    if type(variable).__module__.startswith("keras."):
        from keras.src.optimizers.base_optimizer import BaseOptimizer

        if not hasattr(BaseOptimizer, _HOOKED):
            _hook_class(BaseOptimizer, _mask_averages_keras)
    else:
        from tf_keras.src.optimizers.optimizer import Optimizer

        if not hasattr(Optimizer, _HOOKED):
            _hook_class(Optimizer, _mask_averages_tf_keras)


def _hook_class(optimizer_class: Any, mask_averages: Any) -> None:
    update = optimizer_class._update_model_variables_moving_average

    @functools.wraps(update)
    def update_and_mask(self: Any, variables: Any) -> None:
        update(self, variables)
        if self.use_ema:
            mask_averages(self, variables)

    optimizer_class._update_model_variables_moving_average = update_and_mask
    setattr(optimizer_class, _HOOKED, True)


def _mask_averages_keras(optimizer: Any, variables: Any) -> None:
    averages = optimizer._model_variables_moving_average
    for variable, average in zip(variables, averages, strict=True):
        constraint = mask_of_variable(variable)
        if constraint is not None and average is not None:
            average.assign(constraint.apply(average))


def _mask_averages_tf_keras(optimizer: Any, variables: Any) -> None:
    for variable in variables:
        constraint = mask_of_variable(variable)
        if constraint is None:
            continue
        index = optimizer._index_dict[optimizer._var_key(variable)]
        average = optimizer._model_variables_moving_average[index]
        optimizer._distribution_strategy.extended.update(
            average,
            lambda value, mask: value.assign(masked(tf.convert_to_tensor(value), mask)),
            args=(constraint.mask,),
            group=False,
        )
