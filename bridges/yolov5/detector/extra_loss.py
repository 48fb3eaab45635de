"""What may be added to a detector's loss while it trains: a teacher's, a penalty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import nn

from models.yolov5.build import Detector


class ExtraLoss(Protocol):
    """A loss beside the detector's own.

    Attributes:
        module: Holds the parameters of its own, trained with the detector's; may be empty.
        described: Plain data that says which loss it is; a checkpoint of another is refused.
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
        """What is added per image, and its parts, which add up to it.

        Args:
            detector: In training.
            images: (B, 3, H, W).
            outputs: Maps by row, as `Graph.outputs` gives them; the last are the raw ones.
            targets: (n, 6): image, class, center x, center y, width, height, as fractions.
        """
