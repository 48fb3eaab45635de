"""Data in whatever form the user has it, as batches of NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tfcompress.errors import DataError

Shape = tuple[int | None, ...]
Batch = tuple[list[np.ndarray], Any]
"""(one array per input, targets or None)."""


def batches(
    data: Any,
    names: Sequence[str],
    shapes: Sequence[Shape],
    batch_size: int = 16,
    at_most: int = 256,
) -> Iterator[Batch]:
    """Batches of inputs and targets.

    Args:
        data: An array of inputs; a list of arrays, or a dict by input name, for several inputs; a
            tuple (inputs, targets) of these; or an iterable of batches of the same forms, such as a
            `tf.data.Dataset`.
        names: Of the inputs.
        shapes: Of the inputs, without batch; None where any size fits.
        batch_size: For arrays.
        at_most: Samples to use. Arrays are sampled at even distances.

    Raises:
        DataError: No data, or a shape that does not fit.
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
                "data", "its batches are no arrays", "yield arrays or (inputs, targets) tuples"
            )
        check_shapes(arrays, names, shapes)
        _check_targets(arrays, targets)
        yield arrays, None if targets is None else np.asarray(targets)
        seen += len(arrays[0])
        if seen >= at_most:
            return
    if not seen:
        raise DataError("data", "it holds no sample", "give a non-empty data set")


def as_arrays(value: Any, names: Sequence[str], where: str = "data") -> list[np.ndarray] | None:
    """One array per input, if `value` is arrays at all.

    Args:
        value: An array for one input; a list or tuple of arrays, or a dict by input name.
        names: Of the inputs.
        where: What errors call the data.

    Raises:
        DataError: Too few or too many arrays.
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
    """Raise DataError where samples do not fit the inputs, or there are none."""
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
        raise DataError(where, "it holds no sample", "give a non-empty data set")
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
    """(inputs, targets); sample weights behind them are passed over."""
    if isinstance(element, tuple) and len(element) in (2, 3):
        return element[0], element[1]
    return element, None
