"""Weights of a supernet for one of its architectures."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from tfcompress.errors import LayerError


def inherit(supernet: nn.Module, frozen: nn.Module, choices: Mapping[str, str]) -> None:
    """Copy the weights of the chosen options into the frozen network, in place.

    Args:
        supernet: A network with a module for each choice, which has a `label` and its options as
            children.
        frozen: The same network with the chosen options in their places.
        choices: The chosen option of every choice.

    Raises:
        LayerError: The networks are not of the same space.
    """
    with torch.no_grad():
        _copy(supernet, frozen, choices, "")


def _copy(big: nn.Module, small: nn.Module, choices: Mapping[str, str], path: str) -> None:
    label = getattr(big, "label", None)
    if isinstance(label, str) and label in choices:
        big = big._modules[choices[label]]
        _copy(big, small, choices, path)
        return
    children, wanted = dict(big.named_children()), dict(small.named_children())
    if wanted.keys() - children.keys():
        raise LayerError(path or "the network", "it is not in the supernet", "use its own space")
    for kind in ("named_parameters", "named_buffers"):
        own = dict(getattr(big, kind)(recurse=False))
        for name, tensor in getattr(small, kind)(recurse=False):
            if name not in own or own[name].shape != tensor.shape:
                raise LayerError(
                    f"{path}.{name}", "the supernet has another shape", "use its space"
                )
            tensor.copy_(own[name])
    for name, child in wanted.items():
        _copy(children[name], child, choices, f"{path}.{name}".lstrip("."))
