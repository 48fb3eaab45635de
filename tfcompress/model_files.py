"""Model files by their suffix: Keras of either flavor, or LiteRT."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from tfcompress.errors import ConfigError, DataError
from tfcompress.extras import import_extra
from tfcompress.litert.model import LiteModel


def load_model_file(path: str | Path) -> Any:
    """A Keras model (either flavor, safe mode) or a `LiteModel`.

    Raises:
        ConfigError: No path, or an unknown suffix.
        DataError: There is no such file, or it cannot be read.
    """
    if not str(path):
        raise ConfigError("model", "it is empty", "give the path of a .keras or .tflite file")
    path = Path(path)
    if path.suffix not in (".keras", ".tflite"):
        raise ConfigError(
            str(path), f"suffix {path.suffix!r} is unknown here", "use .keras or .tflite"
        )
    if path.suffix == ".tflite":
        return LiteModel.load(path)
    if not path.is_file():
        raise DataError(str(path), "there is no such file", "give the path of a .keras file")
    import keras

    try:
        with warnings.catch_warnings():  # of a compiled model that was never trained
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
            return keras.saving.load_model(path, safe_mode=True)
    except Exception as error:
        return _as_tf_keras(path, error)


def _as_tf_keras(path: Path, first: Exception) -> Any:
    """Files of the two flavors look alike; what Keras 3 refuses may be tf_keras'."""
    try:
        return import_extra("tf_keras", "tfmot").models.load_model(path, safe_mode=True)
    except Exception as second:
        problem = " ".join(str(first).split())[:300]
        raise DataError(
            str(path),
            f"neither Keras 3 ({problem}) nor tf_keras ({' '.join(str(second).split())[:100]}) "
            "can read it",
            "save it with this environment's Keras; a model with a Lambda is refused for safety",
        ) from None
