"""Peers that change the process when they are imported, and how that is undone."""

from __future__ import annotations

import os
from types import ModuleType


def load_tfmot() -> ModuleType:
    """TensorFlow Model Optimization, with the environment as it was before.

    Its import sets TF_USE_LEGACY_KERAS for this process and its children.
    """
    import tensorflow as tf

    tf.keras.layers  # noqa: B018  (resolve tf.keras before the variable can turn it)
    before = os.environ.get("TF_USE_LEGACY_KERAS")
    import tensorflow_model_optimization

    if before is None:
        os.environ.pop("TF_USE_LEGACY_KERAS", None)
    else:
        os.environ["TF_USE_LEGACY_KERAS"] = before
    return tensorflow_model_optimization
