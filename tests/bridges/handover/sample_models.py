"""Models of the hand-over's tests: small ones, and detectors whose BatchNorms have seen images."""

import torch
from torch import nn

from models.yolov5.build import build_detector


def settle(module, shape, batches=3, seed=1):
    """Move BatchNorm's statistics by a few batches of noise, as training would."""
    generator = torch.Generator().manual_seed(seed)
    module.train()
    with torch.no_grad():
        for _ in range(batches):
            module(torch.rand(4, *shape, generator=generator))
    return module.eval()


def detector(name="yolov5n", side=64, names=("disc", "ring"), seed=0):
    torch.manual_seed(seed)
    return settle(build_detector(name, names=names), (3, side, side))


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
    return settle(SmallNet(classes), (3, 16, 16))
