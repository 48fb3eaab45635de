"""Rules for Keras layers with weights: which weights shrink, and what the outputs carry.

A rule takes the flow, the call and the lanes of its inputs. It records which weights shrink and
returns the lanes of the outputs. Rules for Keras' own layers have the class name as key; for a
layer of your own the key is the class itself: `LAYER_RULES[MyLayer] = rule`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfcompress.graph.wiring import Call, Tensor
from tfcompress.internals.keras import ATTENTION
from tfcompress.pruning.channels.core.units import Lanes
from tfcompress.pruning.channels.trace.flow import Flow, Rule, kept
from tfcompress.pruning.channels.trace.merge_rules import pointwise_value


def convolution(flow: Flow, call: Call, inputs: list[Lanes]) -> list[Lanes]:
    """Conv1D, Conv2D, Conv3D: sum over input channels, make output channels."""
    layer = call.op
    if layer.groups > 1:
        return _grouped(flow, call, inputs)
    return _make(flow, call, inputs, layer.kernel, -2, -1, "filters", _channel_axis(layer))


def transposed(flow: Flow, call: Call, inputs: list[Lanes]) -> list[Lanes]:
    """Conv1DTranspose, Conv2DTranspose, Conv3DTranspose: the kernel is (..., outputs, inputs)."""
    layer = call.op
    return _make(flow, call, inputs, layer.kernel, -1, -2, "filters", _channel_axis(layer))


def dense(flow: Flow, call: Call, inputs: list[Lanes]) -> list[Lanes]:
    """Dense: sums over the last axis and makes a new one."""
    return _make(flow, call, inputs, call.op.kernel, 0, 1, "units", -1)


def depthwise(flow: Flow, call: Call, inputs: list[Lanes]) -> list[Lanes]:
    """DepthwiseConv: processes each channel separately, and makes `depth_multiplier` of each."""
    layer, axis = call.op, _channel_axis(call.op)
    kernel = getattr(layer, "depthwise_kernel", None)
    kernel = layer.kernel if kernel is None else kernel
    units = flow.read(call, inputs[0], axis)
    flow.cut(kernel, -2, units, "follower")
    return _follow(flow, call, np.repeat(units, layer.depth_multiplier), axis)


def separable(flow: Flow, call: Call, inputs: list[Lanes]) -> list[Lanes]:
    """SeparableConv: a depthwise convolution, then a pointwise one that makes the outputs."""
    layer, axis = call.op, _channel_axis(call.op)
    units = flow.read(call, inputs[0], axis)
    flow.cut(layer.depthwise_kernel, -2, units, "follower")
    between = np.repeat(units, layer.depth_multiplier)
    flow.cut(layer.pointwise_kernel, -2, between, "reader", call.inputs[0].index)
    made = flow.fresh(call.path, layer.pointwise_kernel.shape[-1])
    flow.cut(layer.pointwise_kernel, -1, made, "maker")
    flow.config(call.path, lambda keep: {"filters": kept(keep, made)})
    return _follow(flow, call, made, axis)


def batch_norm(flow: Flow, call: Call, inputs: list[Lanes]) -> list[Lanes]:
    """BatchNormalization: a channel with zero gamma, beta and statistics is zero for any input."""
    layer, lanes = call.op, inputs[0]
    axis = layer.axis[0] if isinstance(layer.axis, (list, tuple)) else layer.axis
    axis = axis if axis < 0 else axis - 1
    units, zeroed = flow.take(lanes, axis, f"{call.path!r} normalizes another axis")
    for name in ("gamma", "beta", "moving_mean", "moving_variance"):
        flow.cut(getattr(layer, name, None), 0, units, "follower")
    zeroed = np.zeros(len(units)) if layer.scale else zeroed / np.sqrt(layer.epsilon)
    return [Lanes.along(lanes.shape, axis, units, zeroed)]


def group_norm(flow: Flow, call: Call, inputs: list[Lanes]) -> list[Lanes]:
    """GroupNormalization: whole groups are removed, so that the statistics of the others stay."""
    layer, lanes = call.op, inputs[0]
    axis = layer.axis if layer.axis < 0 else layer.axis - 1
    units, zeroed = flow.take(lanes, axis, f"{call.path!r} normalizes another axis")
    groups = len(units) if layer.groups == -1 else layer.groups
    size = len(units) // groups
    flow.units.join(
        units,
        np.repeat(units[::size], size),
        f"it shares a group of {call.path!r} with fixed channels",
    )
    if groups == 1:
        flow.units.freeze(units, f"{call.path!r} normalizes all channels together")
    for name in ("gamma", "beta"):
        flow.cut(getattr(layer, name, None), 0, units, "follower")
    flow.config(call.path, lambda keep: {"groups": kept(keep, units) // size})
    if layer.scale:  # a zero gamma gives zero for any input
        return [Lanes.along(lanes.shape, axis, units, 0.0)]
    alike = np.repeat((zeroed.reshape(groups, size) == zeroed[::size, None]).all(axis=1), size)
    return [Lanes.along(lanes.shape, axis, units, np.where(alike, 0.0, np.nan))]


def layer_norm(flow: Flow, call: Call, inputs: list[Lanes]) -> list[Lanes]:
    """LayerNormalization: without some channels, mean and variance of the others change."""
    return flow.give_up(call, inputs, f"{call.kind} {call.path!r} mixes all channels")


def prelu(flow: Flow, call: Call, inputs: list[Lanes]) -> list[Lanes]:
    """PReLU: one slope per position, shared along some axes; zero stays zero."""
    lanes = inputs[0]
    for axis in lanes.axes:
        if call.op.alpha.shape[axis] > 1:
            units, _ = flow.take(lanes, axis, f"{call.path!r} has a slope per position")
            flow.cut(call.op.alpha, axis, units, "follower")
    return [lanes.with_value_when_zeroed(np.where(lanes.value_when_zeroed == 0, 0.0, np.nan))]


def layer_scale(flow: Flow, call: Call, inputs: list[Lanes]) -> list[Lanes]:
    """LayerScale of ConvNeXt: one factor per channel of the last axis."""
    units, _ = flow.take(inputs[0], -1, f"{call.path!r} scales the last axis")
    flow.cut(call.op.gamma, 0, units, "follower")
    flow.config(call.path, lambda keep: {"projection_dim": kept(keep, units)})
    return [Lanes.along(inputs[0].shape, -1, units, 0.0)]


def normalization(flow: Flow, call: Call, inputs: list[Lanes]) -> list[Lanes]:
    """Normalization: given or adapted mean and variance per position of its axes."""
    layer, lanes = call.op, inputs[0]
    if not lanes.carries:
        return [lanes]
    axes = tuple(a % (len(lanes.shape) + 1) - 1 for a in np.atleast_1d(layer.axis).tolist())
    if lanes.axes != axes:
        return flow.give_up(call, inputs, f"{call.path!r} normalizes another axis")
    units, zeroed = flow.take(lanes, axes[0], "")
    for name in ("adapt_mean", "adapt_variance"):
        flow.cut(getattr(layer, name, None), 0, units, "follower")
    for name in ("mean", "variance"):
        slice_config(flow, call, name, units)
    mean, variance = (np.ravel(np.asarray(v)) for v in (layer.mean, layer.variance))
    deviation = np.maximum(np.sqrt(variance), 1e-7)
    scaled = zeroed * deviation + mean if layer.invert else (zeroed - mean) / deviation
    return [Lanes.along(lanes.shape, axes[0], units, scaled)]


def rescaling(flow: Flow, call: Call, inputs: list[Lanes]) -> list[Lanes]:
    """Rescaling: one scale and offset, or one per position of the last axis."""
    lanes = inputs[0]
    if not lanes.carries:
        return [lanes]
    units, zeroed = flow.take(lanes, -1, f"{call.path!r} scales the last axis")
    for name in ("scale", "offset"):
        slice_config(flow, call, name, units)
    scale, offset = (np.ravel(np.asarray(v)) for v in (call.op.scale, call.op.offset))
    return [Lanes.along(lanes.shape, -1, units, zeroed * scale + offset)]


def embedding(flow: Flow, call: Call, inputs: list[Lanes]) -> list[Lanes]:
    """Embedding: makes its output axis."""
    made = flow.fresh(call.path, call.op.output_dim)
    flow.cut(call.op.embeddings, 1, made, "maker")
    flow.config(call.path, lambda keep: {"output_dim": kept(keep, made)})
    return [Lanes.along(call.outputs[0].shape[1:], -1, made)]


def attention(flow: Flow, call: Call, inputs: list[Lanes]) -> list[Lanes]:
    """MultiHeadAttention: reads query, value and key, loses whole heads, makes its output axis."""
    layer = call.op
    given = dict(zip(("query", "value", "key"), call.args, strict=False)) | dict(call.kwargs)
    parts = {name: given.get(name) for name in ("query", "value", "key")}
    parts["key"] = parts["value"] if parts["key"] is None else parts["key"]
    dense = {name: attribute.of(layer) for name, attribute in ATTENTION.items()}
    plain = all(len(inner.kernel.shape) == 3 for inner in dense.values())
    tensors = {name: part for name, part in parts.items() if isinstance(part, Tensor)}
    if len(call.outputs) > 1 or not plain or len(tensors) < len(parts):
        return flow.give_up(call, inputs, f"{call.path!r} is not a plain self- or cross-attention")
    taken = {tensor.index for tensor in tensors.values()}
    for tensor in call.inputs:
        if tensor.index not in taken:
            flow.units.freeze(flow.lanes[tensor.index].units, f"it masks {call.path!r}")
    heads = flow.fresh(f"{call.path}/heads", dense["query"].kernel.shape[1])
    for name, tensor in tensors.items():
        inner = dense[name]
        units = flow.read(call, flow.lanes[tensor.index])
        flow.cut(inner.kernel, 0, units, "reader", tensor.index)
        flow.cut(inner.kernel, 1, heads, "maker")
        flow.cut(getattr(inner, "bias", None), 0, heads, "follower")
    last = dense["output"]
    made = flow.fresh(call.path, last.kernel.shape[-1])
    flow.cut(last.kernel, 0, heads, "reader")
    flow.cut(last.kernel, -1, made, "maker")
    flow.cut(getattr(last, "bias", None), 0, made, "follower")
    flow.scales[call.path] = heads
    flow.config(
        call.path,
        lambda keep: {"num_heads": kept(keep, heads), "output_shape": (kept(keep, made),)},
    )
    return [Lanes.along(call.outputs[0].shape[1:], -1, made)]


def recurrent(flow: Flow, call: Call, inputs: list[Lanes]) -> list[Lanes]:
    """SimpleRNN, LSTM, GRU: read channels; their own units stay."""
    units = flow.read(call, inputs[0])
    flow.cut(call.op.cell.kernel, 0, units, "reader", call.inputs[0].index)
    for lanes in inputs[1:]:
        flow.units.freeze(lanes.units, f"it is a state of {call.path!r}")
    return [Lanes.fixed(t.shape[1:]) for t in call.outputs]


LAYER_RULES: dict[str | type, Rule] = {
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D"), convolution),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), transposed),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), depthwise),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), separable),
    **dict.fromkeys(("BatchNormalization", "SyncBatchNormalization"), batch_norm),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), layer_norm),
    **dict.fromkeys(("SimpleRNN", "LSTM", "GRU"), recurrent),
    "Dense": dense,
    "Embedding": embedding,
    "GroupNormalization": group_norm,
    "LayerScale": layer_scale,
    "MultiHeadAttention": attention,
    "Normalization": normalization,
    "PReLU": prelu,
    "Rescaling": rescaling,
}


def slice_config(flow: Flow, call: Call, name: str, units: np.ndarray) -> None:
    """Shorten a list in a layer's config that holds one number per channel."""
    value = np.asarray(call.op.get_config().get(name), dtype=object)
    if value.ndim and value.shape[-1] == len(units):
        flow.config(call.path, lambda keep: {name: value[..., keep[units]].tolist()})


