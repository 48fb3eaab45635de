"""Rules for element-wise operations with broadcasting: activations, additions, products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tfcompress.graph.wiring import Call, Tensor, flatten
from tfcompress.internals.keras import HISTORY
from tfcompress.pruning.channels.core.units import FIXED, Lanes
from tfcompress.pruning.channels.trace.flow import Flow

MERGES: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "customscalelayer": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "mul": np.multiply,
    "average": lambda *values: sum(values) / len(values),
    "maximum": np.maximum,
    "minimum": np.minimum,
    "divide": np.divide,
    "truedivide": np.divide,
    "truediv": np.divide,
    "sub": np.subtract,
    "power": np.power,
    "pow": np.power,
}
"""Element-wise functions of several tensors by name, in lower case."""

_PRODUCTS = (np.multiply, np.divide)


def merge(flow: Flow, call: Call, inputs: list[Lanes], function: Callable[..., Any]) -> list[Lanes]:
    """Join the units of tensors that are combined element by element.

    A tensor with length 1 along the channel axis of the others (a gate per position, a number) is
    broadcast: it joins no units, and its own channel stays.
    """
    shape = call.outputs[0].shape[1:]
    operands = _operands(call, inputs)
    varying = {axis for lanes, _ in operands for axis in _aligned(lanes, shape).axes}
    ours: np.ndarray | None = None
    zeroed_values: list[Any] = []
    partial = False
    for lanes, constant in operands:
        full = _aligned(lanes, shape)
        covers = [axis for axis in varying if full.shape[axis] != 1]
        if varying and len(covers) == len(varying):
            if constant is not None:
                zeroed_values.append(full.value_when_zeroed)
                continue
            if ours is None:
                ours = full.units
            else:
                one, other = np.broadcast_arrays(ours, full.units)
                flow.units.join(one, other, f"{call.path!r} combines it with fixed channels")
                ours = one if (one != FIXED).any() else other
            zeroed_values.append(full.value_when_zeroed)
        else:
            partial = partial or bool(covers)
            if full.units.size == 1:
                flow.units.freeze(full.units, f"it is broadcast over channels in {call.path!r}")
            zeroed_values.append(
                full.value_when_zeroed
                if constant is not None
                else np.full((1,) * len(shape), np.nan)
            )
    if partial:
        return flow.give_up(call, inputs, f"{call.path!r} broadcasts along several axes")
    if ours is None:
        return [Lanes.fixed(shape)]
    zeroed_values = [_fitted(zeroed, ours.shape) for zeroed in zeroed_values]
    result = Lanes(
        shape, ours, np.broadcast_to(_value_when_zeroed(function, zeroed_values), ours.shape)
    )
    for position, (lanes, constant) in enumerate(operands):
        if constant is not None and lanes.axes:
            _slice_constant(flow, call, position, lanes, result)
    return [result]


def pointwise_value(function: Callable[[Any], Any] | None, values: np.ndarray) -> np.ndarray | None:
    """Apply a function to numbers; None if it does not process each number separately.

    This is tested on random arrays: a result must depend neither on other values in the array nor
    on the position.
    """
    if function is None:
        return values
    generator = np.random.default_rng(0)
    first = generator.uniform(-3, 3, (1, 3, 5, 11)).astype("float32")
    second = generator.uniform(-3, 3, first.shape).astype("float32")
    same = generator.random(first.shape) < 0.3
    second[same] = first[same]
    order = generator.permutation(first.size)
    moved = first.ravel()[order].reshape(first.shape)
    try:
        a, b, c = (np.asarray(function(_tensor(x))) for x in (first, second, moved))
        narrow = np.asarray(function(_tensor(first[..., :7])))
        if not np.allclose(a[..., :7], narrow, equal_nan=True):
            return None
        if a.shape != first.shape or not np.allclose(a[same], b[same], equal_nan=True):
            return None
        if not np.allclose(a.ravel()[order], c.ravel(), equal_nan=True):
            return None
        row = np.nan_to_num(np.asarray(values, "float32")).reshape(1, 1, 1, -1)
        result = np.asarray(function(_tensor(row)), float).reshape(np.shape(values))
    except Exception:
        return None
    return np.where(np.isnan(values), np.nan, result)


def pointwise(flow: Flow, call: Call, inputs: list[Lanes], function: Any) -> list[Lanes]:
    """An activation, or another function that processes each number separately."""
    lanes = inputs[0]
    if not lanes.carries:
        return [Lanes.fixed(t.shape[1:]) for t in call.outputs]
    zeroed = pointwise_value(function, lanes.value_when_zeroed)
    if zeroed is None:
        return flow.give_up(
            call, inputs, f"{call.kind} {call.path!r} is not known to treat each channel by itself"
        )
    return [lanes.with_value_when_zeroed(zeroed)]


def _tensor(value: np.ndarray) -> Any:
    import tensorflow as tf

    return tf.constant(value)


def _operands(call: Call, inputs: list[Lanes]) -> list[tuple[Lanes, Any]]:
    """(Lanes, value) of each tensor and constant among the arguments; a tensor's value is None."""
    given = iter(inputs)
    operands: list[tuple[Lanes, Any]] = []
    for leaf in flatten((call.args, dict(call.kwargs))):
        if isinstance(leaf, Tensor):
            operands.append((next(given), None))
        elif _is_constant(leaf):
            value = np.asarray(leaf, float)
            operands.append((Lanes(value.shape, np.full(value.shape, FIXED), value), leaf))
    return operands


