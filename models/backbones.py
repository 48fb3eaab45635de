"""segmentation_models on Keras 3: its architectures on its backbones, with new weights."""

from __future__ import annotations

import os
from typing import Any


def load_segmentation_models() -> Any:
    """The package, bound to Keras 3; the environment is left as it was.

    It reads its flavor from a variable when it is imported, and resolves `tf.keras` for it.
    """
    import tensorflow as tf

    tf.keras.layers  # noqa: B018  (resolve tf.keras before anything may turn it)
    before = os.environ.get("SM_FRAMEWORK")
    os.environ["SM_FRAMEWORK"] = "tf.keras"
    try:
        import segmentation_models
    finally:
        if before is None:
            del os.environ["SM_FRAMEWORK"]
        else:
            os.environ["SM_FRAMEWORK"] = before
    return segmentation_models


def segmentation_model(
    architecture: str,
    backbone: str,
    input_shape: tuple[int, int, int],
    n_classes: int,
) -> Any:
    """One of segmentation_models' networks, without pretrained weights.

    Args:
        architecture: "Unet", "FPN", "Linknet" or "PSPNet".
        backbone: Such as "resnet18".
        input_shape: `(height, width, channels)`.
        n_classes: Channels of the softmax at its end.

    Raises:
        ValueError: An unknown backbone.
    """
    return getattr(load_segmentation_models(), architecture)(
        backbone,
        input_shape=input_shape,
        classes=n_classes,
        activation="softmax",
        encoder_weights=None,
    )
