"""Importance scores of channels: functions of arrays; a higher score means keep.

Scores from weights take a kernel of shape (fan_in, channels): a column holds all weights that one
channel sums over. Scores from data take activations or their gradients. To add a score, put a
function with the same arguments into `WEIGHT_SCORES`, `ACTIVATION_SCORES` or `GRADIENT_SCORES`.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable

import numpy as np


def l1(kernel: np.ndarray) -> np.ndarray:
    """Sum of absolute weights.

    Reference: Li, Kadav, Durdanovic, Samet, Graf: "Pruning Filters for Efficient ConvNets",
    ICLR 2017, section 3.1.
    """
    return np.abs(kernel).sum(axis=0)


def l2(kernel: np.ndarray) -> np.ndarray:
    """Euclidean norm.

    Reference: He, Kang, Dong, Fu, Yang: "Soft Filter Pruning for Accelerating Deep Convolutional
    Neural Networks", IJCAI 2018, equation 2 with p = 2.
    """
    return np.sqrt(np.square(kernel).sum(axis=0))


def fpgm(kernel: np.ndarray) -> np.ndarray:
    """Sum of distances to all other channels; a channel near the geometric median is replaceable.

    Reference: He, Liu, Wang, Hu, Yang: "Filter Pruning via Geometric Median for Deep Convolutional
    Neural Networks Acceleration", CVPR 2019, equation 4.
    """
    squares = np.square(kernel).sum(axis=0)
    distances = squares[:, None] + squares[None, :] - 2 * (kernel.T @ kernel)
    return np.sqrt(np.maximum(distances, 0)).sum(axis=1)


def apoz(activations: np.ndarray) -> np.ndarray:
    """Share of positive values: one minus the Average Percentage of Zeros (APoZ).

    Args:
        activations: (positions, channels) outputs of the activation function.

    Reference: Hu, Peng, Tai, Tang: "Network Trimming: A Data-Driven Neuron Pruning Approach
    towards Efficient Deep Architectures", 2016, equation 1.
    """
    return (activations > 0).mean(axis=0)


def mean_activation(activations: np.ndarray) -> np.ndarray:
    """Mean absolute activation.

    Reference: Molchanov, Tyree, Karras, Aila, Kautz: "Pruning Convolutional Neural Networks for
    Resource Efficient Inference", ICLR 2017, section 2.2 ("Activation").
    """
    return np.abs(activations).mean(axis=0)


def taylor(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """First-order change of the loss when a channel is set to zero.

    Args:
        activations: (samples, positions, channels) activations.
        gradients: (samples, positions, channels) gradients of the loss with respect to them.

    Reference: as `mean_activation`, equation 7: |mean over positions of a * dL/da|, averaged over
    samples.
    """
    return np.abs((activations * gradients).mean(axis=1)).mean(axis=0)


def gamma(values: np.ndarray) -> np.ndarray:
    """|gamma| of the normalization layer that follows.

    Reference: Liu, Li, Shen, Huang, Yan, Zhang: "Learning Efficient Convolutional Networks through
    Network Slimming", ICCV 2017, section 3.
    """
    return np.abs(values)


def random(units: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Uniform noise: the control experiment."""
    return generator.random(len(units))


Score = Callable[..., np.ndarray]

WEIGHT_SCORES: dict[str, Score] = {"l1": l1, "l2": l2, "fpgm": fpgm}
"""Scores of a kernel (fan_in, channels) of a layer that makes channels."""

ACTIVATION_SCORES: dict[str, Score] = {"apoz": apoz, "mean_activation": mean_activation}
"""Scores of activations (positions, channels), which need data."""

GRADIENT_SCORES: dict[str, Score] = {"taylor": taylor}
"""Scores of activations and gradients, which need data and a loss."""

DATA_SCORES = ChainMap(GRADIENT_SCORES, ACTIVATION_SCORES)
"""All scores that need data."""

OTHER_SCORES: dict[str, Score] = {"gamma": gamma, "random": random}

SCORES = ChainMap(OTHER_SCORES, GRADIENT_SCORES, ACTIVATION_SCORES, WEIGHT_SCORES)
"""All scores by name (a ChainMap lists its last map first)."""


def normalized(scores: np.ndarray, how: str) -> np.ndarray:
    """Make the scores of one group comparable with those of other groups.

    Args:
        scores: (units,) scores.
        how: "mean" divides by the mean, "max" by the largest, "gaussian" gives (s - mean) / std,
            "none" changes nothing.
    """
    if how == "none":
        return scores
    if how == "gaussian":
        return (scores - scores.mean()) / (scores.std() + 1e-12)
    reference = scores.mean() if how == "mean" else scores.max()
    return scores / (abs(reference) + 1e-12)


NORMALIZERS = ("mean", "max", "gaussian", "none")


def per_unit(values: np.ndarray, positions: np.ndarray, count: int, how: str) -> np.ndarray:
    """Combine the scores of the channels of each unit.

    Args:
        values: (channels,) scores.
        positions: (channels,) position of each channel's unit, 0 to count - 1; -1 for no unit.
        count: Number of units.
        how: Way to combine: "mean", "sum" or "max".

    Returns:
        (count,) scores.
    """
    ours = positions >= 0
    where, values = positions[ours], values[ours].astype(np.float64)
    if how == "max":
        result = np.full(count, -np.inf)
        np.maximum.at(result, where, values)
        return np.where(np.isfinite(result), result, 0.0)
    total = np.bincount(where, values, count)
    if how == "sum":
        return total
    return total / np.maximum(1, np.bincount(where, minlength=count))


AGGREGATES = ("mean", "sum", "max")
