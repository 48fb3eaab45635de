"""The search space of backbones around YOLOv5's: kernels, activations, widths, kinds of blocks.

A space is built with a function `pick(label, options)` that decides what each choice becomes. To
freeze an architecture, it makes the chosen option. To search, it makes all options (with NNI's
LayerChoice). To list the space, it records the labels. The built network contains no module that
its forward pass does not use, and a frozen backbone has the parameter names of a plain one.

Choices, for row i of an architecture file:

```text
NASConv   conv_i       kernel and padding, such as k3p1, k5p2, k1p0
          conv_i_act   silu, identity, relu
NASC3     c3_i         hidden width: x1, x1_5, x2
          c3_i_cv1, c3_i_cv2 (each with _act)
          c3_i_mj      hidden width of bottleneck j: x1, x1_5, x2
NASBlock  block_i      residual, inception, bottleneck, separable convolution, pooling or
                       identity, each with its kernel and width
```

Reference:
    Liu et al., DARTS, 2018, arXiv:1806.09055, and Pham et al., ENAS, 2018, arXiv:1802.03268, for
    the methods that search such spaces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from models.yolov5.architecture_file import Architecture, ArchitectureError, read_architecture
from models.yolov5.build import (
    Backbone,
    Detector,
    assemble_backbone,
    assemble_detector,
)
from models.yolov5.modules import C3, Bottleneck, Conv, same_padding

Options = Mapping[str, Callable[[], nn.Module]]
Pick = Callable[[str, Options], nn.Module]
Choices = Mapping[str, str]

ACTIVATIONS: Options = {"silu": nn.SiLU, "identity": nn.Identity, "relu": nn.ReLU}
WIDTHS = {"x1": 1.0, "x1_5": 1.5, "x2": 2.0}
SEARCHED = {"Conv": "NASConv", "C3": "NASC3"}
"""Module with choices that replaces a plain module in a search space."""


def searchable(architecture: Architecture) -> Architecture:
    """Replace every Conv and C3 of the backbone by its searchable form."""
    rows = tuple(
        replace(row, module=SEARCHED.get(row.module, row.module)) for row in architecture.backbone
    )
    return replace(architecture, backbone=rows)


def build_backbone_space(
    source: str | Path | Architecture, pick: Pick, in_channels: int = 3
) -> Backbone:
    """Build a backbone whose choices are made by `pick`.

    Args:
        source: Architecture with NAS rows, or a plain one, whose rows become searchable; or its
            name or path.
        pick: Function that makes the module of each choice.
        in_channels: Number of channels of the images.

    Raises:
        ArchitectureError: The file is invalid.
    """
    return assemble_backbone(as_space(source), in_channels, placed=_placed(pick))


def build_detector_space(
    source: str | Path | Architecture, pick: Pick, names: tuple[str, ...] = (), in_channels: int = 3
) -> Detector:
    """Build a detector in whose backbone the choices are made by `pick`; neck and head are plain.

    Args:
        source: Architecture with NAS rows, or a plain one, whose rows become searchable; or its
            name or path.
        pick: Function that makes the module of each choice.
        names: Names of the classes.
        in_channels: Number of channels of the images.

    Raises:
        ArchitectureError: The file is invalid or has no head.
    """
    return assemble_detector(
        as_space(source), names=names, in_channels=in_channels, placed=_placed(pick)
    )


def list_choices(source: str | Path | Architecture) -> dict[str, tuple[str, ...]]:
    """List the choices of a space: names of the options, in order, by label."""
    found: dict[str, tuple[str, ...]] = {}

    def write_down(label: str, options: Options) -> nn.Module:
        if found.setdefault(label, tuple(options)) != tuple(options):
            raise ArchitectureError(f"choice {label!r} has different options in two places")
        return [make() for make in options.values()][0]

    with torch.device("meta"):
        build_backbone_space(source, write_down)
    return found


def frozen_pick(choices: Choices) -> Pick:
    """Make a `pick` function that makes exactly the chosen options.

    Args:
        choices: Name of the chosen option, by label.

    Raises:
        ArchitectureError: Raised by the function: a choice is missing, or not an option.
    """

    def pick(label: str, options: Options) -> nn.Module:
        if label not in choices:
            raise ArchitectureError(f"choice {label!r} is missing; give one of {list(options)}")
        if choices[label] not in options:
            raise ArchitectureError(
                f"choice {label!r} is {choices[label]!r}; give one of {list(options)}"
            )
        return options[choices[label]]()

    return pick


def plain_choices(source: str | Path | Architecture) -> dict[str, str]:
    """The choices that give the plain architecture: the first option of each label."""
    return {label: options[0] for label, options in list_choices(source).items()}


def as_space(source: str | Path | Architecture) -> Architecture:
    """Read an architecture; one with NAS rows stays as it is, a plain one becomes searchable."""
    architecture = source if isinstance(source, Architecture) else read_architecture(source)
    has_choices = any(row.module.startswith("NAS") for row in architecture.backbone)
    return architecture if has_choices else searchable(architecture)


def searched_conv(
    pick: Pick,
    label: str,
    c1: int,
    c2: int,
    k: int = 1,
    s: int = 1,
    p: int | None = None,
    g: int = 1,
) -> Conv:
    """Make a `Conv` with choices of kernel, padding and activation.

    Kernels that are smaller or larger by two, with paddings smaller or larger by one, give maps of
    the same size for any input.
    """
    block = Conv(c1, c2, k, s, p, g)
    padding = same_padding(k) if p is None else p
    options = {}
    for step in (0, -1, 1):
        kernel, border = k + 2 * step, padding + step
        if kernel > 0 and border >= 0:
            options[f"k{kernel}p{border}"] = partial(
                nn.Conv2d, c1, c2, kernel, s, border, groups=g, bias=False
            )
    block.conv = pick(label, options)
    block.act = pick(f"{label}_act", ACTIVATIONS)
    return block


def searched_c3(
    pick: Pick,
    label: str,
    c1: int,
    c2: int,
    n: int = 1,
    shortcut: bool = True,
    g: int = 1,
    e: float = 0.5,
) -> nn.Module:
    """Make a C3 with choices of its hidden width, its first convolutions, and its bottlenecks."""

    def make(width: float) -> C3:
        block = C3(c1, c2, 0, shortcut, g, e * width)
        hidden = int(c2 * e * width)
        block.cv1 = searched_conv(pick, f"{label}_cv1", c1, hidden)
        block.cv2 = searched_conv(pick, f"{label}_cv2", c1, hidden)
        block.m = nn.Sequential(
            *(
                pick(
                    f"{label}_m{index}",
                    {
                        name: partial(Bottleneck, hidden, hidden, shortcut, g, factor)
                        for name, factor in WIDTHS.items()
                    },
                )
                for index in range(n)
            )
        )
        return block

    return pick(label, {name: partial(make, width) for name, width in WIDTHS.items()})


def searched_block(pick: Pick, label: str, c1: int, c2: int, s: int = 1) -> nn.Module:
    """Make a choice of block with its kernel and hidden width; `c2` channels, stride `s`."""
    options: dict[str, Callable[[], nn.Module]] = {}
    for kernel in (3, 5):
        options[f"residual_k{kernel}"] = partial(Residual, c1, c2, kernel, s)
        for name, width in {"x0_5": 0.5, "x1": 1.0}.items():
            options[f"bottleneck_k{kernel}_{name}"] = partial(Squeeze, c1, c2, kernel, s, width)
        options[f"separable_k{kernel}"] = partial(Separable, c1, c2, kernel, s)
    options["inception"] = partial(Inception, c1, c2, s)
    options["maxpool_k3"] = partial(Pooled, nn.MaxPool2d, c1, c2, s)
    options["avgpool_k3"] = partial(Pooled, nn.AvgPool2d, c1, c2, s)
    options["identity"] = partial(skip, c1, c2, s)
    return pick(label, options)


def skip(c1: int, c2: int, s: int) -> nn.Module:
    """An identity if the shape does not change, else a 1x1 convolution without activation."""
    return nn.Identity() if c1 == c2 and s == 1 else Conv(c1, c2, 1, s, act=False)


class Residual(nn.Module):
    """Two k x k convolutions with a shortcut (He et al., 2015, arXiv:1512.03385)."""

    def __init__(self, c1: int, c2: int, k: int, s: int) -> None:
        super().__init__()
        self.cv1 = Conv(c1, c2, k, s)
        self.cv2 = Conv(c2, c2, k, act=False)
        self.skip = skip(c1, c2, s)
        self.act = nn.SiLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, c1, H, W) to (B, c2, H/s, W/s)."""
        return self.act(self.cv2(self.cv1(x)) + self.skip(x))


