"""Data in whatever form the user has it, as batches of NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tfcompress.errors import DataError

Batch = tuple[list[np.ndarray], Any]
"""(one array per input, targets or None)."""


def batches(
    data: Any, shapes: Sequence[tuple[int | None, ...]], batch_size: int = 16, at_most: int = 256
) -> Iterator[Batch]:
    """Batches of inputs and targets.

    Args:
        data: An array of inputs; a list of arrays for several inputs; a tuple (inputs, targets) of
            these; or an iterable of batches of the same forms, such as a `tf.data.Dataset`.
        shapes: Of the inputs, without batch; None where any size fits.
        batch_size: For arrays.
        at_most: Samples to use. Arrays are sampled at even distances.

    Raises:
        DataError: No data, or a shape that does not fit.
    """
    inputs, targets = data if isinstance(data, tuple) and len(data) == 2 else (data, None)
    arrays = _arrays(inputs)
    if arrays is not None:
        _check(arrays, shapes)
        count = len(arrays[0])
        chosen = np.linspace(0, count - 1, min(count, at_most)).round().astype(int)
        for start in range(0, len(chosen), batch_size):
            part = chosen[start : start + batch_size]
            picked = None if targets is None else np.asarray(targets)[part]
            yield [array[part] for array in arrays], picked
        return
    if not isinstance(data, Iterable):
        raise DataError(
            "data",
            f"it is a {type(data).__name__}",
            "give an array, a tuple (inputs, targets), or a tf.data.Dataset of batches",
        )
    seen = 0
    for element in data:
        inputs, targets = element[:2] if isinstance(element, tuple) else (element, None)
        arrays = _arrays(inputs)
        if arrays is None:
            raise DataError(
                "data", "its batches are no arrays", "yield arrays or (inputs, targets) tuples"
            )
        _check(arrays, shapes)
        yield arrays, None if targets is None else np.asarray(targets)
        seen += len(arrays[0])
        if seen >= at_most:
            return
    if not seen:
        raise DataError("data", "it holds no sample", "give a non-empty data set")


def _arrays(value: Any) -> list[np.ndarray] | None:
    if isinstance(value, list):
        return [np.asarray(part) for part in value]
    if isinstance(value, np.ndarray) or (hasattr(value, "numpy") and hasattr(value, "shape")):
        return [np.asarray(value)]
    return None


def _check(arrays: Sequence[np.ndarray], shapes: Sequence[tuple[int | None, ...]]) -> None:
    if len(arrays) != len(shapes):
        raise DataError(
            "data",
            f"it has {len(arrays)} inputs, and the model takes {len(shapes)}",
            "give a list with one array per input",
        )
    if not len(arrays[0]):
        raise DataError("data", "it holds no sample", "give a non-empty data set")
    for array, shape in zip(arrays, shapes, strict=True):
        given = array.shape[1:]
        if len(given) != len(shape) or any(
            want is not None and want != have for want, have in zip(shape, given, strict=True)
        ):
            raise DataError(
                "data",
                f"its samples have shape {given}, and the model takes {shape}",
                "preprocess them exactly as training data",
            )
