"""A mask that rides on a variable as its constraint.

Keras applies `variable.constraint` after every optimizer step, in graph mode, under XLA, mixed
precision, `steps_per_execution` and distribution strategies, and in any loop that calls
`optimizer.apply`. A constraint is not saved with the model, so files stay plain Keras. The mask is
a non-trainable variable: a schedule changes it without a new trace.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

_HOOKED = "_tfcompress_masks_averages"


class MaskConstraint:
    """Set the masked weights of one variable to zero, after its previous constraint.

    Attributes:
        mask: A `tf.Variable` of booleans with the weight's shape, True where the weight stays.
        inner: The constraint that the variable had before, or None.
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
        """The mask as an array (of the first device, if it is mirrored)."""
        return read(self.mask)

    def __call__(self, weight: Any) -> tf.Tensor:
        """The weight after an optimizer step, constrained and masked."""
        if self.inner is not None:
            weight = self.inner(weight)
        return self.apply(weight)

    def apply(self, tensor: Any) -> tf.Tensor:
        """`tensor` (a weight, or its moving average) with zeros where the mask is False."""
        return masked(tf.convert_to_tensor(tensor), self.mask)


def masked(tensor: tf.Tensor, mask: Any) -> tf.Tensor:
    """Zeros where the mask is False, also in place of a NaN or infinity."""
    return tf.math.multiply_no_nan(tensor, tf.cast(mask, tensor.dtype))


def read(variable: Any) -> np.ndarray:
    """A variable's value as a read-only array, without a copy where it lies in host memory."""
    value = _native(variable).read_value()
    try:
        return np.asarray(memoryview(value))
    except (TypeError, BufferError, ValueError):  # mirrored, bfloat16, on a GPU
        return np.asarray(value)


def mask_of_variable(variable: Any) -> MaskConstraint | None:
    """The mask that a variable carries, if any."""
    constraint = getattr(variable, "constraint", None)
    return constraint if isinstance(constraint, MaskConstraint) else None


def install(variable: Any, keep: np.ndarray) -> tuple[MaskConstraint, bool]:
    """Put `keep` on a variable and zero what it drops.

    Args:
        variable: A Keras variable.
        keep: Boolean array of its shape.

    Returns:
        The constraint, and whether it is new (a new one needs a new trace of the train step).
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
    """tf_keras variables have no public setter; mirrored ones hold one variable per device."""
    if type(variable).__module__.startswith("keras."):
        variable.constraint = constraint
        return
    native = _native(variable)
    for replica in getattr(native, "_values", ()) or (native,):
        replica._constraint = constraint


def _hook_moving_averages(variable: Any) -> None:
    """Make optimizers with `use_ema=True` mask their averages of masked variables.

    Keras averages the weights *before* it applies constraints, and at the end of `fit` writes the
    averages back, without constraints: without this the zeros are lost silently. The average of a
    weight that a schedule prunes later also has to forget its past. The hook sits on the
    optimizers' base class, because a custom loop's optimizer is known to nobody else; it does
    nothing to variables without a mask.
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
