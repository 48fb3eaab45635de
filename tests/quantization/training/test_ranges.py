"""Ranges that quantization-aware training starts from."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.unet import multi_unet_model
from tfcompress.errors import DataError
from tfcompress.litert.calibration import CalibrationWarning
from tfcompress.litert.model import to_litert
from tfcompress.quantization.training.tfmot import quantize_aware

SAMPLES = np.linspace(-100, 50, 20, dtype=np.float32)[:, None]


def scaling():
    """Outputs of known size: 2 x, its ReLU, -x / 10 and its sigmoid, a softmax layer."""
    layers = keras.layers
    inputs = keras.Input((1,), name="x")
    x = layers.Dense(1, activation="relu", name="twice")(inputs)
    x = layers.Dense(2, activation="sigmoid", name="gate")(x)
    model = keras.Model(inputs, layers.Softmax(name="shares")(x))
    model.get_layer("twice").set_weights([np.full((1, 1), 2.0), np.zeros(1)])
    model.get_layer("gate").set_weights([np.full((1, 2), -0.1), np.full(2, 4.0)])
    return model


def ranges(result, name):
    return {
        v.name.rsplit("/", 1)[-1].removesuffix(":0"): float(v)
        for v in result.twin.get_layer(f"quant_{name}").weights
        if v.shape == () and ("activation" in v.name or "output" in v.name)
    }


@pytest.mark.parametrize("how", ["calibration", "fit", "tf.data"])
def test_ranges_are_those_of_the_samples(how):
    model = scaling()
    model.compile(keras.optimizers.SGD(0.0), "mse")
    if how == "fit":
        data = dict(fit=dict(x=SAMPLES, y=np.ones((20, 2)), batch_size=20, verbose=0))
    else:
        batches = tf.data.Dataset.from_tensor_slices(SAMPLES).batch(4)
        data = dict(
            calibration=batches if how == "tf.data" else SAMPLES, train=lambda twin: twin.compile()
        )
    result = quantize_aware(model, **data)
    # 2 * 50, cut at 0 below; 4 - 0.1 * [0, 100]
    gate = {"pre_activation_min": -6.0, "pre_activation_max": 4.0}
    assert ranges(result, "twice") == pytest.approx(
        {"post_activation_min": 0.0, "post_activation_max": 100.0}, rel=1e-5
    )
    found = ranges(result, "gate")
    assert {key: found[key] for key in gate} == pytest.approx(gate, rel=1e-5)


def test_int8_is_as_good_as_with_calibrated_ranges():
    """A step that moves no weight: only rounding is left, and it is that of plain int8."""
    model = multi_unet_model(4, 16, 16, 3, filters=(8, 16))
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    images = np.random.default_rng(0).normal(0, 30, (32, 16, 16, 3)).astype(np.float32)
    labels = np.zeros((32, 16, 16), np.int32)
    result = quantize_aware(model, fit=dict(x=images, y=labels, verbose=0))
    expected = model.predict(images, verbose=0)
    errors = {
        name: np.square(lite.predict(images) - expected).mean()
        for name, lite in (
            ("trained", result.to_litert()),
            ("calibrated", to_litert(model, "int8", images)),
        )
    }
    assert errors["trained"] < 1.5 * errors["calibrated"]


def test_without_data_it_is_said():
    with pytest.warns(CalibrationWarning, match="start at -6 to 6 .* pass calibration="):
        result = quantize_aware(scaling(), train=lambda twin: twin.compile())
    assert ranges(result, "twice") == {"post_activation_min": -6.0, "post_activation_max": 6.0}


def test_a_generator_is_not_used_up():
    model = scaling()
    model.compile("sgd", "mse")
    batches = iter([(SAMPLES, np.ones((20, 2), np.float32))])
    with pytest.warns(CalibrationWarning, match="start at -6"):
        quantize_aware(model, fit=dict(x=batches, steps_per_epoch=1, verbose=0))


def test_data_that_does_not_fit_is_refused_before_training():
    def never(twin):
        raise AssertionError

    with pytest.raises(DataError, match="calibration.*'x'"):
        quantize_aware(scaling(), train=never, calibration=np.zeros((20, 3), np.float32))
