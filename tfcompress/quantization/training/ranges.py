"""Ranges that fake quantization starts from, measured on the float model.

TFMOT starts every activation's range at -6 to 6 and moves it by a thousandth of the distance to the
batch's range with each step, so that it needs thousands of steps. Here it starts from the smallest
and largest values over some samples, as in quantization after training (Jacob et al. 2018, section
3), and a few epochs are enough.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfcompress.graph.wiring import read_wiring
from tfcompress.internals.tf_keras import CALLS
from tfcompress.litert.calibration import CalibrationWarning, calibration_samples

Range = tuple[float, float]
Calibration = Sequence[Sequence[np.ndarray]]
"""Samples: one array per input, with a batch axis of 1."""

_PRE = "pre_activation"
_AFTER = ("output", "post_activation")


def samples_for(model: Any, calibration: Any, fit: Mapping[str, Any] | None) -> Calibration:
    """Samples from calibration data, or else from the `x` of `fit` if that can be read twice.

    Args:
        model: Model that the samples are inputs of.
        calibration: Arrays or a `tf.data.Dataset`, as `to_litert` takes them; None for none.
        fit: Arguments of `fit`; None for none.

    Warns:
        CalibrationWarning: There are no samples.

    Raises:
        DataError: No sample, a wrong shape, or values that are not finite.
    """
    if calibration is None:
        calibration = (fit or {}).get("x")
        arrays = isinstance(calibration, (np.ndarray, list, tuple, dict))
        if not arrays and not hasattr(calibration, "element_spec"):  # a tf.data.Dataset has one
            warnings.warn(
                "there is no data to measure ranges on, so they start at -6 to 6 and need "
                "thousands of steps: pass calibration=, about 100 samples as the model is fed",
                CalibrationWarning,
                stacklevel=3,
            )
            return []
    wiring = read_wiring(model)
    return calibration_samples(calibration, wiring.input_names, wiring.input_shapes)


def set_ranges(
    quantized: Mapping[str, Mapping[str, Any]], model: Any, samples: Calibration
) -> None:
    """Assign measured ranges to quantizers of activations.

    Args:
        quantized: Variables by role ("output_min", ...) by the name of the layer they belong to.
        model: The float tf_keras model, functional, without models inside it.
        samples: Inputs to run the model on.
    """
    taps: dict[tuple[str, str], list[Any]] = {}
    for name, variables in quantized.items():
        layer = model.get_layer(name)
        if any(f"{what}_min" in variables for what in _AFTER):
            taps[name, "after"] = [node.outputs for node in CALLS.of(layer)]
        if f"{_PRE}_min" in variables:
            taps[name, _PRE] = _before_activation(layer)
    ranges = _measure(model, taps, samples)
    for (name, where), (low, high) in ranges.items():
        for what in _AFTER if where == "after" else (_PRE,):
            if f"{what}_min" in quantized[name]:
                quantized[name][f"{what}_min"].assign(low)
                quantized[name][f"{what}_max"].assign(high)


def _before_activation(layer: Any) -> list[Any]:
    """What goes into a layer's activation, at each of its calls."""
    inputs = [node.input_tensors for node in CALLS.of(layer)]
    if type(layer).__name__ in ("Activation", "Softmax"):
        return inputs
    changes = {"activation": "linear", "name": f"{layer.name}_before_activation"}
    linear = type(layer).from_config({**layer.get_config(), **changes})
    made = [linear(tensor) for tensor in inputs]
    linear.set_weights(layer.get_weights())
    return made


def _measure(
    model: Any, taps: Mapping[tuple[str, str], list[Any]], samples: Calibration
) -> dict[tuple[str, str], Range]:
    """Smallest and largest value of each tap; zero lies between them, as LiteRT requires."""
    import tensorflow as tf
    import tf_keras

    if not taps:
        return {}
    tapped = tf_keras.Model(model.inputs, [tf.nest.flatten(tensors) for tensors in taps.values()])

    @tf.function(reduce_retracing=True)
    def extremes(inputs: Any) -> tuple[Any, Any]:
        values = [tf.nest.flatten(tensors) for tensors in tapped(inputs, training=False)]
        least = [tf.reduce_min([tf.reduce_min(v) for v in tensors]) for tensors in values]
        most = [tf.reduce_max([tf.reduce_max(v) for v in tensors]) for tensors in values]
        return tf.stack(least), tf.stack(most)

    low = high = np.zeros(len(taps), np.float32)
    for sample in samples:
        least, most = extremes(
            [tf.constant(part, t.dtype) for part, t in zip(sample, model.inputs, strict=True)]
        )
        low, high = np.minimum(low, least), np.maximum(high, most)
    return {key: (float(low[i]), float(high[i])) for i, key in enumerate(taps) if low[i] < high[i]}
