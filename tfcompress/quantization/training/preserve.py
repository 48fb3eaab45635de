"""Keep the zeros and clusters of kernels during quantization-aware training.

TFMOT's own sparsity- and cluster-preserving schemes cover Conv2D and Dense only, and lose zeros if
a convolution is followed by a separate ReLU. Here a constraint on the kernel's variable does it,
for any layer and optimizer: after each step masked weights are zero again, and the weights of a
cluster share their mean (the projection of the step onto equal values, which for plain gradient
descent is TFMOT's `GradientAggregation.AVG`).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import tensorflow as tf

from tfcompress.graph import constraint

Preserve = Literal["nothing", "sparsity", "clusters", "both"]
PRESERVE: tuple[str, ...] = ("nothing", "sparsity", "clusters", "both")
AT_MOST = 256
"""Largest number of clusters of a kernel: int8 has no more values."""


class TiedValues:
    """Weights of one cluster stay equal; those that are zero stay zero if asked.

    Attributes:
        index: Cluster of each weight, of the weight's shape.
        count: Number of clusters.
        pinned: Clusters that stay zero: 0.0 for these, 1.0 for the others.
        inner: The constraint that the variable had before, or None.
    """

    def __init__(self, index: np.ndarray, pinned: np.ndarray, inner: Any = None) -> None:
        self.index = tf.constant(index.ravel(), tf.int32)
        self.count = len(pinned)
        self.pinned = tf.constant(pinned, tf.float32)
        self.inner = inner

    def __call__(self, weight: Any) -> tf.Tensor:
        """The weight after an optimizer step, constrained and tied."""
        if self.inner is not None:
            weight = self.inner(weight)
        weight = tf.convert_to_tensor(weight)
        flat = tf.reshape(weight, [-1])
        means = tf.math.unsorted_segment_mean(flat, self.index, self.count)
        means *= tf.cast(self.pinned, means.dtype)
        return tf.reshape(tf.gather(means, self.index), tf.shape(weight))


def clusters_of(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """(cluster of each weight, value of each cluster); None if the kernel is not clustered.

    A kernel whose output channels (the last axis) each hold few values of their own is clustered
    per channel.
    """
    values, index = np.unique(kernel, return_inverse=True)
    if len(values) <= AT_MOST and len(values) < kernel.size // 2:
        return index.reshape(kernel.shape), values
    if kernel.ndim != 4:
        return None
    all_index, all_values, offset = np.zeros(kernel.shape, np.int64), [], 0
    for channel in range(kernel.shape[-1]):
        part = kernel[..., channel]
        values, index = np.unique(part, return_inverse=True)
        if len(values) > AT_MOST or len(values) > part.size // 2:
            return None
        all_index[..., channel] = index.reshape(part.shape) + offset
        all_values.append(values)
        offset += len(values)
    return all_index, np.concatenate(all_values)


def preserve(variable: Any, what: Preserve) -> str:
    """Make a kernel keep its zeros, its clusters, or both; returns what is kept, "" for nothing."""
    kernel = constraint.read(variable)
    zeros = kernel.size - int(np.count_nonzero(kernel))
    if what in ("clusters", "both"):
        found = clusters_of(kernel)
        if found is not None:
            index, values = found
            pin = what == "both"
            pinned = np.where((values == 0) & pin, 0.0, 1.0)
            inner = getattr(variable, "constraint", None)
            constraint.set_constraint(variable, TiedValues(index, pinned, inner))
            kept = f"{len(values)} values"
            return f"{zeros / kernel.size:.1%} zeros, {kept}" if pin and zeros else kept
    if what in ("sparsity", "both") and 0 < zeros < kernel.size:
        constraint.install(variable, kernel != 0)
        return f"{zeros / kernel.size:.1%} zeros"
    return ""