def _channel_axis(layer: Any) -> int:
    """Axis of the channels in a shape without the batch axis."""
    return 0 if getattr(layer, "data_format", "channels_last") == "channels_first" else -1


def _make(
    flow: Flow,
    call: Call,
    inputs: list[Lanes],
    kernel: Any,
    in_axis: int,
    out_axis: int,
    width: str,
    axis: int,
) -> list[Lanes]:
    flow.cut(kernel, in_axis, flow.read(call, inputs[0], axis), "reader", call.inputs[0].index)
    made = flow.fresh(call.path, kernel.shape[out_axis])
    flow.cut(kernel, out_axis, made, "maker")
    flow.config(call.path, lambda keep: {width: kept(keep, made)})
    return _follow(flow, call, made, axis)


def _follow(flow: Flow, call: Call, units: np.ndarray, axis: int) -> list[Lanes]:
    """Record the bias, and return the output's lanes with the activation's value at zero."""
    layer = call.op
    if layer.use_bias:
        flow.cut(layer.bias, 0, units, "follower")
    zeroed = pointwise_value(layer.activation, np.zeros(1))
    shape = call.outputs[0].shape[1:]
    if zeroed is None:
        flow.units.freeze(units, f"the activation of {call.path!r} mixes channels")
        return [Lanes.fixed(shape)]
    return [Lanes.along(shape, axis, units, float(zeroed[0]))]


def _grouped(flow: Flow, call: Call, inputs: list[Lanes]) -> list[Lanes]:
    """Grouped convolution: a group with its inputs and outputs is one unit."""
    layer, axis = call.op, _channel_axis(call.op)
    units = flow.read(call, inputs[0], axis)
    groups, size = layer.groups, len(units) // layer.groups
    whole = units[::size]
    flow.units.join(
        units, np.repeat(whole, size), f"it shares a group of {call.path!r} with fixed channels"
    )
    made = np.repeat(whole, layer.filters // groups)
    flow.cut(layer.kernel, -1, made, "follower")
    flow.config(
        call.path,
        lambda keep: {"filters": kept(keep, made), "groups": kept(keep, whole)},
    )
    return _follow(flow, call, made, axis)
