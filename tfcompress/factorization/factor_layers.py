"""Unbuilt layers that replace a factored layer, of the same flavor and with its settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def conv_layers(layer: Any, factors: Sequence[np.ndarray]) -> list[Any]:
    """Make two or three convolutions that replace a Conv2D.

    A 1x1 convolution without bias before the core commutes with zero padding, so only the core
    convolution is padded and dilated. Of two 1x1 convolutions the first takes the strides.

    Args:
        layer: The Conv2D that is replaced.
        factors: Kernels of the new layers, each `(height, width, inputs, outputs)`: three for
            Tucker-2, two for SVD.

    Returns:
        Unbuilt Conv2D layers, in the order in which they are called.
    """
    spatial = 1 if len(factors) == 3 else 0
    made = []
    for i, (factor, name) in enumerate(zip(factors, _names(layer, len(factors)), strict=True)):
        config = _config(layer, name, last=i == len(factors) - 1)
        config.update(filters=int(factor.shape[-1]), kernel_size=factor.shape[:2])
        if i != spatial:
            config.update(strides=(1, 1), dilation_rate=(1, 1), padding="valid")
        made.append(type(layer).from_config(config))
    return made


def dense_layers(layer: Any, factors: Sequence[np.ndarray]) -> list[Any]:
    """Make two Dense layers, with kernels `(inputs, rank)` and `(rank, outputs)`."""
    made = []
    for i, (factor, name) in enumerate(zip(factors, _names(layer, 2), strict=True)):
        config = _config(layer, name, last=i == 1)
        config.update(units=int(factor.shape[-1]))
        made.append(type(layer).from_config(config))
    return made


def _names(layer: Any, count: int) -> list[str]:
    """Names of the new layers; the last keeps the old name, so that heads and taps are found."""
    return [*(f"{layer.name}_{part}" for part in ("in", "core")[: count - 1]), layer.name]


def _config(layer: Any, name: str, last: bool) -> dict[str, Any]:
    """The layer's config; only the last factor keeps bias, activation and activity regularizer."""
    config = {**layer.get_config(), "name": name, "trainable": layer.trainable}
    config.pop("batch_input_shape", None)  # tf_keras sets it in the first layer of a Sequential
    if not last:
        config.update(use_bias=False, activation="linear", activity_regularizer=None)
    config["kernel_constraint"] = None  # it was made for the kernel that is replaced
    return config
