"""Network slimming: training with an L1 penalty on the gammas of BatchNorm.

Reference:
    Liu et al., Learning Efficient Convolutional Networks through Network Slimming, 2017,
    arXiv:1708.06519, equation 1. Then prune with `PruneConfig(score="gamma")`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from models.yolov5.build import Detector
from tfcompress.errors import ConfigError


class GammaPenalty:
    """Adds strength * sum |gamma| over all BatchNorms to the loss.

    Args:
        strength: Factor of the penalty, above 0; the paper uses 1e-4 to 1e-5.

    Raises:
        ConfigError: The strength is not above zero.
    """

    def __init__(self, strength: float = 1e-4) -> None:
        if not strength > 0:
            raise ConfigError("strength", f"it is {strength}", "use a number above 0, such as 1e-4")
        self.strength = strength
        self.module = nn.Identity()
        self.described: Mapping[str, Any] = {"loss": "gamma penalty", "strength": strength}

    def __call__(
        self,
        detector: Detector,
        images: torch.Tensor,
        outputs: Mapping[int, Any],
        targets: torch.Tensor,
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """The penalty, and its value as part "gammas"."""
        norms = [module for module in detector.modules() if isinstance(module, nn.BatchNorm2d)]
        penalty = self.strength * sum(norm.weight.abs().sum() for norm in norms)
        return penalty, {"gammas": float(penalty.detach())}
