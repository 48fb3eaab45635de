"""Building blocks of YOLOv5's backbone and neck: convolutions, bottlenecks and pyramids.

All tensors are (batch, channels, height, width). Attributes have the names of the public
checkpoints, so that their state_dicts load. The first two arguments of a block are its numbers of
input and output channels; the others have the order of `args` in architecture files.

Reference:
    YOLOv5 v6/v7 architecture; CSPNet (Wang et al., 2019), SPP (He et al., 2014), GhostNet (Han et
    al., 2019, arXiv:1911.11907), MixConv (Tan and Le, 2019, arXiv:1907.09595).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

Size = int | tuple[int, int]

BATCH_NORM = {"eps": 1e-3, "momentum": 0.03}
"""YOLOv5 sets these on every BatchNorm2d; they are not stored in its files."""


def same_padding(kernel: Size, dilation: int = 1) -> Size:
    """The padding with which an odd kernel at stride 1 keeps the size."""
    if isinstance(kernel, int):
        return (dilation * (kernel - 1) + 1) // 2
    height, width = (same_padding(side, dilation) for side in kernel)
    return height, width


def activation(act: bool | str | nn.Module) -> nn.Module:
    """Get an activation module.

    Args:
        act: Activation: True or "silu", "relu", False or "identity", or any module.

    Raises:
        ValueError: The activation is unknown.
    """
    if isinstance(act, nn.Module):
        return act
    if act not in _ACTIVATIONS:
        known = [name for name in _ACTIVATIONS if isinstance(name, str)]
        raise ValueError(f"activation {act!r} is unknown; use {', '.join(known)}")
    return _ACTIVATIONS[act]()


_ACTIVATIONS = {
    True: nn.SiLU,
    False: nn.Identity,
    "silu": nn.SiLU,
    "relu": nn.ReLU,
    "identity": nn.Identity,
}


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """BatchNorm2d with YOLOv5's constants."""
    return nn.BatchNorm2d(channels, **BATCH_NORM)


class Conv(nn.Module):
    """Convolution without bias, BatchNorm, activation."""

    def __init__(
        self,
        c1: int,
        c2: int,
        k: Size = 1,
        s: Size = 1,
        p: Size | None = None,
        g: int = 1,
        d: int = 1,
        act: bool | str | nn.Module = True,
    ) -> None:
        super().__init__()
        padding = same_padding(k, d) if p is None else p
        self.conv = nn.Conv2d(c1, c2, k, s, padding, groups=g, dilation=d, bias=False)
        self.bn = batch_norm(c2)
        self.act = activation(act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, c1, H, W) to (B, c2, H/s, W/s)."""
        return self.act(self.bn(self.conv(x)))


class DWConv(Conv):
    """A `Conv` with the largest number of groups that divides both channel counts."""

    def __init__(
        self, c1: int, c2: int, k: Size = 1, s: Size = 1, d: int = 1, act: bool | str = True
    ) -> None:
        super().__init__(c1, c2, k, s, g=math.gcd(c1, c2), d=d, act=act)


class DWConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution with the largest number of groups that both channel counts allow."""

    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, p1: int = 0, p2: int = 0) -> None:
        super().__init__(c1, c2, k, s, p1, p2, groups=math.gcd(c1, c2))


class Bottleneck(nn.Module):
    """1x1 to `e * c2` channels, 3x3 to `c2`, and a shortcut if the channel counts are equal."""

    def __init__(self, c1: int, c2: int, shortcut: bool = True, g: int = 1, e: float = 0.5) -> None:
        super().__init__()
        hidden = int(c2 * e)
        self.cv1 = Conv(c1, hidden, 1, 1)
        self.cv2 = Conv(hidden, c2, 3, 1, g=g)
        self.add = shortcut and c1 == c2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, c1, H, W) to (B, c2, H, W)."""
        y = self.cv2(self.cv1(x))
        return x + y if self.add else y


class CrossConv(nn.Module):
    """A k x k convolution factored into 1 x k and k x 1."""

    def __init__(
        self,
        c1: int,
        c2: int,
        k: int = 3,
        s: int = 1,
        g: int = 1,
        e: float = 1.0,
        shortcut: bool = False,
    ) -> None:
        super().__init__()
        hidden = int(c2 * e)
        self.cv1 = Conv(c1, hidden, (1, k), (1, s))
        self.cv2 = Conv(hidden, c2, (k, 1), (s, 1), g=g)
        self.add = shortcut and c1 == c2 and s == 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, c1, H, W) to (B, c2, H/s, W/s)."""
        y = self.cv2(self.cv1(x))
        return x + y if self.add else y


