"""From a target to the number of channels that each group keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfcompress.errors import ConfigError, NothingToRemove
from tfcompress.pruning.channels.config import ChannelConfig
from tfcompress.pruning.channels.core.budget import (
    Candidate,
    Counts,
    counts_at,
    meet,
    meet_measured,
    meet_share,
)
from tfcompress.pruning.channels.cost import ChannelCost
from tfcompress.pruning.channels.surgery import without_channels
from tfcompress.pruning.channels.trace.groups import ChannelGraph

Measure = Callable[[Any], float]
"""A model to its latency in milliseconds."""


def kept_positions(candidates: Sequence[Candidate], counts: Counts) -> dict[str, np.ndarray]:
    """Positions of the units that each group keeps."""
    return {c.name: c.kept(counts[c.name]) for c in candidates}


def meet_cost(
    graph: ChannelGraph, config: ChannelConfig, candidates: Sequence[Candidate], cost: ChannelCost
) -> tuple[Counts, list[str]]:
    """Counts for a target in channels, MACs or parameters, or for the entries' own sparsities."""
    sizes = {group.name: group.size for group in graph.groups}
    total = sum(group.width for group in graph.groups)
    held = total - sum(c.size * len(c.scores) for c in candidates)

    def channels(counts: Counts) -> float:
        return held + sum(sizes[name] * count for name, count in counts.items())

    def macs(counts: Counts) -> float:
        return cost.macs(graph.keep(kept_positions(candidates, counts)))

    def parameters(counts: Counts) -> float:
        return cost.parameters(graph.keep(kept_positions(candidates, counts)))

    if config.target_macs is not None:
        what, measured, share = "MACs", macs, config.target_macs
    elif config.target_parameters is not None:
        what, measured, share = "parameters", parameters, config.target_parameters
    elif config.sparsity is not None:
        what, measured, share = "channels", channels, 1 - config.sparsity
    else:
        return counts_at(candidates, 0.0, config.scope), []
    frozen = [(group.name, group.frozen) for group in graph.groups if group.frozen]
    return meet_share(candidates, measured, share, what, config.target, config.scope, frozen)


def meet_latency(
    graph: ChannelGraph,
    config: ChannelConfig,
    candidates: Sequence[Candidate],
    cost: ChannelCost,
    measure: Measure | None,
) -> tuple[Counts, list[str], tuple[float, float]]:
    """Counts for a measured latency: the MACs are moved until the measurement fits."""
    if measure is None:
        raise ConfigError(
            "target_latency_ms",
            "there is nothing to measure with",
            "pass measure=model -> milliseconds to plan_channels",
        )
    wanted = float(config.target_latency_ms or 0)
    before = float(measure(graph.model))
    if before <= wanted:
        raise NothingToRemove(
            "target_latency_ms", f"the model already takes {before:.2f} ms", "ask for less"
        )
    full = cost.macs(np.ones(len(graph.flow.units) + 1, bool))

    def counts_for(share: float) -> Counts:
        return meet(
            candidates,
            lambda counts: cost.macs(graph.keep(kept_positions(candidates, counts))),
            share * full,
            config.scope,
        )

    def milliseconds(counts: Counts) -> float:
        keep = graph.keep(kept_positions(candidates, counts))
        taken = float(measure(without_channels(graph, keep)))
        return taken * before / float(measure(graph.model))  # the machine may be slower by now

    counts, taken = meet_measured(counts_for, milliseconds, wanted, before)
    notes = []
    if abs(taken / wanted - 1) > 0.1:
        notes.append(
            f"reached {taken:.2f} ms instead of {wanted:.2f} ms, the nearest of what was tried: "
            "latency jumps between widths, or frozen layers and min_kept leave no more to remove"
        )
    return counts, notes, (before, taken)
