"""The layers that stand for one layer: unbuilt, of its flavor, with its settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def conv_layers(layer: Any, factors: Sequence[np.ndarray]) -> list[Any]:
    """Convolutions for two or three kernels in the place of a Conv2D.

    A 1x1 convolution without bias before the core commutes with zero padding, so padding and
    dilation are the core's alone. Of two 1x1 convolutions the first takes the strides.

    Args:
        layer: The Conv2D.
        factors: Kernels `(height, width, inputs, outputs)`.
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
    """Two Dense layers for two matrices in the place of one."""
    made = []
    for i, (factor, name) in enumerate(zip(factors, _names(layer, 2), strict=True)):
        config = _config(layer, name, last=i == 1)
        config.update(units=int(factor.shape[-1]))
        made.append(type(layer).from_config(config))
    return made


def _names(layer: Any, count: int) -> list[str]:
    """The last has the layer's own name, so that what is known by it (a head, a tap) is found."""
    return [*(f"{layer.name}_{part}" for part in ("in", "core")[: count - 1]), layer.name]


def _config(layer: Any, name: str, last: bool) -> dict[str, Any]:
    """The layer's config; bias, activation and what belongs to outputs are the last factor's."""
    config = {**layer.get_config(), "name": name, "trainable": layer.trainable}
    config.pop("batch_input_shape", None)  # tf_keras: of a Sequential's first layer
    if not last:
        config.update(use_bias=False, activation="linear", activity_regularizer=None)
    config["kernel_constraint"] = None  # it was meant for the whole kernel
    return config
