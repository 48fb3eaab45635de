"""Files of the verbs: checked by name before TensorFlow starts, read when it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfcompress.errors import ConfigError, DataError
from tfcompress.model_files import check_model_file, load_model_file


def check_keras_file(path: str) -> None:
    """Refuse what is not there, and what is not a Keras file.

    Raises:
        ConfigError: The file is a LiteRT file, or its suffix is unknown.
        DataError: There is no such file.
    """
    check_model_file(path)
    if Path(path).suffix == ".tflite":
        raise ConfigError(path, "it is a LiteRT file, which cannot be changed", "give the .keras")


def check_output(path: str, suffix: str) -> None:
    """Refuse an output file that could not be written in the end.

    Raises:
        ConfigError: The name has another suffix.
        DataError: Its folder does not exist.
    """
    if Path(path).suffix != suffix:
        raise ConfigError(path, f"it does not end in {suffix}", "change the name")
    if not Path(path).absolute().parent.is_dir():
        raise DataError(path, "its folder does not exist", "make the folder first")


def check_data(path: str, folder: bool = False) -> None:
    """Refuse data that are not there.

    Args:
        path: A NumPy file.
        folder: Whether a folder of images will do too.

    Raises:
        DataError: There is no such file.
    """
    if not (Path(path).is_file() or (folder and Path(path).is_dir())):
        raise DataError(path, "there is no such file", "give a .npy or .npz file")


def keras_model(path: str) -> Any:
    """The Keras model in a file, after `check_keras_file`."""
    check_keras_file(path)
    return load_model_file(path)
