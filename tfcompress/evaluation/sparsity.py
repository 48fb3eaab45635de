"""Zeros, counted in a finished Keras model or in the bytes of a LiteRT file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfcompress.graph.layers import kernels, walk_layers
from tfcompress.litert.model import LiteModel


@dataclass(frozen=True)
class Zeros:
    """Number of zeros in the kernels of one layer or of a whole model.

    Attributes:
        name: Layer path, or name of the tensor in a LiteRT file.
        weights: Number of kernel values (the dense size, even where the file stores them sparsely).
        zeros: Number of kernel values that are zero.
    """

    name: str
    weights: int
    zeros: int

    @property
    def sparsity(self) -> float:
        """Share of zeros, from 0 to 1."""
        return self.zeros / self.weights if self.weights else 0.0


def count_zeros(model: Any) -> list[Zeros]:
    """Count the zeros in the kernels of each layer; biases and normalization are left out.

    Args:
        model: Keras 3 or tf_keras model, or a `LiteModel`.

    Returns:
        One entry per layer with kernels (or per weight tensor of a LiteRT file), in order. A weight
        that several layers share is counted once.
    """
    if isinstance(model, LiteModel):
        return [Zeros(tensor.name, tensor.size, tensor.zeros) for _, tensor in model.file.weights()]
    counted, seen = [], set()
    for placed in walk_layers(model):
        weights = zeros = 0
        for _, variable in kernels(placed):
            if id(variable) in seen:
                continue
            seen.add(id(variable))
            value = np.asarray(variable)
            weights += value.size
            zeros += value.size - int(np.count_nonzero(value))
        if weights:
            counted.append(Zeros(placed.path, weights, zeros))
    return counted


def total_zeros(model: Any) -> Zeros:
    """Count the zeros in the kernels of a whole model, as in `count_zeros`."""
    counted = count_zeros(model)
    return Zeros(
        "total", sum(layer.weights for layer in counted), sum(layer.zeros for layer in counted)
    )
