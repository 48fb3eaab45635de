"""Networks of the package segmentation_models on Keras 3, without pretrained weights."""

from __future__ import annotations

import os
from typing import Any


def load_segmentation_models() -> Any:
    """Import segmentation_models so that it uses Keras 3; the environment is left as it was.

    The package reads the Keras library from an environment variable at its import, and resolves
    `tf.keras` then.
    """
    import tensorflow as tf

    tf.keras.layers  # noqa: B018  (resolves tf.keras to Keras 3 before anything can change that)
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
    """Build a network of segmentation_models, without pretrained weights.

    Args:
        architecture: Name of the architecture: "Unet", "FPN", "Linknet" or "PSPNet".
        backbone: Name of the backbone, such as "resnet18".
        input_shape: Shape of the input, `(height, width, channels)`.
        n_classes: Number of classes, the channels of the final softmax.

    Returns:
        An uncompiled Keras 3 model.

    Raises:
        ValueError: The backbone is unknown.
    """
    return getattr(load_segmentation_models(), architecture)(
        backbone,
        input_shape=input_shape,
        classes=n_classes,
        activation="softmax",
        encoder_weights=None,
    )
