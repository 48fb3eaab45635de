"""Split layers that int8 computes in several operators, so that each operator has a range.

A SeparableConv2D is a depthwise and a pointwise convolution (TFMOT would split it itself, under
names that nobody knows). A convolution or Dense with an activation for which TFMOT places no
quantizers, such as `relu6`, is a linear one and an Activation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfcompress.graph.rebuild import Edit, rebuild
from tfcompress.quantization.training.rules import KERNELS, OWN_ACTIVATIONS, activation_of
from tfcompress.twin.twin import Twin

Parts = Mapping[str, tuple[str, ...]]
"""Names of the twin's layers that stand for each layer of the original, by path."""


@dataclass(frozen=True)
class _Split:
    layers: tuple[Any, ...]
    weights: dict[tuple[str, str], np.ndarray]


def split_layers(twin: Twin) -> tuple[Twin, Parts]:
    """The twin with such layers split, and what stands for which layer of the original."""
    edits: dict[str, Edit] = {}
    weights: dict[tuple[str, str], np.ndarray] = {}
    parts = {path: (name,) for path, name in twin.names.items()}
    for path, name in twin.names.items():
        layer = twin.model.get_layer(name)
        kind = type(layer).__name__
        if kind == "SeparableConv2D":
            split = _separable(layer)
        elif kind in KERNELS and activation_of(layer) not in OWN_ACTIVATIONS:
            split = _with_activation(layer)
        else:
            continue
        edits[name] = Edit(replacement=split.layers)
        weights.update(split.weights)
        parts[path] = tuple(made.name for made in split.layers)
    if not edits:
        return twin, parts
    return Twin(twin.original, rebuild(twin.model, edits, weights), twin.names), parts


def joined(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Weights by role of a layer that was split, under the roles that it has itself."""
    if not {"kernel", "depthwise_kernel"} <= set(arrays):
        return dict(arrays)  # of one convolution alone
    return {{"kernel": "pointwise_kernel"}.get(role, role): a for role, a in arrays.items()}


def _separable(layer: Any) -> _Split:
    import tf_keras

    config = layer.get_config()
    shared = {key: config[key] for key in ("trainable", "data_format", "dtype")}
    spatial = ("kernel_size", "strides", "padding", "dilation_rate", "depth_multiplier")
    depthwise = tf_keras.layers.DepthwiseConv2D(
        **{key: config[key] for key in spatial},
        **shared,
        use_bias=False,
        depthwise_regularizer=layer.depthwise_regularizer,
        name=f"{layer.name}_depthwise",
    )
    pointwise = tf_keras.layers.Conv2D(
        config["filters"],
        1,
        activation=layer.activation,
        use_bias=config["use_bias"],
        kernel_regularizer=layer.pointwise_regularizer,
        bias_regularizer=layer.bias_regularizer,
        name=f"{layer.name}_pointwise",
        **shared,
    )
    values = [np.asarray(variable) for variable in layer.weights]
    weights = {(depthwise.name, "depthwise_kernel"): values[0]}
    for role, value in zip(("kernel", "bias"), values[1:], strict=False):
        weights[pointwise.name, role] = value
    return _Split((depthwise, pointwise), weights)


def _with_activation(layer: Any) -> _Split:
    import tf_keras

    linear = type(layer).from_config({**layer.get_config(), "activation": "linear"})
    activation = tf_keras.layers.Activation(layer.activation, name=f"{layer.name}_activation")
    weights = {
        (layer.name, variable.name.rsplit("/", 1)[-1].split(":")[0]): np.asarray(variable)
        for variable in layer.weights
    }
    return _Split((linear, activation), weights)
