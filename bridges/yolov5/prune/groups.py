"""Channel groups of a detector, read from torch-pruning's dependency graph.

A unit is removed as a whole: the channels that additions join, the channels that a depthwise
convolution passes on, and their positions in all layers that read them, also after concatenations.
Units that touch the same layers form a group. A group that cannot be followed with certainty is
frozen, with the reason.

Reference:
    Fang et al., DepGraph: Towards Any Structural Pruning, 2023, arXiv:2301.12900.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import numpy as np
import torch
import torch_pruning
from torch import nn

from models.yolov5.build import Detector, Graph
from tfcompress.errors import ConfigError
from tfcompress.internals.torch_pruning import CONCAT_AXIS, INDEX, KINDS
from tfcompress.pruning.channels.core.units import Units

Part = Literal["maker", "follower", "reader"]
Node = Any
"""A node of torch-pruning's dependency graph."""

FOLLOWED = (
    "Silu", "Relu", "Hardtanh", "Add", "MaxPool2DWithIndices", "AvgPool2D", "UpsampleNearest2D",
)  # fmt: skip
"""Operations that keep every channel in its position and turn zeros into zeros."""


@dataclass(frozen=True)
class Cut:
    """The channels of one layer that belong to a group.

    Attributes:
        layer: Path of a Conv2d or BatchNorm2d.
        part: "maker" for the filters of a convolution, "reader" for the channels that a convolution
            sums over, "follower" for channels that pass through (BatchNorm, depthwise convolution).
        channels: (n,) channels of the layer.
        units: (n,) unit of each channel.
    """

    layer: str
    part: Part
    channels: np.ndarray
    units: np.ndarray


@dataclass(frozen=True)
class ChannelGroup:
    """Units that touch the same layers.

    Attributes:
        name: Path of the first layer that makes the units.
        width: Number of units.
        cuts: Channels of each layer that belong to the group, in the order of the detector.
        frozen: Reason why the group stays whole; empty if it may lose units.
    """

    name: str
    width: int
    cuts: tuple[Cut, ...]
    frozen: str

    def layers(self, part: Part) -> tuple[str, ...]:
        """Paths of the layers of one part."""
        return tuple(cut.layer for cut in self.cuts if cut.part == part)


def find_groups(
    network: Graph, exclude: Sequence[str] = (), side: int = 64
) -> tuple[ChannelGroup, ...]:
    """The channel groups of a detector or a backbone, in the order of their makers.

    Args:
        network: Detector or backbone; not changed.
        exclude: Patterns of paths, such as "model.0.*"; groups that these layers make stay whole.
        side: Side in pixels of the square image that the network is traced with.

    Raises:
        ConfigError: A pattern matches no convolution.
    """
    traced = copy.deepcopy(network).cpu().requires_grad_(True)
    with torch.enable_grad():
        graph = torch_pruning.DependencyGraph().build_dependency(
            traced, (torch.zeros(1, 3, side, side),), verbose=False
        )
    paths = {module: path for path, module in traced.named_modules()}
    convs = [m for m in traced.modules() if isinstance(m, nn.Conv2d) and m in graph.module2node]
    excluded = _excluded(exclude, [paths[conv] for conv in convs])
    heads = set(traced.head.m) if isinstance(traced, Detector) else set()
    walk = _Walk(paths, excluded, heads)
    for conv in convs:
        if not _is_depthwise(conv):
            walk.start(graph.module2node[conv])
    return walk.groups()


