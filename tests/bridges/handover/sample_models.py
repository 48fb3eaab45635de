"""Models of the hand-over's tests: small ones, and detectors whose BatchNorms have seen images."""

import torch
from torch import nn

from models.yolov5.build import build_detector


def scenes(count, side, seed=0):
    """(count, 3, side, side) in [0, 1]: smooth blobs of many colors with some noise.

    Plain noise averages out in deep layers, and what is left of it is rounding.
    """
    generator = torch.Generator().manual_seed(seed)
    blobs = torch.rand(count, 3, 5, 5, generator=generator)
    smooth = nn.functional.interpolate(blobs, (side, side), mode="bicubic")
    return (smooth + 0.1 * torch.randn(smooth.shape, generator=generator)).clamp(0, 1)


def settle(module, side, batches=3):
    """Move BatchNorms' statistics by a few batches, so that no signal dies away.

    An eighth of their first variance, 1, stays: channels that are nearly constant are not blown up.
    """
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.5
    module.train()
    with torch.no_grad():
        for batch in range(batches):
            module(scenes(8, side, seed=batch + 1))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return module.eval()


def detector(name="yolov5n", side=64, names=("disc", "ring"), seed=0):
    torch.manual_seed(seed)
    return settle(build_detector(name, names=names), side)


class SmallNet(nn.Module):
    """Two convolutions with SiLU, a shortcut, and a linear head."""

    def __init__(self, classes=5):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.SiLU()
        )
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8, classes)

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.pool(x + self.body(x)).flatten(1))


def small_net(classes=5, seed=0):
    torch.manual_seed(seed)
    return settle(SmallNet(classes), 16)
