"""Structured pruning of a whole detector: a plan first, then a physically smaller detector.

plan = plan_detector(detector, PruneConfig(sparsity=0.3, score="l2"))
print(plan)                             # per group: width, kept, makers, readers, frozen and why
small = prune_detector(detector, plan)  # a new detector; the given one is not changed

Backbone, neck and head lose channels; only the outputs of `Detect` stay. The outputs of the new
detector equal those of the old one with the removed channels (filters, gamma, beta, moving
statistics) set to zero.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

import numpy as np
import torch
import torch_pruning
from torch import nn

from bridges.yolov5.detector.cost import count_torch_cost
from bridges.yolov5.prune.config import PruneConfig
from bridges.yolov5.prune.cost import DetectorCost
from bridges.yolov5.prune.groups import ChannelGroup, find_groups
from bridges.yolov5.prune.scores import Batches, score_groups
from models.yolov5.build import Graph
from tfcompress.errors import ConfigError, LayerError, NothingToRemove
from tfcompress.pruning.channels.core.budget import Candidate, Counts
from tfcompress.pruning.channels.core.latency import meet_latency, require_measure
from tfcompress.pruning.channels.core.plan import ChannelPlan, GroupPlan
from tfcompress.pruning.channels.core.targets import meet_target

Network = TypeVar("Network", bound=Graph)
"""A `Detector` or a `Backbone`."""

Kept = Mapping[str, Sequence[int]]
"""Positions of the units that stay, by group."""


@dataclass(frozen=True)
class DetectorPlan(ChannelPlan):
    """A plan to remove channels of a detector, which prints as a table and is saved as JSON."""

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> DetectorPlan:
        """Read a plan.

        Raises:
            ConfigError: The file is missing or holds no plan.
        """
        plan = super().load(path)
        config = dict(plan.config)
        if "method" in config:  # the score's name until 0.1.0
            config["score"] = config.pop("method")
        return replace(plan, config=config)


def plan_detector(
    detector: Network,
    config: PruneConfig,
    batches: Batches | None = None,
    measure: Callable[[Network], float] | None = None,
) -> DetectorPlan:
    """Choose the channels to remove; nothing is changed.

    Args:
        detector: The detector to prune; or a backbone, whose output keeps its channels.
        config: The target and how channels are chosen.
        batches: Images and targets, needed for the scores that look at data.
        measure: Function from a detector to milliseconds, needed for a latency target.

    Returns:
        The plan. Where the target is missed by more than 2 % (10 % for latency), `notes` says why.

    Raises:
        NothingToRemove: The target is so near that it removes no channel.
        ConfigError: The target cannot be reached, or batches or a measure are missing.
    """
    groups = find_groups(detector, config.exclude)
    free = [group for group in groups if not group.frozen]
    scores = score_groups(detector, free, config.score, batches, config.seed)
    frozen = {g.name: g.frozen for g in groups if g.frozen} | {
        g.name: f"score {config.score!r} has nothing to go by" for g in free if g.name not in scores
    }
    candidates = [
        Candidate(
            group.name,
            scores[group.name],
            np.zeros(group.width, bool),
            minimum=int(np.ceil(config.min_kept * group.width)),
            round_to=config.round_to,
        )
        for group in free
        if group.name in scores
    ]
    if not candidates:
        raise ConfigError(
            "the detector", "every channel is frozen", "exclude fewer layers, or use another score"
        )
    counts, notes, latency = _widths_for(detector, groups, config, candidates, frozen, measure)
    kept = {c.name: c.kept(counts[c.name]).tolist() for c in candidates}
    if all(len(kept[c.name]) == len(c.scores) for c in candidates):
        raise NothingToRemove(
            config.target,
            f"it removes no channel: the smallest step is {config.round_to} channels",
            "ask for more, or lower round_to",
        )
    shape = (3, config.side, config.side)
    before = count_torch_cost(detector, shape)
    after = count_torch_cost(_without(detector, groups, kept), shape)
    return DetectorPlan(
        model=detector.architecture.name,
        groups=tuple(
            GroupPlan(
                name=group.name,
                width=group.width,
                kept=tuple(kept.get(group.name, range(group.width))),
                size=1,
                makers=group.layers("maker"),
                readers=group.layers("reader"),
                frozen=frozen.get(group.name, ""),
            )
            for group in groups
        ),
        macs=(before.macs, after.macs),
        parameters=(before.parameters, after.parameters),
        latency_ms=latency,
        target=config.target,
        notes=tuple(notes),
        config=asdict(config),
    )


def _widths_for(
    detector: Network,
    groups: Sequence[ChannelGroup],
    config: PruneConfig,
    candidates: Sequence[Candidate],
    frozen: Mapping[str, str],
    measure: Callable[[Network], float] | None,
) -> tuple[Counts, list[str], tuple[float, float] | None]:
    """Counts that reach the config's target, notes, and (before, after) of a latency target."""
    cost = DetectorCost(detector, groups, config.side)
    if config.target_latency_ms is not None:
        clock = require_measure(measure)

        def milliseconds(counts: Counts | None) -> float:
            if counts is None:
                return clock(detector)
            kept = {c.name: c.kept(counts[c.name]).tolist() for c in candidates}
            return clock(_without(detector, groups, kept))

        return meet_latency(
            candidates, config, cost.macs, milliseconds, "the detector", refuse_unreachable=True
        )
    channels = sum(group.width for group in groups)
    listed = tuple(frozen.items())
    return *meet_target(candidates, config, channels, cost.macs, cost.parameters, listed), None


