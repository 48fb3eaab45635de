"""What an architecture is searched on: classification of a small set, or detection itself.

A proxy builds the network around a choice of backbone, gives its batches, its loss, and a reward,
higher is better, of the network as it stands on one validation batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from bridges.yolov5.data.augment import Augmentation
from bridges.yolov5.data.batches import TrainingImages, collate
from bridges.yolov5.data.dataset import DetectionData
from bridges.yolov5.detector.loss import DetectionLoss
from models.yolov5.architecture_file import Architecture
from models.yolov5.build import Classifier, Detector
from models.yolov5.search_space import Pick, build_backbone_space, build_detector_space

Build = Callable[[Pick], nn.Module]


class Proxy(Protocol):
    """What a search needs to know of its task.

    Attributes:
        shape: (C, H, W) of one image.
    """

    shape: tuple[int, int, int]

    def builder(self, space: Architecture) -> Build:
        """A function from `pick` to the network."""

    def batches(self, seed: int) -> tuple[Any, Any]:
        """Training and validation batches; both are trained on by the search, never the test."""

    def loss(self, network: nn.Module, batch: Any) -> torch.Tensor:
        """Loss per image."""

    def reward(self, network: nn.Module, batch: Any) -> float:
        """How good the network is on a batch."""


@dataclass(frozen=True)
class ClassificationProxy:
    """Accuracy on images of a few classes.

    Attributes:
        images: (n, 3, H, W) float32.
        labels: (n,) int64.
        n_classes: Classes.
        batch: Images in a step.
        val_share: Share of the images for the choices.
        training: Where the set comes split: that many of the first images are for the weights, the
            others for the choices; 0 splits by `val_share`.
    """

    images: torch.Tensor
    labels: torch.Tensor
    n_classes: int
    batch: int = 32
    val_share: float = 0.5
    training: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return tuple(self.images.shape[1:])

    def builder(self, space: Architecture) -> Build:
        """A classifier on the backbone."""
        return lambda pick: Classifier(build_backbone_space(space, pick), self.n_classes)

    def batches(self, seed: int) -> tuple[DataLoader, DataLoader]:
        """Both shuffled from the seed."""
        order = np.random.default_rng(seed).permutation(len(self.labels))
        cut = round(len(order) * (1 - self.val_share))
        if self.training:
            order, cut = np.arange(len(self.labels)), self.training
        return tuple(
            _shuffled(TensorDataset(self.images[part], self.labels[part]), self.batch, seed)
            for part in (order[:cut], order[cut:])
        )

    def loss(self, network: nn.Module, batch: Any) -> torch.Tensor:
        """Cross-entropy."""
        images, labels = batch
        return functional.cross_entropy(network(images), labels)

    def reward(self, network: nn.Module, batch: Any) -> float:
        """Accuracy."""
        images, labels = batch
        return float((network(images).argmax(1) == labels).float().mean())


@dataclass(frozen=True)
class DetectionProxy:
    """The detection loss on a data set's training images, half of them for the choices.

    Attributes:
        data: The data set; its "val" and "test" splits are not touched.
        side: Side of the square.
        batch: Images in a step.
        augmentation: Augmentation of the images.
    """

    data: DetectionData
    side: int = 160
    batch: int = 8
    augmentation: Augmentation = Augmentation()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return 3, self.side, self.side

    def builder(self, space: Architecture) -> Build:
        """The whole detector, its backbone in question."""
        return lambda pick: build_detector_space(space, pick, self.data.names)

    def batches(self, seed: int) -> tuple[DataLoader, DataLoader]:
        """Halves of the training images."""
        images = self.data.splits["train"]
        order = np.random.default_rng(seed).permutation(len(images))
        halves = (order[: len(order) // 2], order[len(order) // 2 :])
        return tuple(
            _shuffled(self._set([images[i] for i in half], seed), self.batch, seed, collate)
            for half in halves
        )

    def loss(self, network: nn.Module, batch: Any) -> torch.Tensor:
        """Box, objectness and classes, per image."""
        images, targets = batch
        detector = _detector_in(network)
        loss = DetectionLoss(detector.head.anchors, detector.n_classes, self.side)
        return loss(network(images), targets)[0] / len(images)

    def reward(self, network: nn.Module, batch: Any) -> float:
        """1 / (1 + loss): rises as the loss falls, from the first step on, when mAP is still 0."""
        return 1 / (1 + self.loss(network, batch).item())

    def _set(self, images: Sequence[Any], seed: int) -> TrainingImages:
        return TrainingImages(images, self.side, self.augmentation, seed)


def digits_proxy(side: int = 32, batch: int = 32) -> ClassificationProxy:
    """scikit-learn's 1,797 handwritten digits, enlarged, as the embedded set."""
    digits = load_digits()
    pixels = torch.from_numpy(digits.images / 16).float()[:, None]
    images = functional.interpolate(pixels, size=(side, side), mode="bilinear")
    return ClassificationProxy(
        images.expand(-1, 3, -1, -1).contiguous(), torch.from_numpy(digits.target).long(), 10, batch
    )


class _Augmenting(DataLoader):
    """Batches of images, augmented differently in each pass."""

    def __iter__(self) -> Any:
        self.dataset.epoch += 1
        return super().__iter__()


def _shuffled(
    data: Any, batch: int, seed: int, together: Callable[..., Any] | None = None
) -> DataLoader:
    generator = torch.Generator()
    generator.manual_seed(seed)
    kind = _Augmenting if isinstance(data, TrainingImages) else DataLoader
    return kind(data, batch, shuffle=True, generator=generator, drop_last=True, collate_fn=together)


def _detector_in(network: nn.Module) -> Detector:
    return next(part for part in network.modules() if isinstance(part, Detector))
