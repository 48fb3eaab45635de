"""Rules for operations without weights: shapes, slices, concatenation, pooling, `keras.ops`.

The key of a rule is the class name in lower case, so that a `Concatenate` layer and
`keras.ops.concatenate` share a rule. For tf_keras' lambda operations it is the name of the function
that they call.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tfcompress.graph.layers import is_of_keras
from tfcompress.graph.wiring import Call, Tensor
from tfcompress.pruning.channels.core.units import Lanes
from tfcompress.pruning.channels.trace.flow import Flow, Rule, kept
from tfcompress.pruning.channels.trace.merge_rules import MERGES, merge, pointwise


def same(flow: Flow, call: Call, inputs: list[Lanes]) -> list[Lanes]:
    """Dropout, up-sampling, cropping: process each channel separately, keep constants."""
    lanes = inputs[0]
    return [_placed(flow, call, lanes, call.outputs[0].shape[1:])]


def pooled(flow: Flow, call: Call, inputs: list[Lanes]) -> list[Lanes]:
    """Pooling: windows cover spatial axes; channels along these axes would be mixed."""
    first = getattr(call.op, "data_format", "channels_last") == "channels_first"
    channel = 0 if first else len(inputs[0].shape) - 1
    if set(inputs[0].axes) - {channel}:
        return flow.give_up(call, inputs, f"{call.path!r} pools over them")
    return same(flow, call, inputs)


def padded(flow: Flow, call: Call, inputs: list[Lanes]) -> list[Lanes]:
    """Zero padding: a removed channel is constant only if its value is zero."""
    lanes = _placed(flow, call, inputs[0], call.outputs[0].shape[1:])
    return [lanes.with_value_when_zeroed(np.where(lanes.value_when_zeroed == 0, 0.0, np.nan))]


def global_pool(flow: Flow, call: Call, inputs: list[Lanes]) -> list[Lanes]:
    """Global pooling: only the channel axis stays (with axes of length 1 if `keepdims`)."""
    first = getattr(call.op, "data_format", "channels_last") == "channels_first"
    axis = 0 if first else -1
    units, zeroed = flow.take(inputs[0], axis, f"{call.path!r} pools them")
    shape = call.outputs[0].shape[1:]
    return [Lanes.along(shape, axis if len(shape) > 1 else 0, units, zeroed)]


def reduce(flow: Flow, call: Call, inputs: list[Lanes]) -> list[Lanes]:
    """`keras.ops.mean`, `max` and similar, over axes that carry no channels."""
    lanes = inputs[0]
    axis, keep_axes = getattr(call.op, "axis", None), getattr(call.op, "keepdims", False)
    if call.kind == "TFOpLambda":
        axis = call.kwargs.get("axis", call.args[1] if len(call.args) > 1 else None)
        keep_axes = call.kwargs.get("keepdims", call.args[2] if len(call.args) > 2 else False)
    if axis is None:
        return flow.give_up(call, inputs, f"{call.path!r} reduces all axes")
    rank = len(lanes.shape) + 1
    gone = {a % rank - 1 for a in np.atleast_1d(axis).tolist()}
    if gone & {*lanes.axes, -1}:  # -1 is the batch axis
        return flow.give_up(call, inputs, f"{call.path!r} reduces over channels")
    constant_stays = not _name(call).endswith("sum")
    zeroed = (
        lanes.value_when_zeroed
        if constant_stays
        else np.where(lanes.value_when_zeroed == 0, 0.0, np.nan)
    )
    units = lanes.units
    if not keep_axes:
        units, zeroed = (np.squeeze(x, tuple(gone)) for x in (units, zeroed))
    return [Lanes(call.outputs[0].shape[1:], units, zeroed)]


def concatenate(flow: Flow, call: Call, inputs: list[Lanes]) -> list[Lanes]:
    """Concatenation: appends units along the channel axis, joins them along another."""
    shape = call.outputs[0].shape[1:]
    axis = call.kwargs.get("axis", getattr(call.op, "axis", -1))
    for argument in call.args[1:]:
        axis = argument if isinstance(argument, int) else axis
    axis = axis % (len(shape) + 1) - 1
    if axis < 0:
        return flow.give_up(call, inputs, f"{call.path!r} concatenates along the batch axis")
    if any(set(lanes.axes) - {axis} for lanes in inputs):
        units, zeroed = inputs[0].units, inputs[0].value_when_zeroed
        for lanes in inputs[1:]:
            if set(lanes.axes) | set(inputs[0].axes) != set(inputs[0].axes):
                return flow.give_up(
                    call, inputs, f"{call.path!r} concatenates channels of different axes"
                )
            one, other = np.broadcast_arrays(units, lanes.units)
            flow.units.join(one, other, f"{call.path!r} joins it with fixed channels")
            zeroed = np.where(zeroed == lanes.value_when_zeroed, zeroed, np.nan)
        return [Lanes(shape, units, zeroed)]
    if not any(lanes.carries for lanes in inputs):
        return [Lanes.fixed(shape)]
    parts = [flow.take(lanes, axis, "") for lanes in inputs]
    units, zeroed = (np.concatenate(part) for part in zip(*parts, strict=True))
    return [Lanes.along(shape, axis, units, zeroed)]


def reshape(flow: Flow, call: Call, inputs: list[Lanes]) -> list[Lanes]:
    """Flatten, Reshape, squeeze, expand_dims: units move with their positions."""
    lanes, shape = inputs[0], tuple(call.outputs[0].shape[1:])
    if not lanes.carries:
        return [Lanes.fixed(shape)]
    if call.kind == "Flatten" and call.op.data_format == "channels_first" and len(lanes.shape) > 1:
        return flow.give_up(call, inputs, f"{call.path!r} moves the channels first")
    units, zeroed = (
        _reshaped(x, lanes.shape, shape) for x in (lanes.units, lanes.value_when_zeroed)
    )
    if units is None or zeroed is None:
        return flow.give_up(call, inputs, f"{call.path!r} reshapes axes of unknown size")
    result = _single_axis(flow, call, Lanes(shape, units, zeroed))
    if call.kind != "Flatten":
        _resize_target(flow, call, result)
    return [result]


def transpose(flow: Flow, call: Call, inputs: list[Lanes]) -> list[Lanes]:
    """Permute and transpose: reorder the axes."""
    lanes = inputs[0]
    if call.kind == "Permute":
        order = [axis - 1 for axis in call.op.dims]
    else:
        axes = getattr(call.op, "axes", None) or call.kwargs.get("perm") or call.kwargs.get("axes")
        if axes is None and len(call.args) > 1:  # tf_keras: tf.transpose(x, perm)
            axes = call.args[1]
        if axes is None or axes[0] != 0:
            return flow.give_up(call, inputs, f"{call.path!r} moves the batch axis")
        order = [axis - 1 for axis in axes[1:]]
    units, zeroed = (np.transpose(x, order) for x in (lanes.units, lanes.value_when_zeroed))
    return [Lanes(call.outputs[0].shape[1:], units, zeroed)]


def repeat_vector(flow: Flow, call: Call, inputs: list[Lanes]) -> list[Lanes]:
    """RepeatVector: adds an axis."""
    lanes = inputs[0]
    return [Lanes(call.outputs[0].shape[1:], lanes.units[None], lanes.value_when_zeroed[None])]


def unit_norm(flow: Flow, call: Call, inputs: list[Lanes]) -> list[Lanes]:
    """UnitNormalization: zeros do not change the L2 norm."""
    flow.freeze_unless_zero(call, inputs[0].units, inputs[0].value_when_zeroed)
    return [inputs[0]]


def split(flow: Flow, call: Call, inputs: list[Lanes]) -> list[Lanes]:
    """`keras.ops.split`: the split points follow the kept units."""
    lanes, shape = inputs[0], [t.shape[1:] for t in call.outputs]
    axis = getattr(call.op, "axis", None)
    axis = None if axis is None else axis % (len(lanes.shape) + 1) - 1
    if not lanes.carries or axis is None or axis not in lanes.axes:
        if axis is not None and axis >= 0:
            return [Lanes(s, lanes.units, lanes.value_when_zeroed) for s in shape]
        return flow.give_up(call, inputs, f"{call.path!r} splits an axis of unknown kind")
    units, zeroed = flow.take(lanes, axis, f"{call.path!r} splits them")
    ends = np.cumsum([s[axis] for s in shape])
    for part in np.split(units, ends[:-1]):
        _keep_one(flow, call, part)
    flow.config(
        call.path,
        lambda keep: {"indices_or_sections": [kept(keep, units[:end]) for end in ends[:-1]]},
    )
    parts = zip(np.split(units, ends[:-1]), np.split(zeroed, ends[:-1]), shape, strict=True)
    return [Lanes.along(s, axis, u, r) for u, r, s in parts]


def get_item(flow: Flow, call: Call, inputs: list[Lanes]) -> list[Lanes]:
    """Indexing with plain slices, `x[..., a:b]`: the ends follow the kept units."""
    lanes = inputs[0]
    shape = call.outputs[0].shape[1:]
    if not lanes.carries:
        return [Lanes.fixed(shape)]
    slot = 1 if len(call.args) > 1 else None
    key = call.args[1] if slot else call.kwargs.get("key", call.kwargs.get("slice_spec"))
    key = key if isinstance(key, tuple) else (key,)
    as_dicts = any(isinstance(k, dict) for k in key)  # tf_keras writes slices in this way
    key = tuple(slice(k["start"], k["stop"], k["step"]) if isinstance(k, dict) else k for k in key)
    rank = len(lanes.shape) + 1
    if Ellipsis in key:
        at = key.index(Ellipsis)
        key = (*key[:at], *[slice(None)] * (rank - len(key) + 1), *key[at + 1 :])
    key = (*key, *[slice(None)] * (rank - len(key)))
    plain = all(isinstance(k, slice) and k.step in (None, 1) for k in key)
    axes = lanes.axes
    if not plain or len(axes) != 1 or len(key) != rank:
        return flow.give_up(call, inputs, f"{call.path!r} indexes in a way that is not followed")
    axis = axes[0]
    units, zeroed = flow.take(lanes, axis, "")
    start, stop, _ = key[axis + 1].indices(len(units))
    _keep_one(flow, call, units[start:stop])

    def rewrite(keep: np.ndarray, arguments: Any) -> Any:
        ends = slice(kept(keep, units[:start]), kept(keep, units[:stop]))
        new: tuple[Any, ...] = (*key[: axis + 1], ends, *key[axis + 2 :])
        if as_dicts:
            new = tuple({"start": k.start, "stop": k.stop, "step": k.step} for k in new)
        args, kwargs = arguments
        if slot:
            return (args[0], new), kwargs
        name = "key" if "key" in kwargs else "slice_spec"
        return args, {**kwargs, name: new}

    if (start, stop) != (0, len(units)):
        flow.argument(call.path, rewrite)
    return [Lanes.along(shape, axis, units[start:stop], zeroed[start:stop])]


def operation_rule(flow: Flow, call: Call, inputs: list[Lanes]) -> list[Lanes]:
    """Rule for every other operation: a merge, a rule by name, element-wise, or frozen."""
    name = _name(call)
    if is_of_keras(call.op):
        if name in MERGES:
            return merge(flow, call, inputs, MERGES[name])
        if name in OPERATION_RULES:
            return OPERATION_RULES[name](flow, call, inputs)
    is_layer = hasattr(call.op, "weights")
    if call.kind in _OPAQUE or len(inputs) != 1 or (is_layer and call.op.weights):
        return flow.give_up(call, inputs, f"{call.kind} {call.path!r} cannot be followed")
    first, *others = call.args or (None,)
    if not isinstance(first, Tensor) or any(isinstance(x, Tensor) for x in others):
        return flow.give_up(call, inputs, f"{call.kind} {call.path!r} cannot be followed")
    return pointwise(flow, call, inputs, lambda x: call.op(x, *others, **call.kwargs))


_OPAQUE = ("Lambda", "Masking")
"""Never tested for being element-wise: a Lambda may behave differently on other inputs, and a
mask depends on all channels."""

_SAME = """Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D GaussianNoise GaussianDropout
AlphaDropout ActivityRegularization Identity StochasticDepth UpSampling1D UpSampling2D UpSampling3D
Cropping1D Cropping2D Cropping3D Resizing CenterCrop"""

_POOLS = ("average", "max")

OPERATION_RULES: dict[str, Rule] = {
    **dict.fromkeys(_SAME.lower().split(), same),
    **dict.fromkeys([f"{kind}pooling{n}d" for kind in _POOLS for n in (1, 2, 3)], pooled),
    **dict.fromkeys(("zeropadding1d", "zeropadding2d", "zeropadding3d"), padded),
    **dict.fromkeys(
        [f"global{kind}pooling{n}d" for kind in _POOLS for n in (1, 2, 3)], global_pool
    ),
    **dict.fromkeys(
        ("mean", "max", "amax", "min", "amin", "sum", "reduce_mean", "reduce_sum", "reduce_max"),
        reduce,
    ),
    **dict.fromkeys(("flatten", "reshape", "squeeze", "expanddims", "expand_dims"), reshape),
    **dict.fromkeys(("permute", "transpose"), transpose),
    **dict.fromkeys(("concatenate", "concat"), concatenate),
    "repeatvector": repeat_vector,
    "unitnormalization": unit_norm,
    "split": split,
    "getitem": get_item,
    "slicingoplambda": get_item,
}


def _name(call: Call) -> str:
    """Lower-case name of the operation, or of the function that a lambda operation calls."""
    symbol = getattr(call.op, "symbol", None) if call.kind == "TFOpLambda" else None
    return (symbol or call.kind).rsplit(".", 1)[-1].lower()


def _placed(flow: Flow, call: Call, lanes: Lanes, shape: tuple[int | None, ...]) -> Lanes:
    """The same lanes on a tensor whose size differs along axes without units."""
    if any(lanes.shape[axis] != shape[axis] for axis in lanes.axes):
        flow.units.freeze(lanes.units, f"{call.path!r} resizes their axis")
        return Lanes.fixed(shape)
    return Lanes(tuple(shape), lanes.units, lanes.value_when_zeroed)


def _reshaped(
    values: np.ndarray, old: tuple[int | None, ...], new: tuple[int | None, ...]
) -> np.ndarray | None:
    """Reshape broadcast values; None if the result depends on unknown sizes."""
    lead = 0
    while lead < min(len(old), len(new)) and old[lead] == new[lead] and values.shape[lead] == 1:
        lead += 1
    tail = 0
    while tail < min(len(old), len(new)) - lead and old[-1 - tail] == new[-1 - tail] is not None:
        tail += 1
    inner_old = old[lead : len(old) - tail]
    inner_new = new[lead : len(new) - tail]
    kept_axes = values.shape[len(old) - tail :]
    middle = values.shape[lead : len(old) - tail]
    form = (1,) * lead
    if all(size == 1 for size in middle):
        return values.reshape(form + (1,) * len(inner_new) + kept_axes)
    known_old, known_new = _known(inner_old), _known(inner_new)
    if known_old is None or known_new is None:
        return None
    full = np.broadcast_to(values, form + known_old + kept_axes)
    if math.prod(known_old) != math.prod(known_new):
        return None
    moved = full.reshape(form + known_new + kept_axes)
    for axis in range(lead, lead + len(inner_new)):  # axes along which all values are equal
        first = np.take(moved, [0], axis=axis)
        if np.array_equal(np.broadcast_to(first, moved.shape), moved, equal_nan=True):
            moved = first
    return moved


def _known(shape: tuple[int | None, ...]) -> tuple[int, ...] | None:
    """The shape if every size is known, else None."""
    sizes = tuple(size for size in shape if size is not None)
    return sizes if len(sizes) == len(shape) else None


def _single_axis(flow: Flow, call: Call, lanes: Lanes) -> Lanes:
    """Join units so that they change along one axis: a removed unit must be a whole slice."""
    if len(lanes.axes) < 2:
        return lanes
    longest = max(lanes.axes, key=lambda axis: lanes.units.shape[axis])
    units, zeroed = lanes.units, lanes.value_when_zeroed
    for axis in lanes.axes:
        if axis != longest:
            first = np.take(units, [0], axis=axis)
            one, other = np.broadcast_arrays(units, first)
            flow.units.join(one, other, f"{call.path!r} joins it with fixed channels")
            same_value = (zeroed == np.take(zeroed, [0], axis=axis)).all(axis=axis, keepdims=True)
            zeroed = np.where(same_value, np.take(zeroed, [0], axis=axis), np.nan)
            units = first
    return Lanes(lanes.shape, units, np.broadcast_to(zeroed, units.shape))


def _resize_target(flow: Flow, call: Call, result: Lanes) -> None:
    """Record how the target shape of a Reshape follows the kept units."""
    if not result.axes:
        return
    axis = result.axes[0]
    units = result.units.ravel()
    name = _name(call)
    if name != "reshape":
        return
    if call.kind == "TFOpLambda":

        def rewrite(keep: np.ndarray, arguments: Any) -> Any:
            args, kwargs = arguments
            target = list(args[1] if len(args) > 1 else kwargs["shape"])
            target[axis + 1] = kept(keep, units)
            if len(args) > 1:
                return (args[0], target, *args[2:]), kwargs
            return args, {**kwargs, "shape": target}

        flow.argument(call.path, rewrite)
        return
    key = "target_shape" if hasattr(call.op, "target_shape") else "newshape"
    target = list(getattr(call.op, key))
    position = axis if key == "target_shape" else axis + 1

    def resize(keep: np.ndarray) -> dict[str, Any]:
        new = list(target)
        if new[position] != -1:
            new[position] = kept(keep, units)
        return {key: tuple(new)}

    flow.config(call.path, resize)


def _keep_one(flow: Flow, call: Call, units: np.ndarray) -> None:
    """Freeze the first unit of a slice, which must not become empty."""
    flow.units.freeze(units[:1], f"{call.path!r} needs one channel of this part")
