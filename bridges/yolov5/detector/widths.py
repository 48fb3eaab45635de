"""Resize layers to the tensors that they will load, for files of pruned or resized networks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn


def fit_widths(model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Replace convolutions and BatchNorms of other widths, in place, by new ones that fit.

    Other mismatches (kernel sizes, missing names) are left for the loading to report.
    """
    for name, module in list(model.named_modules()):
        weight = tensors.get(f"{name}.weight")
        if weight is None or not isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):
            continue
        if weight.shape == module.weight.shape or weight.ndim != module.weight.ndim:
            continue
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, _as_wide(module, weight))


def _as_wide(module: nn.Conv2d | nn.BatchNorm2d, weight: torch.Tensor) -> nn.Module:
    if isinstance(module, nn.BatchNorm2d):
        return nn.BatchNorm2d(len(weight), module.eps, module.momentum)
    depthwise = module.groups == module.in_channels > 1
    groups = len(weight) if depthwise else module.groups
    return nn.Conv2d(
        weight.shape[1] * groups,
        weight.shape[0],
        module.kernel_size,
        module.stride,
        module.padding,
        module.dilation,
        groups,
        bias=module.bias is not None,
    )
