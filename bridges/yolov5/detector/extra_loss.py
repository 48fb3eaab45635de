"""Terms that can be added to a detector's loss in training: distillation, a penalty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import nn

from models.yolov5.build import Detector


class ExtraLoss(Protocol):
    """A loss beside the detector's own.

    Attributes:
        module: Parameters of this loss, trained with the detector's; may be empty.
        described: Plain data that identifies the loss; a checkpoint of another loss is refused.
    """

    module: nn.Module
    described: Mapping[str, Any]

    def __call__(
        self,
        detector: Detector,
        images: torch.Tensor,
        outputs: Mapping[int, Any],
        targets: torch.Tensor,
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss per image, and its parts, which sum to it.

        Args:
            detector: The detector in training.
            images: (B, 3, H, W).
            outputs: Maps by row, as `Graph.outputs` gives them; the last are the raw ones.
            targets: (n, 6): image, class, center x, center y, width, height, as fractions.
        """
