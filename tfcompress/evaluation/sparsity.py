"""Zeros, counted in the finished artefact: a Keras model or the bytes of a LiteRT file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfcompress.graph.layers import kernels, walk_layers
from tfcompress.litert.model import LiteModel


@dataclass(frozen=True)
class Zeros:
    """Zeros among the kernels of one layer, or of a whole model.

    Attributes:
        name: Layer path, or tensor name in a LiteRT file.
        weights: Values of its kernels (dense size where they are encoded sparsely).
        zeros: Of them zero.
    """

    name: str
    weights: int
    zeros: int

    @property
    def sparsity(self) -> float:
        """Share of zeros."""
        return self.zeros / self.weights if self.weights else 0.0


def count_zeros(model: Any) -> list[Zeros]:
    """Zeros of each layer with kernels, in order; biases and normalization are left out.

    Args:
        model: A Keras 3 or tf_keras model, or a `LiteModel`.
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
    """Zeros of a whole model."""
    counted = count_zeros(model)
    return Zeros(
        "total", sum(layer.weights for layer in counted), sum(layer.zeros for layer in counted)
    )
