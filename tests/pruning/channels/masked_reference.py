"""The masked model that a shrunk one has to equal, made without any of shrink's code.

Given the channels that each maker loses, the layers behind them that treat channels one by one
(normalization, depthwise and grouped convolutions, scales) are found by *poison*: the model runs
with NaN in place of every removed channel, and Keras itself carries the NaN through additions,
concatenations, reshapes and the rest. Then kernels, biases, normalization parameters and statistics
are zeroed at the poisoned positions, the model runs, and every array is put back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tfcompress.graph.layers import walk_layers

HUGE = 1e30
"""Max pooling passes NaN over and gives the lowest float where there is nothing else."""

Removed = Mapping[tuple[str, str], Sequence[int]]


def randomize(model: Any, seed: int = 0) -> None:
    """Give every weight and statistic a random value; a fresh BatchNorm hides errors."""
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        name = getattr(variable, "path", variable.name).split(":")[0]
        shape = tuple(variable.shape)
        if "seed_generator" in name or "float" not in str(variable.dtype):
            continue
        if name.endswith(("variance", "gamma")):
            value = generator.uniform(0.5, 1.5, shape)
        elif len(shape) >= 2:
            fan_in = max(1, int(np.prod(shape)) // max(shape[-1], 1))
            value = generator.normal(0, 1.2 / np.sqrt(fan_in), shape)
        else:
            value = generator.uniform(-0.5, 0.5, shape)
        variable.assign(value.astype("float32"))


def masked_outputs(model: Any, removed: Removed, inputs: Any) -> list[np.ndarray]:
    """Outputs of `model` with channels zeroed.

    Args:
        model: Either flavor; as it was afterwards.
        removed: Positions along the output axis by (maker path, kernel role).
        inputs: What the model takes.
    """
    layers = {placed.path: placed.layer for placed in walk_layers(model)}
    by_path: dict[str, list[int]] = {}
    for (path, _), positions in removed.items():
        by_path.setdefault(path, []).extend(positions)
    poisoned: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    with _hooked(layers, by_path, poisoned):
        made = _flat(model(inputs, training=False))
    if any(_nan_channels(value).any() for value in made):
        raise AssertionError("a removed channel reaches the output")
    before = {id(v): (v, np.asarray(v)) for layer in layers.values() for v in layer.weights}
    try:
        for path, positions in by_path.items():
            _zero_maker(path, layers[path], positions)
        for path, (entering, leaving) in poisoned.items():
            _zero_follower(layers[path], entering, leaving)
        return [np.asarray(value) for value in _flat(model(inputs, training=False))]
    finally:
        for variable, value in before.values():
            variable.assign(value)


@contextmanager
def _hooked(
    layers: Mapping[str, Any],
    removed: Mapping[str, Sequence[int]],
    poisoned: dict[str, tuple[np.ndarray, np.ndarray]],
) -> Iterator[None]:
    """Makers give NaN at removed channels; followers note at which channels NaN passes."""
    import tensorflow as tf

    def clean(value: Any) -> Any:
        if not tf.as_dtype(value.dtype).is_floating:
            return value
        return tf.where(tf.abs(value) < HUGE, value, tf.zeros_like(value))

    def maker(inner: Any, positions: Sequence[int]) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            args = tf.nest.map_structure(clean, args)
            out = inner(*args, **kwargs)
            mask = np.zeros(out.shape[-1], bool)
            mask[list(positions)] = True
            return tf.where(mask, tf.constant(np.nan, out.dtype), clean(out))

        return call

    def follower(path: str, inner: Any) -> Any:
        def call(x: Any, *args: Any, **kwargs: Any) -> Any:
            out = inner(x, *args, **kwargs)
            entering, leaving = _nan_channels(x), _nan_channels(out)
            if entering.any() or leaving.any():
                poisoned[path] = (entering, leaving)
            return out

        return call

    hooked = []
    for path, layer in layers.items():
        if path in removed or _is_plain_maker(layer):
            if "/" in path and "attention" in type(layers[path.rsplit("/", 1)[0]]).__name__.lower():
                continue
            hook = maker(layer.call, removed.get(path, ()))
        elif _is_follower(layer):
            hook = follower(path, layer.call)
        else:
            continue
        object.__setattr__(layer, "call", hook)
        hooked.append(layer)
    try:
        yield
    finally:
        for layer in hooked:
            vars(layer).pop("call", None)


def _is_plain_maker(layer: Any) -> bool:
    kind = type(layer).__name__
    return (
        kind in ("Dense", "SeparableConv1D", "SeparableConv2D")
        or kind.endswith("DTranspose")
        or (kind in ("Conv1D", "Conv2D", "Conv3D") and layer.groups == 1)
    )


def _is_follower(layer: Any) -> bool:
    kind = type(layer).__name__
    return (
        kind in ("BatchNormalization", "GroupNormalization", "LayerScale", "PReLU")
        or kind.startswith("DepthwiseConv")
        or (kind in ("Conv1D", "Conv2D", "Conv3D") and layer.groups > 1)
    )


def _nan_channels(value: Any) -> np.ndarray:
    array = ~(np.abs(np.asarray(value)) < HUGE)
    return array.reshape(-1, array.shape[-1]).any(axis=0)


def _zero_maker(path: str, layer: Any, positions: Sequence[int]) -> None:
    kind = type(layer).__name__
    if kind == "Embedding":
        return _zero(layer.embeddings, -1, positions)
    if kind == "EinsumDense":  # inside attention: heads, or the output axis
        heads = not path.endswith("attention_output")
        _zero(layer.kernel, 1 if heads else -1, positions)
        return _zero(layer.bias, 0 if heads else -1, positions)
    if kind.startswith("SeparableConv"):
        _zero(layer.pointwise_kernel, -1, positions)
    else:
        _zero(layer.kernel, -2 if kind.endswith("DTranspose") else -1, positions)
    return _zero(layer.bias, -1, positions)


def _zero_follower(layer: Any, entering: np.ndarray, leaving: np.ndarray) -> None:
    kind = type(layer).__name__
    if kind == "PReLU":
        return
    if kind.startswith("DepthwiseConv"):
        kernel = getattr(layer, "depthwise_kernel", None)
        _zero(layer.kernel if kernel is None else kernel, -2, np.flatnonzero(entering))
        _zero(layer.bias, -1, np.flatnonzero(leaving))
    elif kind.startswith("Conv"):
        _zero(layer.kernel, -1, np.flatnonzero(leaving))
        _zero(layer.bias, -1, np.flatnonzero(leaving))
    else:
        for variable in layer.weights:
            _zero(variable, -1, np.flatnonzero(leaving))


def _zero(variable: Any, axis: int, positions: Any) -> None:
    if variable is None:
        return
    value = np.array(variable)
    np.moveaxis(value, axis, 0)[list(positions)] = 0
    variable.assign(value)


def _flat(value: Any) -> list[Any]:
    import tensorflow as tf

    return tf.nest.flatten(value)
