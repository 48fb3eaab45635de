"""Structured pruning of a whole detector: a plan first, then a physically smaller detector.

plan = plan_detector(detector, PruneConfig(sparsity=0.3, method="l2"))
print(plan)                             # per group: width, kept, makers, readers, frozen and why
small = prune_detector(detector, plan)  # a new one; the given one is left as it is

Backbone, neck and head lose channels alike; only the outputs of `Detect` stay. The new detector
gives what the old one gives with the removed channels (filters, gamma, beta, moving statistics) set
to zero.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np
import torch
import torch_pruning
from torch import nn

from bridges.yolov5.detector.cost import count_torch_cost
from bridges.yolov5.prune.config import PruneConfig
from bridges.yolov5.prune.groups import ChannelGroup, find_groups
from bridges.yolov5.prune.scores import Batches, score_groups
from models.yolov5.build import Graph
from tfcompress.errors import ConfigError, LayerError, NothingToRemove
from tfcompress.pruning.channels.core.budget import (
    Candidate,
    Counts,
    counts_at,
    meet,
    meet_measured,
    meet_share,
)
from tfcompress.pruning.channels.core.plan import ChannelPlan, GroupPlan

Network = TypeVar("Network", bound=Graph)
"""A `Detector`, or a `Backbone`."""

Kept = Mapping[str, Sequence[int]]
"""Positions of the units that stay, by group."""


@dataclass(frozen=True)
class DetectorPlan(ChannelPlan):
    """A plan to remove channels of a detector; it prints, and goes to JSON and back."""


def plan_detector(
    detector: Network,
    config: PruneConfig,
    batches: Batches | None = None,
    measure: Callable[[Network], float] | None = None,
) -> DetectorPlan:
    """Choose channels; nothing is changed.

    Args:
        detector: To be pruned; or a backbone, whose output keeps its channels.
        config: Target and method.
        batches: Images and targets, for the methods that look at data.
        measure: A detector to its latency in milliseconds, for a latency target.

    Raises:
        NothingToRemove: The target is so near that no channel goes.
        ConfigError: The target cannot be reached, or batches or a measure are missing.
    """
    groups = find_groups(detector, config.exclude)
    free = [group for group in groups if not group.frozen]
    scores = score_groups(detector, free, config.method, batches, config.seed)
    frozen = {g.name: g.frozen for g in groups if g.frozen} | {
        g.name: f"nothing in it that {config.method} could score"
        for g in free
        if g.name not in scores
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
            "the detector", "every channel is frozen", "exclude fewer layers, or use another method"
        )
    macs = _macs_by_counts(detector, groups, config.side)
    notes: list[str] = []
    latency = None
    if config.target_latency_ms is not None:
        counts, latency = _meet_latency(detector, groups, config, candidates, macs, measure)
    else:
        held = sum(g.width for g in groups) - sum(len(c.scores) for c in candidates)
        what, measured, share = (
            ("MACs", macs, config.target_macs)
            if config.target_macs is not None
            else ("channels", lambda n: held + sum(n.values()), 1 - config.sparsity)
        )
        counts, notes = meet_share(
            candidates, measured, share, what, config.target, config.scope, tuple(frozen.items())
        )
    kept = {c.name: c.kept(counts[c.name]).tolist() for c in candidates}
    if all(len(kept[c.name]) == len(c.scores) for c in candidates):
        raise NothingToRemove(
            config.target,
            f"no channel goes: the smallest step is {config.round_to} channels",
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


def milliseconds_of(detector: Network, measure: Callable[[Network], float] | None) -> float:
    """A detector's latency.

    Raises:
        ConfigError: There is no measure.
    """
    if measure is None:
        raise ConfigError(
            "target_latency_ms",
            "there is nothing to measure with",
            "pass measure, a function of a detector that gives milliseconds",
        )
    return float(measure(detector))


def prune_detector(detector: Network, plan: DetectorPlan) -> Network:
    """A new detector without the channels that a plan removes, in evaluation mode.

    Args:
        detector: The one that was planned for, or one of the same wiring; left as it is.
        plan: Of `plan_detector`.

    Raises:
        LayerError: The plan is for another detector, or the result would not compute what the
            detector computes with these channels at zero.
    """
    groups, kept = _planned(detector, plan)
    small = _without(detector, groups, kept)
    _check_equal(_zeroed(detector, groups, kept), small)
    return small


def zero_removed(detector: Network, plan: DetectorPlan) -> Network:
    """A copy of the same widths with the channels that a plan removes set to zero.

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
    """The groups of a detector and what a plan keeps of each."""
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
    """A copy with channels removed, its `channels` as they are now."""
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
    """Channels out of each row, 0 of the head."""
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
    """Raise where removing channels and setting them to zero differ: a dependency was missed."""
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


