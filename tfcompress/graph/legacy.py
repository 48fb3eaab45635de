"""tf_keras, and TensorFlow Model Optimization without what its import does to the process.

That import sets `TF_USE_LEGACY_KERAS` in `os.environ`, which turns `tf.keras` into tf_keras for
whoever touches it later, in this process and in its children.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

from tfcompress.errors import ConfigError

INSTALL = "pip install 'tfcompress[tfmot]'"
_VARIABLE = "TF_USE_LEGACY_KERAS"


def library_of(flavor: str) -> ModuleType:
    """The package of a flavor, "keras" or "tf_keras".

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return importlib.import_module(flavor)
    except ModuleNotFoundError as error:
        raise ConfigError(flavor, f"it cannot be imported ({error})", INSTALL) from None


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
            INSTALL,
        ) from error
    finally:
        if before is None:
            os.environ.pop(_VARIABLE, None)
        else:
            os.environ[_VARIABLE] = before
    return tensorflow_model_optimization
