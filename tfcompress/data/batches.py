"""Batches of NumPy arrays from data in any form: arrays, dicts, tuples, `tf.data` datasets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tfcompress.errors import DataError

Shape = tuple[int | None, ...]
Batch = tuple[list[np.ndarray], Any]
"""A batch: (one array per input, targets or None)."""


def batches(
    data: Any,
    names: Sequence[str],
    shapes: Sequence[Shape],
    batch_size: int = 16,
    at_most: int = 256,
) -> Iterator[Batch]:
    """Yield batches of inputs and targets.

    Args:
        data: Array of inputs; for several inputs a list of arrays, or a dict by input name; a tuple
            (inputs, targets) of these; or an iterable of batches of the same forms, such as a
            `tf.data.Dataset`.
        names: Names of the model's inputs.
        shapes: Shapes of the inputs without the batch axis; an axis of None accepts any size.
        batch_size: Number of samples per batch, for arrays. Datasets keep their own batches.
        at_most: Number of samples after which to stop. Arrays are sampled at even distances;
            of a dataset, the first batches that reach this number are taken.

    Raises:
        DataError: The data are empty, or their form or shape does not match the inputs.
    """
    if isinstance(data, list) and data and all(isinstance(part, tuple) for part in data):
        inputs, targets, arrays = None, None, None  # a list of batches
    else:
        inputs, targets = _parts(data)
        arrays = as_arrays(inputs, names)
    if arrays is not None:
        check_shapes(arrays, names, shapes)
        _check_targets(arrays, targets)
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
        inputs, targets = _parts(element)
        arrays = as_arrays(inputs, names)
        if arrays is None:
            raise DataError(
                "data", "its batches are not arrays", "yield arrays or (inputs, targets) tuples"
            )
        check_shapes(arrays, names, shapes)
        _check_targets(arrays, targets)
        yield arrays, None if targets is None else np.asarray(targets)
        seen += len(arrays[0])
        if seen >= at_most:
            return
    if not seen:
        raise DataError("data", "it holds no samples", "give a non-empty data set")


def as_arrays(value: Any, names: Sequence[str], where: str = "data") -> list[np.ndarray] | None:
    """Convert a value to one array per input, if it consists of arrays.

    Args:
        value: Array for one input; or a list or tuple of arrays, or a dict by input name.
        names: Names of the model's inputs.
        where: Name of the data in errors.

    Returns:
        One array per input; None if `value` is of another kind, such as a dataset.

    Raises:
        DataError: An input is missing, or the number of arrays is not the number of inputs.
    """
    if isinstance(value, Mapping):
        missing = [name for name in names if name not in value]
        if missing:
            raise DataError(where, f"input {missing[0]!r} is missing", f"give {', '.join(names)}")
        return [np.asarray(value[name]) for name in names]
    if isinstance(value, (list, tuple)):
        if len(value) != len(names):
            raise DataError(
                where,
                f"it has {len(value)} arrays for {len(names)} inputs",
                "give one array per input; join a list of samples with np.stack",
            )
        return [np.asarray(part) for part in value]
    if isinstance(value, np.ndarray) or (hasattr(value, "numpy") and hasattr(value, "shape")):
        if len(names) != 1:
            raise DataError(where, f"one array for {len(names)} inputs", "give a list of arrays")
        return [np.asarray(value)]
    return None


def check_shapes(
    arrays: Sequence[np.ndarray],
    names: Sequence[str],
    shapes: Sequence[Shape],
    where: str = "data",
) -> None:
    """Check arrays against the shapes of a model's inputs.

    Args:
        arrays: Arrays `(N, ...)`, one per input.
        names: Names of the inputs.
        shapes: Shapes of the inputs without the batch axis; an axis of None accepts any size.
        where: Name of the data in errors.

    Raises:
        DataError: A shape does not match, there are no samples, or the numbers of samples differ.
    """
    for array, name, shape in zip(arrays, names, shapes, strict=True):
        given = array.shape[1:]
        fits = len(given) == len(shape) and all(
            want is None or have == want for have, want in zip(given, shape, strict=True)
        )
        if not fits:
            raise DataError(
                where,
                f"samples of input {name!r} have shape {given}, but the model takes {shape}",
                "preprocess them exactly as training data",
            )
    if not len(arrays[0]):
        raise DataError(where, "it holds no samples", "give a non-empty data set")
    lengths = [len(array) for array in arrays]
    if len(set(lengths)) > 1:
        counts = ", ".join(f"{n} of {name!r}" for n, name in zip(lengths, names, strict=True))
        raise DataError(where, f"it has {counts}", "give as many samples of each input")


def _check_targets(arrays: Sequence[np.ndarray], targets: Any) -> None:
    if targets is not None and hasattr(targets, "__len__") and len(targets) != len(arrays[0]):
        raise DataError(
            "data",
            f"it has {len(arrays[0])} inputs and {len(targets)} targets",
            "give one target per input",
        )


def _parts(element: Any) -> tuple[Any, Any]:
    """Split an element into (inputs, targets); sample weights are ignored."""
    if isinstance(element, tuple) and len(element) in (2, 3):
        return element[0], element[1]
    return element, None
