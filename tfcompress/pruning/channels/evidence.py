"""Scores of channel groups from kernels, normalization layers, activations or gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tfcompress.data.batches import Batch
from tfcompress.errors import ConfigError
from tfcompress.graph.layers import named_weights
from tfcompress.graph.wiring import run
from tfcompress.pruning.channels.core.scores import (
    ACTIVATION_SCORES,
    GRADIENT_SCORES,
    SCORES,
    WEIGHT_SCORES,
    per_unit,
)
from tfcompress.pruning.channels.trace.flow import Cut
from tfcompress.pruning.channels.trace.groups import ChannelGraph

Loss = Callable[[Any, Any], Any]


def weight_scores(
    graph: ChannelGraph, score: str, aggregate: str, alike: bool = True
) -> dict[str, np.ndarray]:
    """A score of `WEIGHT_SCORES` per group: each maker's kernel, combined per unit.

    Args:
        graph: Channel groups of the model.
        score: Key of `WEIGHT_SCORES`.
        aggregate: Way to combine the scores of a unit's channels and makers: "mean", "sum", "max".
        alike: Whether each maker's scores are divided by their mean first, so that makers count
            the same regardless of their number of weights.

    Returns:
        (units,) scores by group name.
    """
    function = WEIGHT_SCORES[score]
    return _from_cuts(
        graph, "maker", lambda cut, value: function(_columns(value, cut.axis)), aggregate, alike
    )


def gamma_scores(graph: ChannelGraph, aggregate: str, alike: bool = True) -> dict[str, np.ndarray]:
    """|gamma| of the normalization that follows each group; groups without one are left out."""
    function = SCORES["gamma"]
    return _from_cuts(
        graph,
        "follower",
        lambda cut, value: function(value) if cut.key[1].split("#")[0] == "gamma" else None,
        aggregate,
        alike,
    )


def random_scores(graph: ChannelGraph, seed: int) -> dict[str, np.ndarray]:
    """Uniform noise per group."""
    generator = np.random.default_rng(seed)
    function = SCORES["random"]
    return {group.name: function(np.array(group.units), generator) for group in graph.groups}


def data_scores(
    graph: ChannelGraph,
    score: str,
    data: Iterable[Batch],
    loss: Loss | None,
    aggregate: str,
) -> dict[str, np.ndarray]:
    """A score from data per group, on the tensors that the group's readers read.

    Scores of several tensors of one group are averaged (activations) or summed (gradients, because
    Taylor scores are changes of the loss). Groups that no layer reads directly are left out.
    """
    slopes = score in GRADIENT_SCORES
    function = GRADIENT_SCORES[score] if slopes else ACTIVATION_SCORES[score]
    taps = sorted({cut.tensor for cut in graph.flow.cuts if cut.tensor is not None})
    taps = [index for index in taps if len(graph.flow.lanes[index].axes) == 1]
    totals: dict[int, np.ndarray] = {}
    samples = 0
    given = loss if slopes else None
    for activations, gradients, count in _observed(graph, taps, data, given, score):
        samples += count
        for index in taps:
            axis = graph.flow.lanes[index].axes[0] + 1
            values = np.moveaxis(activations[index], axis, -1)
            if slopes:
                gradient = np.moveaxis(gradients[index], axis, -1)
                form = (len(values), -1, values.shape[-1])
                found = function(values.reshape(form), gradient.reshape(form))
            else:
                found = function(values.reshape(-1, values.shape[-1]))
            totals[index] = totals.get(index, 0.0) + count * found
    positions = _positions(graph)
    results: dict[str, list[np.ndarray]] = {}
    for index in taps:
        units = graph.flow.units.roots(graph.flow.lanes[index].units.ravel())
        for name, unit, total in _per_group(graph, positions, units):
            results.setdefault(name, []).append(
                per_unit(totals[index] / samples, unit, total, aggregate)
            )
    combine = np.sum if slopes else np.mean
    return {name: combine(found, axis=0) for name, found in results.items()}


def _observed(
    graph: ChannelGraph, taps: list[int], data: Iterable[Batch], loss: Loss | None, score: str
) -> Iterable[tuple[dict[int, np.ndarray], dict[int, np.ndarray], int]]:
    """Yield (activations, gradients, number of samples) of the tapped tensors for each batch.

    Without a loss the gradients are empty.
    """
    import tensorflow as tf

    wiring = graph.flow.wiring
    outputs = [tensor.index for tensor in wiring.outputs]

    @tf.function(reduce_retracing=True)
    def observe(inputs: list[Any], targets: Any) -> tuple[dict[int, Any], dict[int, Any]]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            values = run(wiring, inputs, {*taps, *outputs})
            tapped = {index: values[index] for index in taps}
            if loss is None:
                return tapped, {}
            made = [values[index] for index in outputs]
            value = loss(targets, made[0] if len(made) == 1 else made)
        return tapped, tape.gradient(
            value, tapped, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )

    for inputs, targets in data:
        if loss is not None and targets is None:
            raise ConfigError(
                "data",
                f"score {score!r} needs targets, and it has none",
                "give (inputs, targets)",
            )
        activations, gradients = observe(wiring.as_tensors(inputs), targets)
        yield (
            {index: value.numpy() for index, value in activations.items()},
            {index: value.numpy() for index, value in gradients.items()},
            len(inputs[0]),
        )


def _from_cuts(
    graph: ChannelGraph,
    part: str,
    function: Callable[[Cut, np.ndarray], np.ndarray | None],
    aggregate: str,
    alike: bool,
) -> dict[str, np.ndarray]:
    variables = named_weights(graph.model)
    positions = _positions(graph)
    values: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    totals: dict[str, int] = {}
    for cut in graph.flow.cuts:
        if cut.part != part:
            continue
        found = function(cut, np.asarray(variables[cut.key], np.float32))
        if found is None:
            continue
        for name, unit, total in _per_group(graph, positions, cut.units):
            ours = found[unit >= 0]
            by = ours.mean() + 1e-12 if alike else 1.0
            scaled = np.where(unit >= 0, found / by, 0.0)
            values.setdefault(name, []).append((scaled, unit))
            totals[name] = total
    results = {}
    for name, pairs in values.items():
        scaled, unit = (np.concatenate(part) for part in zip(*pairs, strict=True))
        results[name] = per_unit(scaled, unit, totals[name], aggregate)
    return results


def _positions(graph: ChannelGraph) -> dict[int, tuple[int, int]]:
    """(Index of the group, position in the group) of each root unit."""
    return {
        unit: (i, position)
        for i, group in enumerate(graph.groups)
        for position, unit in enumerate(group.units)
    }


def _per_group(
    graph: ChannelGraph, positions: dict[int, tuple[int, int]], units: np.ndarray
) -> Iterable[tuple[str, np.ndarray, int]]:
    """Yield (name, position of each channel or -1, number of units) of the groups in an array."""
    at = [positions.get(unit, (-1, -1)) for unit in units.tolist()]
    owners = np.array([owner for owner, _ in at])
    places = np.array([place for _, place in at])
    for owner in np.unique(owners[owners >= 0]).tolist():
        group = graph.groups[owner]
        yield group.name, np.where(owners == owner, places, -1), len(group.units)


def _columns(value: np.ndarray, axis: int) -> np.ndarray:
    return np.moveaxis(value, axis, -1).reshape(-1, value.shape[axis])
