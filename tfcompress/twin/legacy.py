"""Import TensorFlow Model Optimization (TFMOT) without the side effects of its import.

The import sets `TF_USE_LEGACY_KERAS` in `os.environ`. From then on `tf.keras` would resolve to
tf_keras, in this process and in its children.
"""

from __future__ import annotations

import os
from types import ModuleType

from tfcompress.extras import import_extra

_VARIABLE = "TF_USE_LEGACY_KERAS"


def load_tfmot() -> ModuleType:
    """Import TFMOT, and leave `tf.keras` and the environment as they were.

    Raises:
        ConfigError: TFMOT is not installed.
    """
    import tensorflow as tf

    tf.keras.layers  # noqa: B018  (resolves tf.keras before the variable is set)
    before = os.environ.get(_VARIABLE)
    try:
        return import_extra("tensorflow_model_optimization", "tfmot")
    finally:
        if before is None:
            os.environ.pop(_VARIABLE, None)
        else:
            os.environ[_VARIABLE] = before
