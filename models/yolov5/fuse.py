"""Fold BatchNorm into the preceding convolutions: the form that is deployed and counted."""

from __future__ import annotations

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.yolov5.modules import Conv


def fused(model: nn.Module) -> nn.Module:
    """Copy a model, in evaluation mode, with each `Conv` block as one convolution with a bias.

    Published parameter counts refer to this form. BatchNorms outside of `Conv` blocks stay.
    """
    model = copy.deepcopy(model).eval()
    for block in model.modules():
        if isinstance(block, Conv) and isinstance(block.bn, nn.BatchNorm2d):
            block.conv = fuse_conv_bn_eval(block.conv, block.bn)
            block.bn = nn.Identity()
    return model
