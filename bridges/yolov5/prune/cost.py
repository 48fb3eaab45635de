"""MACs and parameters of a detector as functions of what is kept, without building it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from bridges.yolov5.prune.groups import ChannelGroup
from models.yolov5.build import Graph
from models.yolov5.modules import Conv
from tfcompress.pruning.channels.core.budget import Counts

Widths = dict[str, list[int]]
"""[channels out, channels in] of convolutions and BatchNorms by path."""


class DetectorCost:
    """Cost of a detector for any choice of channels.

    Counted as `count_torch_cost` counts: in the deployed form, with BatchNorm folded into the
    convolutions of `Conv` blocks.

    Args:
        network: The detector or backbone; left as it is.
        groups: Its channel groups, from `find_groups`.
        side: Side in pixels of the square image that MACs are counted for.
    """

    def __init__(self, network: Graph, groups: Sequence[ChannelGroup], side: int) -> None:
        modules = dict(network.named_modules())
        self._convs = {path: m for path, m in modules.items() if isinstance(m, nn.Conv2d)}
        folded = {f"{path}.bn" for path, m in modules.items() if isinstance(m, Conv)}
        self._norms = {
            path: m
            for path, m in modules.items()
            if isinstance(m, nn.BatchNorm2d) and path not in folded
        }
        self._biased = {
            path
            for path, m in self._convs.items()
            if m.bias is not None or f"{path.rpartition('.')[0]}.bn" in folded
        }
        self._positions = _output_positions(network, self._convs, side)
        self._cuts = [
            (cut.layer, cut.part, group.name, group.width, len(cut.channels) // group.width)
            for group in groups
            for cut in group.cuts
            if cut.layer in self._convs or cut.layer in self._norms
        ]

    def macs(self, counts: Counts) -> float:
        """Multiply-accumulates of all convolutions on one image, in pairs of channels."""
        widths = self._widths(counts)
        return sum(
            positions * _pairs(self._convs[path], widths[path])
            for path, positions in self._positions.items()
        )

    def parameters(self, counts: Counts) -> float:
        """Number of weights and biases of all convolutions and BatchNorms."""
        widths = self._widths(counts)
        weights = sum(_pairs(conv, widths[path]) for path, conv in self._convs.items())
        biases = sum(widths[path][0] for path in self._biased)
        return weights + biases + sum(2 * widths[path][0] for path in self._norms)

    def _widths(self, counts: Counts) -> Widths:
        widths: Widths = {p: [m.out_channels, m.in_channels] for p, m in self._convs.items()}
        widths.update({p: [m.num_features, m.num_features] for p, m in self._norms.items()})
        for layer, part, name, width, each in self._cuts:
            widths[layer][part == "reader"] -= (width - counts.get(name, width)) * each
        return widths


def _pairs(conv: nn.Conv2d, width: Sequence[int]) -> float:
    """Weights of a convolution of another width.

    A depthwise convolution has one channel in for each out: its weights fall with one of them.
    """
    height, breadth = conv.kernel_size
    return height * breadth / conv.groups * width[0] * width[1]


def _output_positions(network: Graph, convs: dict[str, nn.Conv2d], side: int) -> dict[str, int]:
    """Pixels of each convolution's output map; a convolution that never runs is left out."""
    found: dict[str, int] = {}

    def note(path: str) -> Callable[..., None]:
        def hook(module: nn.Conv2d, inputs: tuple, output: torch.Tensor) -> None:
            found[path] = output.shape[2] * output.shape[3]

        return hook

    hooks = [conv.register_forward_hook(note(path)) for path, conv in convs.items()]
    training = network.training
    device = next(network.parameters()).device
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, side, side, device=device))
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    return found