def _macs_by_counts(
    detector: Network, groups: Sequence[ChannelGroup], side: int
) -> Callable[[Counts], float]:
    """MACs of all convolutions as a function of the units that each group keeps."""
    convs = {path: m for path, m in detector.named_modules() if isinstance(m, nn.Conv2d)}
    per_pair: dict[str, float] = {}

    def note(path: str) -> Callable[..., None]:
        def hook(module: nn.Conv2d, inputs: tuple, output: torch.Tensor) -> None:
            height, width = module.kernel_size
            positions = output.shape[2] * output.shape[3]
            per_pair[path] = positions * height * width / module.groups

        return hook

    hooks = [conv.register_forward_hook(note(path)) for path, conv in convs.items()]
    training = detector.training
    try:
        with torch.no_grad():
            detector.eval()(torch.zeros(1, 3, side, side, device=_device(detector)))
    finally:
        detector.train(training)
        for hook in hooks:
            hook.remove()
    cuts = [
        (cut.layer, cut.part, group.name, group.width, len(cut.channels) // group.width)
        for group in groups
        for cut in group.cuts
        if cut.layer in per_pair
    ]

    def macs(counts: Counts) -> float:
        wide = {path: [m.out_channels, m.in_channels] for path, m in convs.items()}
        for layer, part, name, width, each in cuts:
            lost = (width - counts.get(name, width)) * each
            wide[layer][part == "reader"] -= lost
        # A depthwise convolution has one channel in for each out: its pairs fall with one of them.
        return sum(each * wide[path][0] * wide[path][1] for path, each in per_pair.items())

    return macs


def _meet_latency(
    detector: Network,
    groups: Sequence[ChannelGroup],
    config: PruneConfig,
    candidates: Sequence[Candidate],
    macs: Callable[[Counts], float],
    measure: Callable[[Network], float] | None,
) -> tuple[Counts, tuple[float, float]]:
    """Counts for a measured latency, and the latency before and after."""
    wanted, before = float(config.target_latency_ms or 0), milliseconds_of(detector, measure)
    if before <= wanted:
        raise NothingToRemove(
            "target_latency_ms", f"the detector already takes {before:.2f} ms", "ask for less"
        )

    def milliseconds(counts: Counts) -> float:
        kept = {c.name: c.kept(counts[c.name]).tolist() for c in candidates}
        taken = milliseconds_of(_without(detector, groups, kept), measure)
        # The machine may be slower by now.
        return taken * before / milliseconds_of(detector, measure)

    least = milliseconds(counts_at(candidates, 1.0, config.scope))
    if least > 1.05 * wanted:
        raise ConfigError(
            config.target,
            f"it cannot be reached: with all that may go gone it still takes {least:.2f} ms",
            "ask for less, lower min_kept or round_to, or exclude fewer layers",
        )
    full = macs({})
    counts, taken = meet_measured(
        lambda share: meet(candidates, macs, share * full, config.scope),
        milliseconds,
        wanted,
        before,
    )
    return counts, (before, taken)