def _aligned(lanes: Lanes, shape: tuple[int | None, ...]) -> Lanes:
    """Lanes with axes of length 1 prepended, as broadcasting does."""
    missing = (1,) * (len(shape) - len(lanes.shape))
    if len(lanes.shape) > len(shape):  # a constant with a batch axis
        cut = len(lanes.shape) - len(shape)
        return Lanes(
            lanes.shape[cut:],
            lanes.units.reshape(lanes.units.shape[cut:]),
            lanes.value_when_zeroed.reshape(lanes.value_when_zeroed.shape[cut:]),
        )
    return Lanes(
        missing + lanes.shape,
        lanes.units.reshape(missing + lanes.units.shape),
        lanes.value_when_zeroed.reshape(missing + lanes.value_when_zeroed.shape),
    )


def _value_when_zeroed(function: Callable[..., Any], zeroed_values: list[Any]) -> Any:
    """The function of the values when zeroed; zero times any value is zero."""
    with np.errstate(all="ignore"):
        value = zeroed_values[0]
        if function is MERGES["average"]:
            return function(*zeroed_values)
        for other in zeroed_values[1:]:
            combined = function(value, other)
            if function in _PRODUCTS:
                zero = value == 0
                if function is np.multiply:
                    zero = zero | (other == 0)
                combined = np.where(zero, 0.0, combined)
            value = combined
        return value


def _fitted(zeroed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Values when zeroed, reduced to the axes along which units change; NaN if not possible."""
    for axis, size in enumerate(shape):
        if size == 1 and zeroed.shape[axis] > 1:
            first = np.take(zeroed, [0], axis=axis)
            zeroed = np.where((zeroed == first).all(axis=axis, keepdims=True), first, np.nan)
    return zeroed


def _slice_constant(flow: Flow, call: Call, position: int, lanes: Lanes, result: Lanes) -> None:
    """Shorten a constant array in a call with the channels that it is combined with."""
    if len(result.axes) != 1:
        flow.units.freeze(result.units, f"{call.path!r} has a constant along several axes")
        return
    axis = result.axes[0] - len(result.shape)
    units = result.units.ravel()
    if -axis > len(lanes.shape) or lanes.shape[axis] == 1:
        return

    def rewrite(keep: np.ndarray, arguments: Any) -> Any:
        import tensorflow as tf

        leaves = flatten(arguments)
        is_tensor = [HISTORY.on(leaf) for leaf in leaves]
        indices = [i for i, leaf in enumerate(leaves) if is_tensor[i] or _is_constant(leaf)]
        value = np.asarray(leaves[indices[position]])
        leaves[indices[position]] = np.compress(keep[units], value, axis=axis)
        return tf.nest.pack_sequence_as(arguments, leaves)

    flow.argument(call.path, rewrite)


def _is_constant(leaf: Any) -> bool:
    return isinstance(leaf, (int, float, np.ndarray)) or hasattr(leaf, "numpy")
