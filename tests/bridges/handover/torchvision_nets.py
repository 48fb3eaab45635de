"""ShuffleNetV2 and ResNet50 in PyTorch with torchvision's names, from their papers and figures."""

import torch
from torch import nn


def conv_norm(c1, c2, k, s=1, groups=1, act=True):
    parts = [nn.Conv2d(c1, c2, k, s, k // 2, groups=groups, bias=False), nn.BatchNorm2d(c2)]
    return parts + ([nn.ReLU()] if act else [])


class Unit(nn.Module):
    def __init__(self, c1, c2, stride):
        super().__init__()
        self.stride, half = stride, c2 // 2
        self.branch1 = nn.Sequential()
        if stride == 2:
            self.branch1 = nn.Sequential(
                *conv_norm(c1, c1, 3, 2, c1, act=False), *conv_norm(c1, half, 1)
            )
        self.branch2 = nn.Sequential(
            *conv_norm(c1 if stride == 2 else half, half, 1),
            *conv_norm(half, half, 3, stride, half, act=False),
            *conv_norm(half, half, 1),
        )

    def forward(self, x):
        one, other = (x, x) if self.stride == 2 else x.chunk(2, 1)
        x = torch.cat((self.branch1(one), self.branch2(other)), 1)
        b, c, h, w = x.shape
        return x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)


class ShuffleNetV2(nn.Module):
    def __init__(self, widths=(24, 48, 96, 192, 1024), classes=7):
        super().__init__()
        self.conv1 = nn.Sequential(*conv_norm(3, widths[0], 3, 2))
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        for i, units in enumerate((4, 8, 4)):
            stage = [Unit(widths[i], widths[i + 1], 2)]
            stage += [Unit(widths[i + 1], widths[i + 1], 1) for _ in range(units - 1)]
            setattr(self, f"stage{i + 2}", nn.Sequential(*stage))
        self.conv5 = nn.Sequential(*conv_norm(widths[3], widths[4], 1))
        self.fc = nn.Linear(widths[4], classes)

    def forward(self, x):
        x = self.maxpool(self.conv1(x))
        x = self.conv5(self.stage4(self.stage3(self.stage2(x))))
        return self.fc(x.mean((2, 3)))


class Bottleneck(nn.Module):
    def __init__(self, c1, width, stride=1):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c1, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.downsample = None
        if stride != 1 or c1 != 4 * width:
            self.downsample = nn.Sequential(
                nn.Conv2d(c1, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x):
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        return (
            self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x))
        ).relu()


class ResNet50(nn.Module):
    def __init__(self, classes=7):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = 64
        for stage, blocks in enumerate((3, 4, 6, 3)):
            width = 64 * 2**stage
            parts = []
            for block in range(blocks):
                parts.append(Bottleneck(channels, width, 2 if stage and not block else 1))
                channels = 4 * width
            setattr(self, f"layer{stage + 1}", nn.Sequential(*parts))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))
