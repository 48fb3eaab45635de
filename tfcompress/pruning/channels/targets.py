"""The widths that reach a target, from the costs and the latency of a Keras model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfcompress.pruning.channels.config import ChannelConfig
from tfcompress.pruning.channels.core.budget import Candidate, Counts
from tfcompress.pruning.channels.core.latency import meet_latency, require_measure
from tfcompress.pruning.channels.core.targets import meet_target
from tfcompress.pruning.channels.cost import ChannelCost
from tfcompress.pruning.channels.surgery import without_channels
from tfcompress.pruning.channels.trace.groups import ChannelGraph

Measure = Callable[[Any], float]
"""A function from a model to its latency in milliseconds."""


def kept_positions(candidates: Sequence[Candidate], counts: Counts) -> dict[str, np.ndarray]:
    """Positions of the units that each group keeps."""
    return {c.name: c.kept(counts[c.name]) for c in candidates}


def widths_for(
    graph: ChannelGraph,
    config: ChannelConfig,
    candidates: Sequence[Candidate],
    cost: ChannelCost,
    measure: Measure | None,
) -> tuple[Counts, list[str], tuple[float, float] | None]:
    """Find the counts that reach the target; return them, notes, and (before, after) latencies.

    Raises:
        NothingToRemove: The model meets the latency already.
        ConfigError: The target is out of reach, or there is nothing to measure with.
    """

    def macs(counts: Counts) -> float:
        return cost.macs(graph.keep(kept_positions(candidates, counts)))

    def parameters(counts: Counts) -> float:
        return cost.parameters(graph.keep(kept_positions(candidates, counts)))

    if config.target_latency_ms is not None:
        clock = require_measure(measure)

        def milliseconds(counts: Counts | None) -> float:
            if counts is None:
                return clock(graph.model)
            return clock(without_channels(graph, graph.keep(kept_positions(candidates, counts))))

        return meet_latency(candidates, config, macs, milliseconds)
    channels = sum(group.width for group in graph.groups)
    frozen = [(group.name, group.frozen) for group in graph.groups if group.frozen]
    return *meet_target(candidates, config, channels, macs, parameters, frozen), None
