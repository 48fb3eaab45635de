"""MACs of every architecture of a search space at once, and their expectation under probabilities.

Each convolution of the supernet runs when all choices above it fall on it. With independent
choices, the expected MACs are the sum over convolutions of their MACs times the product of those
probabilities: exact, and differentiable in the probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from models.yolov5.search_space import Options

Path = tuple[tuple[str, str], ...]
"""The choices above a layer: (label, option), outermost first."""


@dataclass(frozen=True)
class SpaceCost:
    """MACs by the choices that they depend on.

    Attributes:
        options: Every choice of the space and its options, in order.
        macs: MACs of the layers that run exactly under each set of choices.
    """

    options: Mapping[str, tuple[str, ...]]
    macs: Mapping[Path, int]

    def of(self, choices: Mapping[str, str]) -> int:
        """MACs of one architecture."""
        return sum(
            macs
            for path, macs in self.macs.items()
            if all(choices[label] == option for label, option in path)
        )

    def expected(self, probabilities: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Expected MACs, a differentiable scalar.

        Args:
            probabilities: Vector over the options of each choice, in their order.
        """
        total = torch.zeros(())
        for path, macs in self.macs.items():
            share = torch.ones(())
            for label, option in path:
                share = share * probabilities[label][self.options[label].index(option)]
            total = total + macs * share
        return total

    def uniform(self) -> float:
        """Expected MACs when every option is equally probable."""
        even = {label: torch.full((len(o),), 1 / len(o)) for label, o in self.options.items()}
        return float(self.expected(even))


def measure_space(
    build: Callable[[Callable[[str, Options], nn.Module]], nn.Module], shape: tuple[int, int, int]
) -> SpaceCost:
    """Run a supernet once, without memory for its tensors, and note what each layer costs.

    Args:
        build: Function that builds the network of a space from a `pick`.
        shape: Image shape (C, H, W).
    """
    found: dict[str, tuple[str, ...]] = {}

    def all_options(label: str, options: Options) -> nn.Module:
        found[label] = tuple(options)
        return _AllOptions(label, {name: make() for name, make in options.items()})

    network = build(all_options).eval().to("meta")
    image = torch.zeros(1, *shape, device="meta")
    macs: dict[Path, int] = {}
    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            path = _path_to(network, name)
            hooks.append(
                module.register_forward_hook(
                    lambda layer, inputs, output, path=path: macs.__setitem__(
                        path, macs.get(path, 0) + _macs_of(layer, inputs[0], output)
                    )
                )
            )
    with torch.no_grad():
        network(image)
    return SpaceCost(options=found, macs=macs)


class _AllOptions(nn.Module):
    """All options, run one after the other; the first one's output goes on."""

    def __init__(self, label: str, options: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.label = label
        self.options = nn.ModuleDict(options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape that the options take."""
        return [option(x) for option in self.options.values()][0]


def _path_to(network: nn.Module, name: str) -> Path:
    """The choices above a module, from its path in the network."""
    path = []
    module, parts = network, name.split(".")
    for position, part in enumerate(parts):
        if isinstance(module, _AllOptions) and part == "options":
            path.append((module.label, parts[position + 1]))
        module = getattr(module, part) if not part.isdigit() else module[int(part)]
    return tuple(path)


def _macs_of(layer: nn.Module, given: torch.Tensor, output: torch.Tensor) -> int:
    """Multiply-accumulates of a layer on one image."""
    if isinstance(layer, nn.Linear):
        return output[0].numel() * layer.in_features
    kernel = math.prod(layer.kernel_size)
    if isinstance(layer, nn.ConvTranspose2d):
        return given[0].numel() * kernel * layer.out_channels // layer.groups
    return output[0].numel() * kernel * layer.in_channels // layer.groups
