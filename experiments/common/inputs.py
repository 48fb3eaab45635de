"""Files that a user names: pictures, model files, and the card inside or beside a model file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tfcompress.data.scenes import image_files
from tfcompress.errors import ConfigError, DataError


def image_paths(images: Path) -> list[Path]:
    """An image, or the images of a folder.

    Raises:
        DataError: There are none, or two share a stem.
    """
    if images.is_file():
        return [images]
    if not images.is_dir():
        raise DataError(str(images), "there is no such file or folder", "give IMAGES=path")
    paths = list(image_files(images).values())
    if not paths:
        raise DataError(str(images), "the folder holds no images", "give a folder of images")
    return paths


def card_of_file(path: str | Path, name: str) -> dict[str, Any]:
    """The card inside a LiteRT file, or beside any model file; empty where there is none.

    Args:
        path: Model file; empty for none.
        name: Name of the JSON file beside it.
    """
    from tfcompress.litert.model import LiteModel  # loads TensorFlow

    path = Path(path)
    if path.suffix == ".tflite" and path.is_file() and (inside := LiteModel.load(path).card):
        return inside
    beside = path.parent / name
    if path.name and beside.is_file():
        return json.loads(beside.read_text(encoding="utf-8"))
    return {}


def input_shape_of(model: Any) -> tuple[int, int, int]:
    """(height, width, channels) of the input of a model of images.

    Raises:
        DataError: The model takes something else than one image of fixed size.
    """
    from tfcompress.graph.layers import flavor_of
    from tfcompress.litert.model import LiteModel

    if isinstance(model, LiteModel):
        shapes = [port.shape[1:] for port in model.inputs]
    else:
        flavor_of(model)
        shapes = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 3 or None in shapes[0]:
        raise DataError("MODEL", f"its inputs are {shapes}", "give a model of one fixed-size image")
    return shapes[0]


def square_side_of(model: Any) -> int:
    """Side of the square image that a model takes.

    Raises:
        DataError: The model takes something else.
    """
    height, width, _ = input_shape_of(model)
    if height != width:
        raise DataError("MODEL", f"its input is {height}x{width}", "give a model of square input")
    return height


def check_classes(model: Any, classes: int, what: str, fix: str) -> None:
    """Refuse a model with another number of classes than the data.

    Raises:
        ConfigError: The numbers differ.
    """
    from tfcompress.litert.model import LiteModel

    shape = model.outputs[0].shape if isinstance(model, LiteModel) else model.output_shape
    if shape[-1] != classes:
        raise ConfigError(what, f"it has {shape[-1]} classes, and the data {classes}", fix)


def check_file(path: str, field: str, fix: str) -> None:
    """Refuse a file that does not exist; an empty path names none.

    Raises:
        ConfigError: There is no such file.
    """
    if path and not Path(path).is_file():
        raise ConfigError(field, f"there is no {path}", fix)
