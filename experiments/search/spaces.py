"""Search spaces of the programs, and the config fields that a trial's values become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.trash.classification import ClassificationConfig
from experiments.unet.segmentation import SegmentationConfig
from tfcompress.errors import ConfigError
from tfcompress.tuning.space import Choice, Dimension, LogUniform, SearchSpace, Uniform

WIDTHS = (8, 12, 16)
GROUPS = ("down1", "down2", "down3", "down4", "bottom", "up4", "up3", "up2", "up1")
"""Levels of the U-Net, as its layers are named; a shallower one has not all of them."""


def unet_space(config: SegmentationConfig, classes: Sequence[str]) -> SearchSpace:
    """Training of the U-Net; the defaults are the config's values.

    A factor for the weight of each class, dropout, learning rate, width, batch, loss mix, strength
    of augmentation.
    """
    _check_searchable(config, len(classes))
    factors = config.class_factors or (1.0,) * len(classes)
    dimensions: dict[str, Dimension] = {
        f"weight_{name}": LogUniform(0.2, 5.0, default=factor)
        for name, factor in zip(classes, factors, strict=True)
    }
    dimensions |= {
        "dropout": Uniform(0.0, 0.5, default=config.dropout[0]),
        "learning_rate": LogUniform(1e-4, 2e-2, default=config.learning_rate),
        "width": _around(config.filters[0], WIDTHS),
        "batch": _around(config.batch, (4, 8, 16)),
        "focal_weight": Uniform(0.0, 2.0, default=config.focal_weight),
        "augment_strength": Uniform(0.0, 3.0, default=config.augment_strength),
    }
    return SearchSpace(dimensions)


def unet_fields(config: SegmentationConfig, params: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a `SegmentationConfig` from the values of `unet_space`."""
    factors = [value for name, value in params.items() if name.startswith("weight_")]
    return {
        "class_factors": tuple(float(f"{value:.4g}") for value in factors),
        "dropout": (float(params["dropout"]),),
        "learning_rate": float(params["learning_rate"]),
        "filters": tuple(params["width"] * 2**level for level in range(len(config.filters))),
        "batch": params["batch"],
        "focal_weight": float(params["focal_weight"]),
        "augment_strength": float(params["augment_strength"]),
    }


def pruning_space(groups: Sequence[str]) -> SearchSpace:
    """Distribution of the remaining weights over the levels of the U-Net.

    The values are relative; `group_sparsities` scales them to the sparsity of the whole.
    """
    return SearchSpace({f"keep_{name}": LogUniform(0.05, 1.0, default=0.2) for name in groups})


def group_sparsities(
    params: Mapping[str, float], weights: Mapping[str, int], sparsity: float
) -> dict[str, float]:
    """Sparsity of each group such that all of them together have the sparsity of the whole.

    Group g keeps `min(1, c * keep_g)` of its weights; c is found by bisection.

    Args:
        params: Values of `pruning_space`.
        weights: Number of weights of each group.
        sparsity: Share of all the weights that is to be zero.

    Returns:
        Sparsity by group.
    """
    keep = np.array([params[f"keep_{name}"] for name in weights])
    counts = np.array(list(weights.values()), float)
    low, high = 0.0, 1.0 / keep.min()
    for _ in range(60):
        middle = (low + high) / 2
        kept = (np.minimum(1.0, middle * keep) * counts).sum() / counts.sum()
        low, high = (middle, high) if kept < 1 - sparsity else (low, middle)
    found = 1 - np.minimum(1.0, high * keep)
    return {name: round(float(value), 4) for name, value in zip(weights, found, strict=True)}


def trash_space(config: ClassificationConfig) -> SearchSpace:
    """Training of the classifier: learning rate, warm-up, decay, image size, augmentation, loss."""
    return SearchSpace(
        {
            "learning_rate": LogUniform(1e-4, 2e-2, default=config.learning_rate),
            "warm_up": Uniform(0.0, 0.35, default=config.warm_up),
            "weight_decay": LogUniform(1e-6, 5e-2, default=config.weight_decay),
            "side": _around(config.side, tuple(range(32, 65, 4))),
            "crop_least": Uniform(0.4, 1.0, default=config.crop[0]),
            "cutout": Uniform(0.0, 0.4, default=config.cutout),
            "cutmix": Uniform(0.0, 0.5, default=config.cutmix),
            "ce_share": Uniform(0.0, 1.0, default=config.ce_share),
        }
    )


def trash_fields(params: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a `ClassificationConfig` from the values of `trash_space`."""
    fields = {name: value for name, value in params.items() if name != "crop_least"}
    return {**fields, "crop": (params["crop_least"], 1.0)}


def _check_searchable(config: SegmentationConfig, classes: int) -> None:
    """Refuse a config whose values are no values of the space: they are its defaults."""
    doubling = tuple(config.filters[0] * 2**level for level in range(len(config.filters)))
    for field, fits, fix in (
        ("dropout", len(config.dropout) == 1, "give one rate for all depths"),
        ("filters", config.filters == doubling, f"let them double, as {doubling}"),
        ("class_factors", len(config.class_factors) in (0, classes), f"give {classes}, or none"),
    ):
        if not fits:
            raise ConfigError(field, f"{getattr(config, field)} cannot be searched around", fix)


def _around(value: int, options: tuple[int, ...]) -> Choice:
    """A choice that holds the config's value, as its default."""
    return Choice(tuple(sorted({*options, value})), default=value)
