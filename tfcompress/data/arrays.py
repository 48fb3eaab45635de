"""Read samples from NumPy files, with or without labels, and from folders of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tfcompress.errors import ConfigError, DataError


def read_inputs(source: str, model: Any, divide_by: float, at_most: int) -> np.ndarray:
    """Read inputs for a model from a NumPy file or a folder of images.

    Args:
        source: Path of a `.npy` file, of an `.npz` file (its array "inputs", or else its first
            array), or of a folder of images. Images are resized to the model's input size.
        model: Keras model whose `input_shape` gives the size and the number of channels.
        divide_by: Number that pixel values (0..255) are divided by. Arrays are not changed.
        at_most: Maximum number of images to read, sampled at even distances in sorted order.

    Returns:
        Inputs `(N, ...)`; images as float32 `(N, height, width, channels)`.

    Raises:
        DataError: The file or folder is missing or empty, or a file cannot be read.
        ConfigError: A folder of images is given for a model that does not take images.
    """
    path = Path(source)
    if path.is_dir():
        return _read_images(path, model, divide_by, at_most)
    arrays = _read_arrays(path)
    return arrays["inputs"] if "inputs" in arrays else next(iter(arrays.values()))


def read_labeled(source: str) -> tuple[np.ndarray, np.ndarray]:
    """Read the arrays "inputs" and "labels" from an .npz file.

    Raises:
        DataError: The file is missing or cannot be read, or lacks one of the arrays.
    """
    arrays = _read_arrays(Path(source))
    missing = [name for name in ("inputs", "labels") if name not in arrays]
    if missing:
        raise DataError(
            source,
            f"it has no array {missing[0]!r}, only {', '.join(arrays)}",
            "write it with numpy.savez(path, inputs=..., labels=...)",
        )
    return arrays["inputs"], arrays["labels"]


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise DataError(str(path), "there is no such file", "give a .npy or .npz file")
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return {"inputs": content}
        return {name: content[name] for name in content.files}
    except (ValueError, OSError, EOFError) as error:
        raise DataError(
            str(path), f"it cannot be read ({error})", "write it with numpy.save or numpy.savez"
        ) from None


def _read_images(folder: Path, model: Any, divide_by: float, at_most: int) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    shape = tuple(model.input_shape)
    if len(shape) != 4 or None in shape[1:] or shape[-1] not in (1, 3):
        raise ConfigError(
            str(folder),
            f"the model's input has shape {shape[1:]}, which is not an image",
            "give a .npy file",
        )
    kinds = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in kinds)
    if not files:
        raise DataError(
            str(folder), "it holds no images", f"add files ending in {', '.join(kinds)}"
        )
    chosen = np.unique(np.linspace(0, len(files) - 1, min(len(files), at_most)).astype(int))
    pixels = []
    for index in chosen:
        try:
            with Image.open(files[index]) as image:
                fitted = image.convert("L" if shape[-1] == 1 else "RGB").resize(
                    (shape[2], shape[1])
                )
        except (UnidentifiedImageError, OSError) as error:
            raise DataError(
                str(files[index]), f"it cannot be read as an image ({error})", "remove it"
            ) from None
        pixels.append(np.asarray(fitted, np.float32).reshape(shape[1:]))
    return np.stack(pixels) / np.float32(divide_by)
