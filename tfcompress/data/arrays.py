"""Samples from files: NumPy arrays, with labels or without, and folders of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tfcompress.errors import ConfigError, DataError


def read_inputs(source: str, model: Any, divide_by: float, at_most: int) -> np.ndarray:
    """Inputs from a NumPy file or a folder of images, of the size that a model takes.

    Raises:
        DataError: There is nothing, or it cannot be read.
        ConfigError: Images for a model that takes none.
    """
    path = Path(source)
    if path.is_dir():
        return _read_images(path, model, divide_by, at_most)
    arrays = _read_arrays(path)
    return arrays["inputs"] if "inputs" in arrays else next(iter(arrays.values()))


def read_labelled(source: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and labels from an .npz file.

    Raises:
        DataError: It is no such file, or lacks one of the two.
    """
    arrays = _read_arrays(Path(source))
    missing = [name for name in ("inputs", "labels") if name not in arrays]
    if missing:
        raise DataError(
            source,
            f"it has no array {missing[0]!r}, but {', '.join(arrays)}",
            "write it by numpy.savez(path, inputs=..., labels=...)",
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
            str(path), f"it cannot be read ({error})", "write it by numpy.save or numpy.savez"
        ) from None


def _read_images(folder: Path, model: Any, divide_by: float, at_most: int) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    shape = tuple(model.input_shape)
    if len(shape) != 4 or None in shape[1:] or shape[-1] not in (1, 3):
        raise ConfigError(
            str(folder), f"the model's input is {shape[1:]}, no image", "give a .npy file"
        )
    kinds = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in kinds)
    if not files:
        raise DataError(str(folder), "it holds no image", f"put in some of {', '.join(kinds)}")
    chosen = np.unique(np.linspace(0, len(files) - 1, min(len(files), at_most)).astype(int))
    pixels = []
    for index in chosen:
        try:
            with Image.open(files[index]) as image:
                fitted = image.convert("L" if shape[-1] == 1 else "RGB").resize(
                    (shape[2], shape[1])
                )
        except (UnidentifiedImageError, OSError) as error:
            raise DataError(str(files[index]), f"it is no image ({error})", "remove it") from None
        pixels.append(np.asarray(fitted, np.float32).reshape(shape[1:]))
    return np.stack(pixels) / np.float32(divide_by)