class BottleneckCSP(nn.Module):
    """CSP block of YOLOv5's first versions: four convolutions and a BatchNorm over both halves."""

    def __init__(
        self, c1: int, c2: int, n: int = 1, shortcut: bool = True, g: int = 1, e: float = 0.5
    ) -> None:
        super().__init__()
        hidden = int(c2 * e)
        self.cv1 = Conv(c1, hidden, 1, 1)
        self.cv2 = nn.Conv2d(c1, hidden, 1, 1, bias=False)
        self.cv3 = nn.Conv2d(hidden, hidden, 1, 1, bias=False)
        self.cv4 = Conv(2 * hidden, c2, 1, 1)
        self.bn = batch_norm(2 * hidden)
        self.act = nn.SiLU()
        self.m = nn.Sequential(*(Bottleneck(hidden, hidden, shortcut, g, 1.0) for _ in range(n)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, c1, H, W) to (B, c2, H, W)."""
        halves = torch.cat((self.cv3(self.m(self.cv1(x))), self.cv2(x)), 1)
        return self.cv4(self.act(self.bn(halves)))


class C3(nn.Module):
    """CSP block of three convolutions around `n` bottlenecks."""

    def __init__(
        self, c1: int, c2: int, n: int = 1, shortcut: bool = True, g: int = 1, e: float = 0.5
    ) -> None:
        super().__init__()
        hidden = int(c2 * e)
        self.cv1 = Conv(c1, hidden, 1, 1)
        self.cv2 = Conv(c1, hidden, 1, 1)
        self.cv3 = Conv(2 * hidden, c2, 1)
        self.m = self.inner(hidden, n, shortcut, g)

    def inner(self, hidden: int, n: int, shortcut: bool, g: int) -> nn.Module:
        """The module between `cv1` and `cv3`, in which the variants of C3 differ."""
        return nn.Sequential(*(Bottleneck(hidden, hidden, shortcut, g, 1.0) for _ in range(n)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, c1, H, W) to (B, c2, H, W)."""
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class C3x(C3):
    """C3 around cross convolutions."""

    def inner(self, hidden: int, n: int, shortcut: bool, g: int) -> nn.Module:
        """`n` cross convolutions."""
        return nn.Sequential(*(CrossConv(hidden, hidden, 3, 1, g, 1.0, shortcut) for _ in range(n)))


class C3Ghost(C3):
    """C3 around ghost bottlenecks."""

    def inner(self, hidden: int, n: int, shortcut: bool, g: int) -> nn.Module:
        """`n` ghost bottlenecks."""
        return nn.Sequential(*(GhostBottleneck(hidden, hidden) for _ in range(n)))


class C3SPP(C3):
    """C3 around a spatial pyramid; the third argument gives the sizes of its windows."""

    def __init__(
        self,
        c1: int,
        c2: int,
        k: Sequence[int] = (5, 9, 13),
        n: int = 1,
        shortcut: bool = True,
        g: int = 1,
        e: float = 0.5,
    ) -> None:
        self._windows = tuple(k)
        super().__init__(c1, c2, n, shortcut, g, e)

    def inner(self, hidden: int, n: int, shortcut: bool, g: int) -> nn.Module:
        """One spatial pyramid."""
        return SPP(hidden, hidden, self._windows)


class SPP(nn.Module):
    """Spatial pyramid pooling: the input concatenated with its maxima over several window sizes."""

    def __init__(self, c1: int, c2: int, k: Sequence[int] = (5, 9, 13)) -> None:
        super().__init__()
        hidden = c1 // 2
        self.cv1 = Conv(c1, hidden, 1, 1)
        self.cv2 = Conv(hidden * (len(k) + 1), c2, 1, 1)
        self.m = nn.ModuleList(nn.MaxPool2d(side, 1, side // 2) for side in k)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, c1, H, W) to (B, c2, H, W)."""
        x = self.cv1(x)
        return self.cv2(torch.cat((x, *(pool(x) for pool in self.m)), 1))


class SPPF(nn.Module):
    """SPP with windows k, 2k - 1 and 3k - 2, computed by pooling three times with window k."""

    def __init__(self, c1: int, c2: int, k: int = 5) -> None:
        super().__init__()
        hidden = c1 // 2
        self.cv1 = Conv(c1, hidden, 1, 1)
        self.cv2 = Conv(hidden * 4, c2, 1, 1)
        self.m = nn.MaxPool2d(k, 1, k // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, c1, H, W) to (B, c2, H, W)."""
        levels = [self.cv1(x)]
        for _ in range(3):
            levels.append(self.m(levels[-1]))
        return self.cv2(torch.cat(levels, 1))


class Focus(nn.Module):
    """Moves each 2x2 block of pixels into channels, then applies a `Conv`."""

    def __init__(
        self,
        c1: int,
        c2: int,
        k: Size = 1,
        s: Size = 1,
        p: Size | None = None,
        g: int = 1,
        act: bool | str = True,
    ) -> None:
        super().__init__()
        self.conv = Conv(4 * c1, c2, k, s, p, g, act=act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, c1, H, W) to (B, c2, H/2, W/2); channel blocks are ordered by column, then row."""
        blocks = [x[..., row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.conv(torch.cat(blocks, 1))


class GhostConv(nn.Module):
    """Half of the channels from a `Conv`, the other half from these by a cheap depthwise 5x5."""

    def __init__(
        self, c1: int, c2: int, k: Size = 1, s: Size = 1, g: int = 1, act: bool | str = True
    ) -> None:
        super().__init__()
        hidden = c2 // 2
        self.cv1 = Conv(c1, hidden, k, s, None, g, act=act)
        self.cv2 = Conv(hidden, hidden, 5, 1, None, hidden, act=act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, c1, H, W) to (B, c2, H/s, W/s)."""
        y = self.cv1(x)
        return torch.cat((y, self.cv2(y)), 1)


class GhostBottleneck(nn.Module):
    """Two ghost convolutions with a shortcut; at stride 2 a depthwise convolution in between."""

    def __init__(self, c1: int, c2: int, k: int = 3, s: int = 1) -> None:
        super().__init__()
        hidden = c2 // 2
        strided = s == 2
        self.conv = nn.Sequential(
            GhostConv(c1, hidden, 1, 1),
            DWConv(hidden, hidden, k, s, act=False) if strided else nn.Identity(),
            GhostConv(hidden, c2, 1, 1, act=False),
        )
        self.shortcut = (
            nn.Sequential(DWConv(c1, c1, k, s, act=False), Conv(c1, c2, 1, 1, act=False))
            if strided
            else nn.Identity()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, c1, H, W) to (B, c2, H/s, W/s)."""
        return self.conv(x) + self.shortcut(x)


class MixConv2d(nn.Module):
    """Parallel convolutions of several kernel sizes, each of which makes a share of the channels.

    Args:
        c1: Number of input channels.
        c2: Number of output channels.
        k: Kernel sizes.
        s: Stride.
        equal_ch: Whether the shares have equal numbers of channels, rather than of weights.
    """

    def __init__(
        self, c1: int, c2: int, k: Sequence[int] = (1, 3), s: int = 1, equal_ch: bool = True
    ) -> None:
        super().__init__()
        ideal = [1.0 for _ in k] if equal_ch else [1.0 / side**2 for side in k]
        edges = [round(c2 * sum(ideal[:i]) / sum(ideal)) for i in range(len(ideal) + 1)]
        shares = [high - low for low, high in zip(edges, edges[1:], strict=False)]
        self.m = nn.ModuleList(
            nn.Conv2d(c1, share, side, s, side // 2, groups=math.gcd(c1, share), bias=False)
            for side, share in zip(k, shares, strict=True)
            if share
        )
        self.bn = batch_norm(c2)
        self.act = nn.SiLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, c1, H, W) to (B, c2, H/s, W/s)."""
        return self.act(self.bn(torch.cat([conv(x) for conv in self.m], 1)))


class Concat(nn.Module):
    """Concatenates maps along the channels."""

    def __init__(self, dimension: int = 1) -> None:
        super().__init__()
        self.d = dimension

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """[(B, c_i, H, W), ...] to (B, sum of c_i, H, W)."""
        return torch.cat(list(maps), self.d)
