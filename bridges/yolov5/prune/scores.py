"""Importance scores of a detector's channels, from its weights or from data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import nn

from bridges.yolov5.detector.loss import DetectionLoss
from bridges.yolov5.prune.groups import ChannelGroup, Cut
from models.yolov5.build import Detector, Graph
from models.yolov5.modules import Conv
from tfcompress.errors import ConfigError
from tfcompress.pruning.channels.core.scores import (
    ACTIVATION_SCORES,
    DATA_SCORES,
    GRADIENT_SCORES,
    SCORES,
    WEIGHT_SCORES,
    normalized,
    per_unit,
)

Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]
"""Images (B, 3, H, W) in [0, 1], and targets (n, 6): image, class, box as fractions."""


def score_groups(
    network: Graph,
    groups: Sequence[ChannelGroup],
    score: str,
    batches: Batches | None = None,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Scores of the units of each group, comparable between groups; higher means keep.

    All layers that make a group have the same weight; each group's scores have mean 1. Activations
    and their gradients (of the detection loss, in evaluation mode) are taken after the activation
    function of a `Conv`. A group in which the score finds nothing to look at is left out.

    Args:
        network: Detector or backbone; not changed.
        groups: Channel groups from `find_groups`.
        score: Importance score, a key of `core.scores.SCORES`.
        batches: Images and targets, for the scores of `DATA_SCORES`.
        seed: Seed of the score "random".

    Raises:
        ConfigError: The score needs batches or a head, and there is none.
    """
    if score in GRADIENT_SCORES and not isinstance(network, Detector):
        raise ConfigError("score", f"{score} needs a loss, and so a head", "use another score")
    if score == "random":
        generator = np.random.default_rng(seed)
        return {g.name: SCORES["random"](np.arange(g.width), generator) for g in groups}
    if score in DATA_SCORES:
        layers = sorted({layer for group in groups for layer in group.layers("maker")})
        values = _from_data(network, layers, score, batches)
        return _per_group(groups, "maker", values.get)
    if score in WEIGHT_SCORES:
        return _per_group(
            groups, "maker", lambda layer: WEIGHT_SCORES[score](_columns(network, layer))
        )
    return _per_group(groups, "follower", lambda layer: _gammas(network, layer))


def _per_group(
    groups: Sequence[ChannelGroup], part: str, values_of: Callable[[str], np.ndarray | None]
) -> dict[str, np.ndarray]:
    """Scores of the layers of each group, combined per unit."""
    found = {}
    for group in groups:
        parts = []
        for cut in group.cuts:
            values = values_of(cut.layer) if cut.part == part else None
            if values is not None:
                parts.append(normalized(_of_units(cut, values, group.width), "mean"))
        if parts:
            found[group.name] = normalized(np.mean(parts, axis=0), "mean")
    return found


def _of_units(cut: Cut, values: np.ndarray, width: int) -> np.ndarray:
    positions = np.full(len(values), -1)
    positions[cut.channels] = cut.units
    return per_unit(values, positions, width, "mean")


def _columns(network: Graph, layer: str) -> np.ndarray:
    """The kernel of a layer as (fan_in, channels)."""
    weight = network.get_submodule(layer).weight.detach().cpu().double()
    return weight.flatten(1).T.numpy()


def _gammas(network: Graph, layer: str) -> np.ndarray | None:
    module = network.get_submodule(layer)
    if not isinstance(module, nn.BatchNorm2d):
        return None
    return SCORES["gamma"](module.weight.detach().cpu().double().numpy())


def _from_data(
    network: Graph, layers: Sequence[str], score: str, batches: Batches | None
) -> dict[str, np.ndarray]:
    """A score of activations or gradients of each layer, averaged over all images."""
    sums: dict[str, np.ndarray] = {}
    images = 0
    training = network.training
    wanted = {parameter: parameter.requires_grad for parameter in network.parameters()}
    kept: dict[str, torch.Tensor] = {}

    def keep(layer: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
            kept[layer] = output
            if output.requires_grad:
                output.retain_grad()

        return hook

    hooks = [_observed(network, layer).register_forward_hook(keep(layer)) for layer in layers]
    try:
        network.eval()
        for pixels, targets in batches or ():
            _run(network, pixels, targets, with_gradient=score not in ACTIVATION_SCORES)
            for layer in layers:
                sums[layer] = sums.get(layer, 0.0) + len(pixels) * _score(kept[layer], score)
            images += len(pixels)
            kept.clear()
    finally:
        for hook in hooks:
            hook.remove()
        network.train(training)
        for parameter, required in wanted.items():
            parameter.requires_grad_(required)
    if not images:
        raise ConfigError("batches", f"there is none, and {score} looks at data", "pass some")
    return {layer: total / images for layer, total in sums.items()}


def _run(network: Graph, pixels: torch.Tensor, targets: torch.Tensor, with_gradient: bool) -> None:
    """Run forward, and backward to the maps, not to the weights, whose `grad` does not change."""
    if not with_gradient:
        with torch.no_grad():
            network(pixels)
        return
    network.requires_grad_(False)
    with torch.enable_grad():
        raw = network(pixels.clone().requires_grad_(True))
        loss = DetectionLoss(network.head.anchors, network.n_classes, pixels.shape[-1])
        loss(raw, targets)[0].backward()


def _score(output: torch.Tensor, score: str) -> np.ndarray:
    """The score of a layer on one batch."""
    activations = _positions(output)
    if score in ACTIVATION_SCORES:
        return ACTIVATION_SCORES[score](activations.reshape(-1, activations.shape[-1]))
    gradient = output.grad if output.grad is not None else torch.zeros_like(output)
    return SCORES[score](activations, _positions(gradient))


def _positions(maps: torch.Tensor) -> np.ndarray:
    """(B, C, H, W) to (B, H * W, C)."""
    return maps.detach().flatten(2).transpose(1, 2).cpu().double().numpy()


def _observed(network: Graph, layer: str) -> nn.Module:
    """The module whose output represents the channels that a convolution makes."""
    parent, _, attribute = layer.rpartition(".")
    block = network.get_submodule(parent)
    return (
        block if isinstance(block, Conv) and attribute == "conv" else block.get_submodule(attribute)
    )
