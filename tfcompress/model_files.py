"""Load model files by their suffix: Keras of either flavor, or LiteRT."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from tfcompress.errors import ConfigError, DataError
from tfcompress.extras import import_extra


def check_model_file(path: str | Path) -> None:
    """Refuse a path that cannot be a model file; TensorFlow is not imported for it.

    Args:
        path: Path of a `.keras` or `.tflite` file.

    Raises:
        ConfigError: The path is empty, or its suffix is unknown.
        DataError: The file does not exist.
    """
    if not str(path):
        raise ConfigError("model", "its path is empty", "give the path of a .keras or .tflite file")
    path = Path(path)
    if path.suffix not in (".keras", ".tflite"):
        raise ConfigError(
            str(path), f"its suffix {path.suffix!r} is not supported", "use .keras or .tflite"
        )
    if not path.is_file():
        raise DataError(
            str(path), "there is no such file", f"give the path of a {path.suffix} file"
        )


def load_model_file(path: str | Path) -> Any:
    """Load a `.keras` or `.tflite` file.

    Args:
        path: Path of the file. A `.keras` file may come from Keras 3 or tf_keras; it is loaded in
            safe mode, which refuses Lambda layers.

    Returns:
        A Keras 3 or tf_keras model, or a `LiteModel`.

    Raises:
        ConfigError: The path is empty, or its suffix is unknown.
        DataError: The file does not exist, or cannot be read.
    """
    check_model_file(path)
    path = Path(path)
    if path.suffix == ".tflite":
        from tfcompress.litert.model import LiteModel

        return LiteModel.load(path)
    import keras

    try:
        with warnings.catch_warnings():  # a compiled model that was never trained would warn
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
            return keras.saving.load_model(path, safe_mode=True)
    except Exception as error:
        return _as_tf_keras(path, error)


def _as_tf_keras(path: Path, first: Exception) -> Any:
    """Load a file that Keras 3 refuses as tf_keras; the two cannot be told apart by their names."""
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
