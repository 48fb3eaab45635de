"""Calibration data: any form that Keras takes, checked and cut into single samples."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tfcompress.data.batches import as_arrays, check_shapes
from tfcompress.errors import DataError

FEW_SAMPLES = 16
WHERE = "calibration"
"""Name of the data in errors."""


class CalibrationWarning(UserWarning):
    """The calibration data can be used, but probably gives poor ranges."""


def calibration_samples(
    calibration: Any,
    names: Sequence[str],
    shapes: Sequence[tuple[int | None, ...]],
    at_most: int = 200,
) -> list[list[np.ndarray]]:
    """Read single samples and check them against the model's inputs.

    Args:
        calibration: An array `(N, ...)` for a model with one input; a list of arrays, or a dict
            by input name, for several; or an iterable (a `tf.data.Dataset`, batched or not) of
            inputs or of `(inputs, labels)` tuples. Labels are ignored.
        names: Names of the model's inputs.
        shapes: Shapes of the inputs without the batch axis; None where any size fits.
        at_most: Largest number of samples to use. Of an array, evenly spaced ones are taken; of an
            iterable, the first ones.

    Returns:
        A list per sample, which holds one float32 array (1, ...) for each input.

    Warns:
        CalibrationWarning: Fewer than 16 samples, or samples that are constant.

    Raises:
        DataError: There is no sample, a shape is wrong, or a value is not finite.
    """
    samples = list(itertools.islice(_samples(calibration, names, shapes, at_most), at_most))
    if not samples:
        raise DataError(
            "calibration",
            "it holds no sample",
            "give arrays or a tf.data set with 100 or so",
        )
    for i, sample in enumerate(samples):
        for name, value in zip(names, sample, strict=True):
            if not np.isfinite(value).all():
                raise DataError(
                    f"calibration sample {i}",
                    f"input {name!r} has values that are not finite",
                    "remove the sample: ranges cannot be measured on NaN or infinity",
                )
    _warn_if_suspicious(samples, names)
    return samples


def _samples(
    calibration: Any,
    names: Sequence[str],
    shapes: Sequence[tuple[int | None, ...]],
    at_most: int,
) -> Iterator[list[np.ndarray]]:
    arrays = as_arrays(calibration, names, WHERE)
    if arrays is not None:
        check_shapes(arrays, names, shapes, WHERE)
        count = len(arrays[0])
        for i in np.linspace(0, count - 1, min(count, at_most)).round().astype(int):
            yield [np.asarray(array[i : i + 1], np.float32) for array in arrays]
        return
    if not isinstance(calibration, Iterable):
        raise DataError(
            "calibration",
            f"it is a {type(calibration).__name__}",
            "give an array, a list or dict of arrays, or a tf.data.Dataset",
        )
    for element in calibration:
        inputs = element[0] if isinstance(element, tuple) else element
        parts = as_arrays(inputs, names, WHERE) or [np.asarray(inputs)]
        if len(parts[0].shape) == len(shapes[0]):
            parts = [part[None] for part in parts]
        check_shapes(parts, names, shapes, WHERE)
        for i in range(len(parts[0])):
            yield [np.asarray(part[i : i + 1], np.float32) for part in parts]


def _warn_if_suspicious(samples: Sequence[Sequence[np.ndarray]], names: Sequence[str]) -> None:
    if len(samples) < FEW_SAMPLES:
        warnings.warn(
            f"only {len(samples)} calibration samples: ranges may be cut short on other data; "
            "give 100 or more",
            CalibrationWarning,
            stacklevel=4,
        )
    for i, name in enumerate(names):
        if all(sample[i].size > 1 and np.ptp(sample[i]) == 0 for sample in samples):
            warnings.warn(
                f"every calibration sample of input {name!r} is constant: the measured ranges "
                "mean nothing; give real data",
                CalibrationWarning,
                stacklevel=4,
            )
