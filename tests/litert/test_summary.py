"""`print(lite_model)`: what the file is, with numbers worked out by hand."""

import keras
import numpy as np
import pytest

from tfcompress.litert.model import to_litert


@pytest.fixture(scope="module")
def model():
    layers = keras.layers
    inputs = keras.Input((8, 8, 3), name="images")
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(5, name="logits")(x))


DATA = np.linspace(0, 1, 20 * 8 * 8 * 3).reshape(20, 8, 8, 3).astype("float32")
WEIGHTS = 3 * 3 * 3 * 4 + 3 * 3 * 4 * 4 + 4 * 5  # kernels of two convolutions and a Dense: 272


def test_an_int8_file(model):
    lite = to_litert(model, "int8", DATA).with_card({"classes": ["a"], "scaling": "minmax"})
    shown = str(lite)
    lines = [line.split() for line in shown.splitlines()]
    assert shown.splitlines()[0].strip() == f"LiteRT model, int8, {len(lite.content):,} bytes"
    step = f"{lite.inputs[0].scale:.6g}"
    assert ["input", "images", "1x8x8x3", "int8", step, "-128"] in lines  # inputs from 0 to 1
    assert any(line[:4] == ["output", "output_0", "1x5", "int8"] for line in lines)
    assert "operators: CONV_2D x2" in shown
    assert "FULLY_CONNECTED" in shown
    assert f"weights: {WEIGHTS} int8; 0.0% of them zero" in shown or f"{WEIGHTS} int8" in shown
    assert "in float: nothing" in shown
    assert "card: classes, scaling" in shown
    assert repr(lite) == (
        f"LiteModel(format='int8', size_bytes={len(lite.content)}, inputs='1x8x8x3 int8', "
        "outputs='1x5 int8')"
    )


def test_a_float_file(model):
    shown = str(to_litert(model))
    assert f"weights: {WEIGHTS} float32" in shown
    assert "in float: every operator" in shown
    assert "card:" not in shown


def test_what_stays_in_float_is_named(model):
    lite = to_litert(model, "int8", DATA, keep_float=["logits"])
    assert "in float: FULLY_CONNECTED" in str(lite)


def test_zeros_and_a_free_batch(model):
    half = keras.models.clone_model(model)
    for layer in half.layers:
        if layer.weights:
            kernel = np.ones(layer.kernel.shape, np.float32)
            kernel.reshape(-1)[::2] = 0
            layer.kernel.assign(kernel)
    shown = str(to_litert(half, batch_size=None))
    assert f"weights: {WEIGHTS} float32; 50.0% of them zero" in shown
    assert "?x8x8x3" in shown


def test_a_file_that_was_loaded_says_so(model, tmp_path):
    from tfcompress.litert.model import LiteModel

    to_litert(model, "float16").save(tmp_path / "m.tflite")
    shown = str(LiteModel.load(tmp_path / "m.tflite"))
    assert "LiteRT model, unknown format" in shown
    assert f"{WEIGHTS} float16" in shown
