"""Channel pruning: plan which channels to remove, then build a model without them.

```python
plan = plan_channels(model, ChannelConfig(target_macs=0.5, score="fpgm"))
print(plan)
small = shrink(model, plan)         # a new model; the old one is untouched
```
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from tfcompress.data.batches import Batch, batches
from tfcompress.errors import ConfigError, LayerError, NothingToRemove
from tfcompress.graph.layers import walk_layers
from tfcompress.pruning.channels.config import ChannelConfig
from tfcompress.pruning.channels.core.budget import Candidate, Counts
from tfcompress.pruning.channels.core.plan import ChannelPlan, GroupPlan
from tfcompress.pruning.channels.core.scores import GRADIENT_SCORES, WEIGHT_SCORES, normalized
from tfcompress.pruning.channels.cost import ChannelCost
from tfcompress.pruning.channels.evidence import (
    data_scores,
    gamma_scores,
    random_scores,
    weight_scores,
)
from tfcompress.pruning.channels.reconstruction import reader_errors, refit
from tfcompress.pruning.channels.surgery import keep_of, without_channels
from tfcompress.pruning.channels.targets import Measure, kept_positions, widths_for
from tfcompress.pruning.channels.trace.groups import ChannelGraph, ChannelGroup, find_groups
from tfcompress.pruning.selection import Entry, check_entries


def plan_channels(
    model: Any,
    config: ChannelConfig,
    data: Any = None,
    loss: Callable[[Any, Any], Any] | None = None,
    measure: Measure | None = None,
    input_shapes: Sequence[tuple[int, ...]] | None = None,
    units_before: Mapping[str, int] | None = None,
) -> ChannelPlan:
    """Choose the channels to remove; the model is not changed.

    Args:
        model: Functional or Sequential model, Keras 3 or tf_keras.
        config: Target, and how channels are chosen.
        data: Samples, needed for the scores "apoz", "mean_activation" and "taylor": inputs,
            (inputs, targets), or an iterable of such batches that can be read twice (a list of
            tuples, a `tf.data.Dataset`). With data the plan has each group's reconstruction error.
        loss: Function `loss(targets, outputs)` for the score "taylor". Default: the loss that the
            model was compiled with.
        measure: Function from a model to milliseconds, needed for `target_latency_ms`.
        input_shapes: Shapes of the inputs without the batch axis, if the model leaves sizes free.
        units_before: Number of units that each group had before earlier rounds, by name: `min_kept`
            and the sparsities of `config_list` are shares of these. Default: those of `model`.

    Returns:
        The plan. If the target is missed by more than 2 % (10 % for latency), `notes` says why.

    Raises:
        ConfigError: An unknown layer in `config_list` or `exclude`; missing data, loss or
            `measure`; or a target that cannot be reached.
        LayerError: The model has no graph, or no channel can be removed.
        DataError: The data does not fit the model.
    """
    graph = find_groups(model)
    entries = config.entries()
    placed = list(walk_layers(model))
    check_entries(placed, entries)
    frozen, fixed, unused = _selected(graph, placed, entries)
    scores = _scores(graph, config, data, loss)
    for group in graph.groups:
        if group.name not in scores and group.name not in frozen:
            frozen[group.name] = f"score {config.score!r} has nothing to go by"
    candidates = _candidates(graph, config, frozen, fixed, scores, units_before or {})
    if not candidates:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(frozen.items())[:5])
        raise LayerError(
            f"model {model.name!r}",
            f"no channel can be removed ({reasons or 'it has no channel groups'})",
            "exclude fewer layers, or replace the layers that cannot be followed",
        )
    cost = ChannelCost(graph, input_shapes)
    counts, notes, latency = widths_for(graph, config, candidates, cost, measure)
    keep = graph.keep(kept_positions(candidates, counts))
    if keep.all():
        raise NothingToRemove(
            config.target, "it removes no channel", "ask for more, or lower min_kept or round_to"
        )
    whole = np.ones_like(keep)
    plan = ChannelPlan(
        model=model.name,
        groups=_group_plans(graph, candidates, counts, frozen),
        macs=(round(cost.macs(whole)), round(cost.macs(keep))),
        parameters=(round(cost.parameters(whole)), round(cost.parameters(keep))),
        latency_ms=latency,
        target=config.target,
        notes=(*notes, *unused, *(f"MACs uncounted in {p}: {why}" for p, why in cost.uncounted)),
        config=asdict(config),
    )
    if data is None:
        return plan
    samples = _batches(graph, data, at_most=64)
    return plan.with_errors(reader_errors(graph, kept_positions(candidates, counts), samples))


def shrink(model: Any, plan: ChannelPlan, reconstruct: bool = False, data: Any = None) -> Any:
    """Build a new model without the channels that a plan removes.

    Args:
        model: The planned model, or another checkpoint of the same architecture; not changed.
        plan: Plan made by `plan_channels`.
        reconstruct: Whether to refit the kernels that read pruned channels by least squares on
            `data`, so that their outputs come close to those before (He, Zhang, Sun, ICCV 2017).
        data: Samples to refit on: inputs, (inputs, targets), or an iterable of such batches.

    Returns:
        The new model with the remaining weights, compiled as the old one with a fresh optimizer.
        Without `reconstruct` its outputs equal those of the old model with the removed channels'
        kernels, biases, normalization parameters and statistics set to zero.

    Raises:
        ConfigError: The plan was made for a model with other layers or widths, or `reconstruct` is
            set without data.
    """
    if reconstruct and data is None:
        raise ConfigError("reconstruct", "it needs data", "pass data= to shrink")
    graph = find_groups(model)
    keep = keep_of(graph, plan)
    small = without_channels(graph, keep)
    if reconstruct:
        refit(graph, keep, small, _batches(graph, data, at_most=128))
    return small


def _selected(
    graph: ChannelGraph, placed: Sequence[Any], entries: Sequence[Entry]
) -> tuple[dict[str, str], dict[str, float], list[str]]:
    """Groups that stay whole with the reason, groups whose sparsity an entry fixes, and notes.

    An entry selects a group if it matches a layer that makes the group, or a depthwise or grouped
    convolution whose kernel shrinks with it.
    """
    by_path = {p.path: p for p in placed}
    frozen: dict[str, str] = {}
    fixed: dict[str, float] = {}
    used: set[int] = set()
    for group in graph.groups:
        if group.frozen:
            frozen[group.name] = group.frozen
        along = (p for p in group.followers if "Conv" in by_path[p].kind)
        for path in (*group.makers, *along):
            matching = [i for i, entry in enumerate(entries) if entry.matches(by_path[path])]
            used.update(matching)
            if not matching:
                continue
            entry = entries[matching[-1]]
            if entry.exclude:
                by = "is excluded" if entry.where == "exclude" else f"excluded by {entry.where}"
                frozen.setdefault(group.name, f"{path} {by}")
            else:
                fixed[group.name] = min(entry.sparsity, fixed.get(group.name, 1.0))
    unused = [
        f"{entry.where} names no layer whose channels could go"
        for i, entry in enumerate(entries)
        if i not in used
    ]
    return frozen, fixed, unused


def _scores(
    graph: ChannelGraph, config: ChannelConfig, data: Any, loss: Any
) -> dict[str, np.ndarray]:
    score, aggregate = config.score, config.aggregate
    alike = config.normalize != "none"
    if score in WEIGHT_SCORES:
        return weight_scores(graph, score, aggregate, alike)
    if score == "gamma":
        return gamma_scores(graph, aggregate, alike)
    if score == "random":
        return random_scores(graph, config.seed)
    if data is None:
        raise ConfigError(f"score {score!r}", "it needs data", "pass data= to plan_channels")
    if score in GRADIENT_SCORES and loss is None:
        loss = loss_of(graph.model, score)
    return data_scores(graph, score, _batches(graph, data), loss, aggregate)


def _batches(graph: ChannelGraph, data: Any, at_most: int = 256) -> Iterator[Batch]:
    wiring = graph.flow.wiring
    return batches(data, wiring.input_names, wiring.input_shapes, at_most=at_most)


def loss_of(model: Any, score: str = "taylor") -> Callable[[Any, Any], Any]:
    """The loss that a model was compiled with, as a function `loss(targets, outputs)`.

    Raises:
        ConfigError: The model was not compiled, or compiled with several losses.
    """
    loss = getattr(model, "loss", None)
    if isinstance(loss, (list, tuple, Mapping)) and len(loss) == 1:
        loss = next(iter(loss.values() if isinstance(loss, Mapping) else loss))
    if isinstance(loss, str):
        import keras

        return keras.losses.get(loss)
    if callable(loss):
        return loss
    raise ConfigError(
        "loss",
        f"score {score!r} needs one, and {model.name!r} is not compiled with a single loss",
        "pass loss=function of (targets, outputs)",
    )


def _candidates(
    graph: ChannelGraph,
    config: ChannelConfig,
    frozen: Mapping[str, str],
    fixed: Mapping[str, float],
    scores: Mapping[str, np.ndarray],
    units_before: Mapping[str, int],
) -> list[Candidate]:
    found = []
    for group in graph.groups:
        if group.name in frozen or (config.only_entries and group.name not in fixed):
            continue
        now = len(group.units)
        whole = units_before.get(group.name, now)
        sparsity = fixed.get(group.name)
        found.append(
            Candidate(
                name=group.name,
                scores=normalized(np.asarray(scores[group.name], float), config.normalize),
                locked=np.asarray(group.locked),
                size=group.size,
                minimum=min(now, math.ceil(config.min_kept * whole)),
                round_to=config.round_to,
                sparsity=None if sparsity is None else max(0.0, 1 - whole * (1 - sparsity) / now),
            )
        )
    return found


def _group_plans(
    graph: ChannelGraph,
    candidates: Sequence[Candidate],
    counts: Counts,
    frozen: Mapping[str, str],
) -> tuple[GroupPlan, ...]:
    kept = kept_positions(candidates, counts)

    def plan(group: ChannelGroup) -> GroupPlan:
        stays = kept.get(group.name, np.arange(len(group.units)))
        return GroupPlan(
            name=group.name,
            width=group.width,
            kept=tuple(stays.tolist()),
            size=group.size,
            makers=group.makers,
            readers=group.readers,
            frozen=frozen.get(group.name, ""),
        )

    return tuple(plan(group) for group in graph.groups)


__all__ = ["ChannelConfig", "ChannelPlan", "plan_channels", "shrink"]