class _Walk:
    """Follows every channel, and joins channels that have to be removed together."""

    def __init__(
        self, paths: dict[nn.Module, str], excluded: set[str], heads: set[nn.Module]
    ) -> None:
        self.paths = paths
        self.order = {path: place for place, path in enumerate(paths.values())}
        self.excluded = excluded
        self.heads = heads
        self.units = Units()
        self.seen: dict[tuple[Node, str, int], int] = {}

    def start(self, node: Node) -> None:
        """Follow the channels that a convolution makes and that were not reached before."""
        conv = node.module
        fresh = [i for i in range(conv.out_channels) if (node, "out", i) not in self.seen]
        if not fresh:
            return
        first = int(self.units.fresh(len(fresh))[0])
        # The mappings of torch-pruning track the origin of a channel only in this form.
        index = INDEX.get()
        handler = torch_pruning.prune_conv_out_channels
        marks = [index(idx=i, root_idx=first + k) for k, i in enumerate(fresh)]
        self._meet(node, "out", marks)
        stack = [(node, handler, marks)]
        while stack:
            node, handler, marks = stack.pop()
            for edge in node.dependencies:
                if not edge.is_triggered_by(handler):
                    continue
                there = marks
                for mapping in edge.index_mapping:
                    there = mapping(there) if mapping is not None else there
                there = self._meet(edge.target, _side(edge.target.module, edge.handler), there)
                if there:
                    stack.append((edge.target, edge.handler, there))

    def _meet(self, node: Node, side: str, marks: list[Any]) -> list[Any]:
        """Record channels that reach a node; return those that reach it for the first time."""
        reason = self._why_not(node, side)
        new, joined = [], []
        for mark in marks:
            key = (node, side, mark.idx)
            if key in self.seen:
                joined.append((self.seen[key], mark.root_idx))
            else:
                self.seen[key] = mark.root_idx
                new.append(mark)
        if joined:
            self.units.join(*np.array(joined).T, "")
        if reason:
            self.units.freeze(np.array([mark.root_idx for mark in marks]), reason)
        return [] if reason and side == "both" else new

    def _why_not(self, node: Node, side: str) -> str:
        """The reason why channels that reach a node have to stay; empty if they may be removed."""
        module, path = node.module, self.paths.get(node.module, "")
        if module in self.heads and side == "out":
            return "the head's outputs"
        if node.type == KINDS.get().OUTPUT:
            return "the network's output"
        if side == "out" and path in self.excluded:
            return f"{path} is excluded"
        if isinstance(module, nn.Conv2d):
            if module.groups == 1 or _is_depthwise(module):
                return ""
            return f"{path} is a convolution with {module.groups} groups"
        if isinstance(module, nn.BatchNorm2d):
            return ""
        if path or isinstance(module, nn.Parameter):
            kind = type(module).__name__
            return f"{path or 'a parameter'}: a {kind} cannot be given another width"
        name = node.grad_fn.name().removesuffix("Backward0").removesuffix("Backward1")
        if node.type == KINDS.get().CONCAT:
            known = node.module.offsets is not None and CONCAT_AXIS.of(node.grad_fn) == 1
            return "" if known else "it is not concatenated along the channels"
        return "" if name in FOLLOWED else f"{name} cannot be followed"

    def groups(self) -> tuple[ChannelGroup, ...]:
        """Units that touch the same layers, as groups."""
        touched: dict[int, list[tuple[str, Part, int]]] = defaultdict(list)
        for (node, side, channel), unit in self.seen.items():
            path = self.paths.get(node.module)
            if path is not None:
                touched[self.units.find(unit)].append((path, _PARTS[side], channel))
        alike: dict[tuple[Any, ...], list[int]] = defaultdict(list)
        for unit in sorted(touched):
            layers = {(path, part) for path, part, _ in touched[unit]}
            ordered = tuple(sorted(layers, key=lambda item: (self.order[item[0]], item[1])))
            alike[(ordered, self.units.frozen(unit))].append(unit)
        groups = []
        names: dict[str, int] = defaultdict(int)
        for (layers, reason), units in alike.items():
            places = {unit: place for place, unit in enumerate(units)}
            found: dict[tuple[str, Part], list[tuple[int, int]]] = defaultdict(list)
            for unit in units:
                for path, part, channel in touched[unit]:
                    found[path, part].append((channel, places[unit]))
            cuts = tuple(Cut(*layer, *np.array(sorted(found[layer])).T) for layer in layers)
            name = next(path for path, part in layers if part == "maker")
            names[name] += 1
            if names[name] > 1:
                name = f"{name}#{names[name]}"
            groups.append(ChannelGroup(name, len(units), cuts, reason))
        return tuple(groups)


_PARTS: dict[str, Part] = {"out": "maker", "in": "reader", "both": "follower"}


def _side(module: Any, handler: Any) -> str:
    """The channels of a layer that a step of the graph removes: "in", "out" or "both"."""
    if not isinstance(module, nn.Conv2d) or _is_depthwise(module):
        return "both"
    return "out" if handler == torch_pruning.prune_conv_out_channels else "in"


def _is_depthwise(conv: nn.Conv2d) -> bool:
    return conv.groups == conv.in_channels == conv.out_channels > 1


def _excluded(patterns: Iterable[str], convs: Sequence[str]) -> set[str]:
    found = set()
    for pattern in patterns:
        fitting = {path for path in convs if fnmatchcase(path, pattern)}
        if not fitting:
            raise ConfigError(
                "exclude",
                f"{pattern!r} matches no convolution",
                f"use a path or a pattern, such as {convs[0]} or model.0.*",
            )
        found |= fitting
    return found
