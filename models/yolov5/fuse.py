"""BatchNorm folded into the convolutions before it: the form that is deployed and counted."""

from __future__ import annotations

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.yolov5.modules import Conv


def fused(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose `Conv` blocks are one convolution with a bias each.

    Published parameter counts are of this form. BatchNorms that do not follow a convolution of
    their own stay.
    """
    model = copy.deepcopy(model).eval()
    for block in model.modules():
        if isinstance(block, Conv) and isinstance(block.bn, nn.BatchNorm2d):
            block.conv = fuse_conv_bn_eval(block.conv, block.bn)
            block.bn = nn.Identity()
    return model
