"""TensorFlow Model Optimization, imported without what its import does to the process.

The import sets `TF_USE_LEGACY_KERAS` in `os.environ`, which turns `tf.keras` into tf_keras for
whoever touches it later, in this process and in its children.
"""

from __future__ import annotations

import os
from types import ModuleType

from tfcompress.extras import import_extra

_VARIABLE = "TF_USE_LEGACY_KERAS"


def load_tfmot() -> ModuleType:
    """The package, with `tf.keras` and the environment as they were before.

    Raises:
        ConfigError: It is not installed.
    """
    import tensorflow as tf

    tf.keras.layers  # noqa: B018  (resolves tf.keras before the variable can turn it)
    before = os.environ.get(_VARIABLE)
    try:
        return import_extra("tensorflow_model_optimization", "tfmot")
    finally:
        if before is None:
            os.environ.pop(_VARIABLE, None)
        else:
            os.environ[_VARIABLE] = before
