"""TensorFlow Model Optimization, imported without what its import does to the process.

The import sets `TF_USE_LEGACY_KERAS` in `os.environ`, which turns `tf.keras` into tf_keras for
whoever touches it later, in this process and in its children.
"""

from __future__ import annotations

import os
from types import ModuleType

from tfcompress.errors import ConfigError

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
        import tensorflow_model_optimization
    except ModuleNotFoundError as error:
        raise ConfigError(
            "TensorFlow Model Optimization",
            f"it cannot be imported ({error})",
            "pip install tensorflow-model-optimization tf_keras",
        ) from error
    finally:
        if before is None:
            os.environ.pop(_VARIABLE, None)
        else:
            os.environ[_VARIABLE] = before
    return tensorflow_model_optimization
