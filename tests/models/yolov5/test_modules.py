"""YOLOv5's blocks: shapes, hand-counted parameters, and values worked out with plain PyTorch."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from models.yolov5 import modules
from models.yolov5.attention import C3TR, TransformerBlock
from models.yolov5.modules import (
    C3,
    C3SPP,
    SPP,
    SPPF,
    Bottleneck,
    BottleneckCSP,
    C3Ghost,
    C3x,
    Concat,
    Conv,
    CrossConv,
    DWConv,
    DWConvTranspose2d,
    Focus,
    GhostBottleneck,
    GhostConv,
    MixConv2d,
)


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("module", "parameters", "size"),
    [
        # a convolution's weights, and 2 per channel for each BatchNorm
        (Conv(16, 32, 3, 2), 16 * 32 * 9 + 64, 4),
        (Conv(16, 32, (1, 3)), 16 * 32 * 3 + 64, 8),
        (Conv(16, 32, 3, d=2), 16 * 32 * 9 + 64, 8),
        (DWConv(16, 32, 3), 32 * 9 + 64, 8),
        (DWConvTranspose2d(16, 32, 2, 2), 32 * 4 + 32, 16),
        (Bottleneck(16, 32), 16 * 16 + 32 + 16 * 32 * 9 + 64, 8),
        (CrossConv(16, 32, 3, 1), 16 * 32 * 3 + 64 + 32 * 32 * 3 + 64, 8),
        (CrossConv(16, 32, 3, 2), 16 * 32 * 3 + 64 + 32 * 32 * 3 + 64, 4),
        # cv1, cv2: 16 -> 16; m: 16 -> 16 -> 16; cv3: 32 -> 32
        (C3(16, 32), 2 * (256 + 32) + 256 + 32 + 16 * 16 * 9 + 32 + 32 * 32 + 64, 8),
        (C3(16, 32, n=2), 2 * 288 + 2 * (288 + 2304 + 32) + 1088, 8),
        (C3x(16, 32), 2 * 288 + 2 * (16 * 16 * 3 + 32) + 1088, 8),
        # m: linear 272, q k v fc1 fc2 5 * 256, attention in 3 * 272, out 272
        (C3TR(16, 32), 2 * 288 + 272 + 5 * 256 + 3 * 272 + 272 + 1088, 8),
        # m: cv1 16 -> 8, cv2 32 -> 16
        (C3SPP(16, 32, (3, 5, 7)), 2 * 288 + 8 * 16 + 16 + 32 * 16 + 32 + 1088, 8),
        # m: ghost 16 -> 8 (4 + 4), ghost 8 -> 16 (8 + 8)
        (C3Ghost(16, 32), 2 * 288 + (64 + 8 + 100 + 8) + (64 + 16 + 200 + 16) + 1088, 8),
        (BottleneckCSP(16, 32), 288 + 256 + 256 + 64 + (288 + 2304 + 32) + 1024 + 64, 8),
        (SPP(16, 32), 16 * 8 + 16 + 32 * 32 + 64, 8),
        (SPPF(16, 32), 16 * 8 + 16 + 32 * 32 + 64, 8),
        (Focus(16, 32, 3), 64 * 32 * 9 + 64, 4),
        (GhostConv(16, 32, 1, 2), 16 * 16 + 32 + 16 * 25 + 32, 4),
        (GhostBottleneck(16, 16), (64 + 8 + 100 + 8) + (64 + 16 + 200 + 16), 8),
        (MixConv2d(16, 32, (1, 3)), 16 * 16 // 16 + 16 * 16 * 9 // 16 + 64, 8),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_parameters_and_shapes(module, parameters, size):
    assert count(module) == parameters
    x = torch.rand(2, 16, 8, 8)
    channels = 16 if isinstance(module, GhostBottleneck) else 32
    assert module(x).shape == (2, channels, size, size)


def test_a_strided_ghost_bottleneck_halves_the_map():
    assert GhostBottleneck(16, 32, 3, 2)(torch.rand(1, 16, 8, 8)).shape == (1, 32, 4, 4)


def test_conv_is_convolution_batchnorm_silu():
    block = Conv(3, 4, 3, 2).eval()
    nn.init.uniform_(block.bn.running_mean)
    nn.init.uniform_(block.bn.weight)
    x = torch.randn(1, 3, 8, 8)
    y = functional.conv2d(x, block.conv.weight, None, 2, 1)
    y = (y - block.bn.running_mean.view(1, -1, 1, 1)) / (1 + 1e-3) ** 0.5
    y = y * block.bn.weight.view(1, -1, 1, 1)
    torch.testing.assert_close(block(x), y * torch.sigmoid(y))


def test_a_bottleneck_adds_only_equal_channels():
    x = torch.rand(1, 8, 4, 4)
    for block, added in ((Bottleneck(8, 8), x), (Bottleneck(8, 8, shortcut=False), 0)):
        block.eval()
        torch.testing.assert_close(block(x), added + block.cv2(block.cv1(x)))
    assert not Bottleneck(8, 16).add


def test_sppf_equals_spp_of_its_windows():
    """Windows of 5 applied once, twice and thrice are windows of 5, 9 and 13."""
    fast, plain = SPPF(8, 8, 5).eval(), SPP(8, 8, (5, 9, 13)).eval()
    plain.load_state_dict(fast.state_dict())
    x = torch.randn(1, 8, 16, 16)
    torch.testing.assert_close(fast(x), plain(x))


def test_focus_takes_the_four_pixels_of_each_block():
    block = Focus(1, 4, 1)
    block.conv = nn.Identity()
    x = torch.arange(4.0).view(1, 1, 2, 2)  # [[0, 1], [2, 3]]
    assert block(x).flatten().tolist() == [0, 2, 1, 3]


def test_a_ghost_convolution_makes_half_its_channels_from_the_other_half():
    block = GhostConv(3, 8).eval()
    y = block(torch.randn(1, 3, 4, 4))
    torch.testing.assert_close(y[:, 4:], block.cv2(y[:, :4]))


def test_shares_of_mixed_kernels():
    assert [conv.out_channels for conv in MixConv2d(8, 8, (1, 3)).m] == [4, 4]
    # shares of equal weights: 1 : 1/9
    assert [conv.out_channels for conv in MixConv2d(8, 10, (1, 3), equal_ch=False).m] == [9, 1]


def test_a_transformer_block_attends_over_positions():
    """Equal positions stay equal, and every position sees a change of one."""
    block = TransformerBlock(8, 8, 4, 1).eval()
    x = torch.ones(1, 8, 2, 2)
    y = block(x)
    torch.testing.assert_close(y, y[..., :1, :1].expand_as(y))
    x[..., 0, 0] = 5
    assert (block(x) - y).abs().amax(1).min() > 0


def test_concat():
    assert Concat()([torch.zeros(1, 2, 3, 3), torch.zeros(1, 5, 3, 3)]).shape == (1, 7, 3, 3)


def test_unknown_activation():
    with pytest.raises(ValueError, match="'gelu' is unknown; use silu, relu, identity"):
        modules.activation("gelu")
