"""A detector of two levels for fast tests, and statistics as a training leaves them."""

import torch
from torch import nn

from models.yolov5.build import build_detector

TINY = """
nc: 4
depth_multiple: 0.33
width_multiple: 0.25
anchors: [[10, 13, 16, 30], [30, 61, 62, 45]]
backbone:
  - [-1, 1, Conv, [32, 3, 2]]
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, C3, [64]]
  - [-1, 1, Conv, [64, 3, 2]]
head:
  - [[3, 4], 1, Detect, [nc, anchors]]
"""


def tiny_detector(folder, text=TINY, seed=0, names=()):
    """The detector of an architecture file."""
    file = folder / "tiny.yaml"
    file.write_text(text)
    torch.manual_seed(seed)
    return build_detector(file, names=names)


def as_trained(network, seed=0):
    """Random BatchNorms: scales, shifts and statistics that are not those of a new network."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.uniform_(module.bias, -0.5, 0.5, generator=generator)
            nn.init.uniform_(module.running_mean, -0.5, 0.5, generator=generator)
            nn.init.uniform_(module.running_var, 0.5, 1.5, generator=generator)
    return network.eval()