def prune_detector(detector: Network, plan: DetectorPlan) -> Network:
    """Build a new detector without the channels that a plan removes, in evaluation mode.

    Args:
        detector: Planned detector, or one of the same architecture; not changed.
        plan: Plan made by `plan_detector`.

    Raises:
        LayerError: The plan is for another detector, or the outputs differ from those of the
            detector with these channels set to zero.
    """
    groups, kept = _planned(detector, plan)
    small = _without(detector, groups, kept)
    _check_equal(_zeroed(detector, groups, kept), small)
    return small


def zero_removed(detector: Network, plan: DetectorPlan) -> Network:
    """A copy of the same width in which the channels that a plan removes are zero.

    Raises:
        LayerError: The plan is for another detector.
    """
    return _zeroed(detector, *_planned(detector, plan))


def _zeroed(detector: Network, groups: Sequence[ChannelGroup], kept: Kept) -> Network:
    masked = copy.deepcopy(detector).eval()
    with torch.no_grad():
        for group in groups:
            for cut in group.cuts:
                module = masked.get_submodule(cut.layer)
                if cut.part == "reader":
                    continue
                gone = torch.from_numpy(cut.channels[~np.isin(cut.units, kept[group.name])])
                for tensor in (module.weight, module.bias):
                    if tensor is not None:
                        tensor[gone] = 0
                if isinstance(module, nn.BatchNorm2d):
                    module.running_mean[gone] = 0
                    module.running_var[gone] = 0
    return masked


def _planned(detector: Network, plan: DetectorPlan) -> tuple[tuple[ChannelGroup, ...], Kept]:
    """The groups of a detector, and the units of each that a plan keeps."""
    groups = find_groups(detector)
    planned = {group.name: group for group in plan.groups}
    for group in groups:
        if group.name not in planned or planned[group.name].width != group.width:
            there = planned[group.name].width if group.name in planned else "none"
            raise LayerError(
                group.name,
                f"the detector has {group.width} channels, the plan {there}",
                "apply the plan to the detector that it was made for",
            )
    return groups, {name: group.kept for name, group in planned.items()}


def _without(detector: Network, groups: Sequence[ChannelGroup], kept: Kept) -> Network:
    """A copy without the removed channels, with its attribute `channels` updated."""
    small = copy.deepcopy(detector).eval()
    gone: dict[tuple[str, str], list[int]] = {}
    for group in groups:
        staying = kept.get(group.name, range(group.width))
        for cut in group.cuts:
            lost = cut.channels[~np.isin(cut.units, staying)].tolist()
            if lost:
                gone.setdefault((cut.layer, cut.part), []).extend(lost)
    for (layer, part), channels in gone.items():
        module = small.get_submodule(layer)
        remove = (
            torch_pruning.prune_batchnorm_out_channels
            if isinstance(module, nn.BatchNorm2d)
            else _REMOVE[part]
        )
        remove(module, channels)
    small.channels = _channels(small)
    return small


_REMOVE = {
    "maker": torch_pruning.prune_conv_out_channels,
    "reader": torch_pruning.prune_conv_in_channels,
    "follower": torch_pruning.prune_depthwise_conv_out_channels,
}


def _channels(detector: Network, side: int = 64) -> list[int]:
    """Number of output channels of each row; 0 for the head."""
    found: list[int] = []
    hooks = [
        row.register_forward_hook(
            lambda module, inputs, y: found.append(y.shape[1] if torch.is_tensor(y) else 0)
        )
        for row in detector.model
    ]
    try:
        with torch.no_grad():
            detector(torch.zeros(1, 3, side, side, device=_device(detector)))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _check_equal(masked: Graph, small: Graph, side: int = 64) -> None:
    """Raise if removing channels differs from setting them to zero: a dependency was missed."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, 3, side, side, generator=generator).to(_device(masked))
    with torch.no_grad():
        outputs = [y if isinstance(y, list) else [y] for y in (masked(x), small(x))]
        for level, (a, b) in enumerate(zip(*outputs, strict=True)):
            gap, size = float((a - b).abs().max()), float(a.abs().max())
            if gap > 1e-4 * max(size, 1.0):
                raise LayerError(
                    f"output {level}",
                    f"it differs by {gap:.2g} from the detector with these channels at zero",
                    "report it: a dependency between layers was missed",
                )


def _device(network: Graph) -> torch.device:
    return next(network.parameters()).device