class Squeeze(nn.Module):
    """1x1 to `width * c2` channels, k x k, 1x1 to `c2`, and a shortcut."""

    def __init__(self, c1: int, c2: int, k: int, s: int, width: float) -> None:
        super().__init__()
        hidden = max(int(c2 * width), 1)
        self.cv1 = Conv(c1, hidden, 1)
        self.cv2 = Conv(hidden, hidden, k, s)
        self.cv3 = Conv(hidden, c2, 1, act=False)
        self.skip = skip(c1, c2, s)
        self.act = nn.SiLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, c1, H, W) to (B, c2, H/s, W/s)."""
        return self.act(self.cv3(self.cv2(self.cv1(x))) + self.skip(x))


class Separable(nn.Module):
    """A depthwise k x k convolution, then 1x1 (Howard et al., 2017, arXiv:1704.04861)."""

    def __init__(self, c1: int, c2: int, k: int, s: int) -> None:
        super().__init__()
        self.cv1 = Conv(c1, c1, k, s, g=c1)
        self.cv2 = Conv(c1, c2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, c1, H, W) to (B, c2, H/s, W/s)."""
        return self.cv2(self.cv1(x))


class Inception(nn.Module):
    """Parallel 1x1, 3x3, 5x5 and pooled 1x1 convolutions, each with a quarter of the channels.

    Reference:
        Szegedy et al., Going Deeper with Convolutions, 2014, arXiv:1409.4842, figure 2b.
    """

    def __init__(self, c1: int, c2: int, s: int) -> None:
        super().__init__()
        edges = [round(c2 * quarter / 4) for quarter in range(5)]
        shares = [max(high - low, 1) for low, high in zip(edges, edges[1:], strict=False)]
        reduced = max(c1 // 2, 1)
        self.branches = nn.ModuleList(
            (
                Conv(c1, shares[0], 1, s),
                nn.Sequential(Conv(c1, reduced, 1), Conv(reduced, shares[1], 3, s)),
                nn.Sequential(Conv(c1, reduced, 1), Conv(reduced, shares[2], 5, s)),
                nn.Sequential(nn.MaxPool2d(3, 1, 1), Conv(c1, shares[3], 1, s)),
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, c1, H, W) to (B, c2, H/s, W/s)."""
        return torch.cat([branch(x) for branch in self.branches], 1)


class Pooled(nn.Module):
    """3x3 pooling, then a 1x1 convolution if the number of channels changes."""

    def __init__(self, pool: Callable[..., nn.Module], c1: int, c2: int, s: int) -> None:
        super().__init__()
        self.pool = pool(3, s, 1)
        self.project = nn.Identity() if c1 == c2 else Conv(c1, c2, 1, act=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, c1, H, W) to (B, c2, H/s, W/s)."""
        return self.project(self.pool(x))


def _placed(pick: Pick) -> dict[str, Callable[..., nn.Module]]:
    """Functions that make the modules of NAS rows from a row's number and arguments."""
    return {
        "NASConv": lambda row, *args: searched_conv(pick, f"conv_{row}", *args),
        "NASC3": lambda row, *args: searched_c3(pick, f"c3_{row}", *args),
        "NASBlock": lambda row, *args: searched_block(pick, f"block_{row}", *args),
    }
