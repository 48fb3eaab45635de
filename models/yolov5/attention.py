"""Self-attention over the positions of a feature map, and the C3 block around it.

Reference:
    Dosovitskiy et al., An Image is Worth 16x16 Words, 2020, arXiv:2010.11929 (without LayerNorm).
"""

from __future__ import annotations

import torch
from torch import nn

from models.yolov5.modules import C3, Conv


class TransformerLayer(nn.Module):
    """Self-attention and two linear layers, both with a residual connection; no LayerNorm."""

    def __init__(self, c: int, num_heads: int) -> None:
        super().__init__()
        self.q = nn.Linear(c, c, bias=False)
        self.k = nn.Linear(c, c, bias=False)
        self.v = nn.Linear(c, c, bias=False)
        self.ma = nn.MultiheadAttention(embed_dim=c, num_heads=num_heads)
        self.fc1 = nn.Linear(c, c, bias=False)
        self.fc2 = nn.Linear(c, c, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(positions, B, c) to the same."""
        x = self.ma(self.q(x), self.k(x), self.v(x))[0] + x
        return self.fc2(self.fc1(x)) + x


class TransformerBlock(nn.Module):
    """Transformer layers over the positions of a map, with a linear position embedding."""

    def __init__(self, c1: int, c2: int, num_heads: int, num_layers: int) -> None:
        super().__init__()
        self.conv = None if c1 == c2 else Conv(c1, c2)
        self.linear = nn.Linear(c2, c2)
        self.tr = nn.Sequential(*(TransformerLayer(c2, num_heads) for _ in range(num_layers)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, c1, H, W) to (B, c2, H, W)."""
        if self.conv is not None:
            x = self.conv(x)
        batch, channels, height, width = x.shape
        positions = x.flatten(2).permute(2, 0, 1)
        y = self.tr(positions + self.linear(positions))
        return y.permute(1, 2, 0).reshape(batch, channels, height, width)


class C3TR(C3):
    """C3 around a transformer of `n` layers with four heads."""

    def inner(self, hidden: int, n: int, shortcut: bool, g: int) -> nn.Module:
        """One transformer block."""
        return TransformerBlock(hidden, hidden, 4, n)
