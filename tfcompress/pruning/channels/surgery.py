"""Removal of channels: a new model without them, or the same one with zeros temporarily."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tfcompress.errors import ConfigError
from tfcompress.graph.layers import Key, named_weights
from tfcompress.graph.rebuild import Edit, rebuild
from tfcompress.pruning.channels.core.plan import ChannelPlan
from tfcompress.pruning.channels.trace.flow import Keep
from tfcompress.pruning.channels.trace.groups import ChannelGraph


def keep_of(graph: ChannelGraph, plan: ChannelPlan) -> Keep:
    """The mask of kept units that a plan gives for a model of the same architecture.

    Raises:
        ConfigError: The plan was made for a model with other groups, or removes locked channels.
    """
    ours = {group.name: (group.width, group.makers) for group in graph.groups}
    theirs = {group.name: (group.width, group.makers) for group in plan.groups}
    for name in {**theirs, **ours}:
        if ours.get(name) != theirs.get(name):
            raise ConfigError(
                f"group {name!r}",
                f"the plan for {plan.model!r} has {_width(theirs.get(name))}, the model "
                f"{graph.model.name!r} {_width(ours.get(name))}",
                "apply a plan to the model it was made for, or to a checkpoint of it",
            )
    locked = {group.name: np.asarray(group.locked) for group in graph.groups}
    reasons = {group.name: group.frozen for group in graph.groups}
    for group in plan.groups:
        gone = np.ones(len(locked[group.name]), bool)
        gone[list(group.kept)] = False
        if (gone & locked[group.name]).any():
            raise ConfigError(
                f"group {group.name!r}",
                f"the plan for {plan.model!r} removes channels that have to stay in the model "
                f"{graph.model.name!r} ({reasons[group.name] or 'some of them are frozen'})",
                "apply a plan to the model it was made for, or to a checkpoint of it",
            )
    return graph.keep({group.name: np.asarray(group.kept) for group in plan.groups})


def without_channels(graph: ChannelGraph, keep: Keep) -> Any:
    """A new model with only the channels that `keep` retains."""
    flow = graph.flow
    variables = named_weights(graph.model)
    weights: dict[Key, np.ndarray] = {}
    for key, axis, units in {(c.key, c.axis): (c.key, c.axis, c.units) for c in flow.cuts}.values():
        stays = keep[units]
        if not stays.all():
            value = weights.get(key)
            value = np.asarray(variables[key]) if value is None else value
            weights[key] = np.compress(stays, value, axis=axis)
    edits: dict[str, Edit] = {}
    for path in {*flow.configs, *flow.arguments}:
        config: dict[str, Any] = {}
        for rewrite in flow.configs.get(path, ()):
            config.update(rewrite(keep))
        rewrites = flow.arguments.get(path, ())
        edits[path] = Edit(config=config, arguments=_chained(rewrites, keep) if rewrites else None)
    return rebuild(graph.model, edits, weights)


@contextmanager
def zeroed(graph: ChannelGraph, keep: Keep) -> Iterator[None]:
    """Set removed channels of the graph's model to zero in place while the block runs."""
    variables = named_weights(graph.model)
    before: dict[Key, np.ndarray] = {}
    try:
        for cut in graph.flow.cuts:
            if cut.part == "reader" or keep[cut.units].all():
                continue
            value = np.array(variables[cut.key])
            before.setdefault(cut.key, value.copy())
            np.moveaxis(value, cut.axis, 0)[~keep[cut.units]] = 0
            variables[cut.key].assign(value)
        yield
    finally:
        for key, value in before.items():
            variables[key].assign(value)


def _chained(
    rewrites: Sequence[Callable[[Keep, Any], Any]], keep: Keep
) -> Callable[[tuple[Any, ...], dict[str, Any]], tuple[Any, Any]]:
    def arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        for rewrite in rewrites:
            args, kwargs = rewrite(keep, (args, kwargs))
        return args, kwargs

    return arguments


def _width(known: tuple[int, tuple[str, ...]] | None) -> str:
    return "no such group" if known is None else f"{known[0]} channels of {', '.join(known[1])}"
