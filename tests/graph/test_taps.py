"""Logits and features beside a model's outputs, in one forward pass."""

import numpy as np
import pytest

from models.unet import multi_unet_model
from tfcompress.errors import ConfigError
from tfcompress.graph.taps import TappedModel

X = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)


def inner_and_outer(library, head):
    layers = library.layers
    inside_in = library.Input((8,))
    inside = library.Model(
        inside_in, layers.Dense(6, activation="relu", name="deep")(inside_in), name="backbone"
    )
    inputs = library.Input((8,))
    return library.Model(inputs, head(layers.Dropout(0.5, name="drop")(inside(inputs))))


HEADS = {
    "in the layer": lambda lib: lib.layers.Dense(3, activation="softmax", name="head"),
    "sigmoid in the layer": lambda lib: lib.layers.Dense(3, activation="sigmoid", name="head"),
    "a layer of its own": lambda lib: (
        lambda x: lib.layers.Softmax()(lib.layers.Dense(3, name="head")(x))
    ),
    "an Activation": lambda lib: (
        lambda x: lib.layers.Activation("softmax")(lib.layers.Dense(3, name="head")(x))
    ),
    "an operation": lambda lib: lambda x: _softmax(lib)(lib.layers.Dense(3, name="head")(x)),
    "none": lambda lib: lib.layers.Dense(3, name="head"),
}


def _softmax(library):
    if library.__name__ == "keras":
        return library.ops.softmax
    import tensorflow as tf

    return tf.nn.softmax


@pytest.mark.parametrize("head", HEADS)
def test_logits_and_features(library, head):
    model = inner_and_outer(library, HEADS[head](library))
    tapped = TappedModel(model, ["deep"])
    found = tapped(X)
    np.testing.assert_allclose(found.outputs, model.predict(X, verbose=0), rtol=1e-5, atol=1e-6)
    deep, dense = model.get_layer("backbone").get_layer("deep"), model.get_layer("head")
    features = np.maximum(X @ np.asarray(deep.kernel) + np.asarray(deep.bias), 0)
    np.testing.assert_allclose(found.features["deep"], features, rtol=1e-5, atol=1e-6)
    logits = features @ np.asarray(dense.kernel) + np.asarray(dense.bias)
    np.testing.assert_allclose(found.logits[0], logits, rtol=1e-5, atol=1e-5)
    wanted = {"none": "", "sigmoid in the layer": "sigmoid"}.get(head, "softmax")
    assert tapped.activations == [wanted]
    assert tapped.logit_shapes == [(None, 3)]
    assert tapped.feature_shapes == {"deep": (None, 6)}
    if "layer" in head and "own" not in head:
        assert dense.activation.__name__ in ("softmax", "sigmoid"), "put back"


def test_training_mode(library):
    model = inner_and_outer(library, HEADS["none"](library))
    tapped = TappedModel(model)
    assert np.ptp([np.asarray(tapped(X).outputs) for _ in range(3)], axis=0).max() == 0
    assert np.ptp([np.asarray(tapped(X, training=True).outputs) for _ in range(3)], axis=0).any()


def test_unet(library):
    model = multi_unet_model(4, 16, 16, 3, filters=(8, 16), flavor=library.__name__)
    images = np.random.default_rng(0).random((2, 16, 16, 3), dtype=np.float32)
    found = TappedModel(model)(images)
    exponents = np.exp(np.asarray(found.logits[0], np.float64))
    np.testing.assert_allclose(
        exponents / exponents.sum(-1, keepdims=True), found.outputs, rtol=1e-4, atol=1e-6
    )


def test_several_inputs_and_outputs(library):
    layers = library.layers
    a, b = library.Input((8,), name="a"), library.Input((8,), name="b")
    one = layers.Dense(2, activation="softmax", name="one")(layers.Add()([a, b]))
    two = layers.Dense(3, name="two")(b)
    feed = {"a": X, "b": 2 * X}
    for outputs in ([one, two], {"two": two, "one": one}):
        model = library.Model({"b": b, "a": a}, outputs)
        found = TappedModel(model)(feed)
        expected = model.predict(feed, verbose=0)
        keys = outputs if isinstance(outputs, dict) else range(2)
        for key in keys:
            np.testing.assert_allclose(found.outputs[key], expected[key], rtol=1e-5, atol=1e-6)
    assert sorted(tuple(t.shape) for t in found.logits) == [(4, 2), (4, 3)]


def test_layers_that_cannot_be_tapped(library):
    layers = library.layers
    inputs = library.Input((8,))
    shared = layers.Dense(8, name="shared")
    model = library.Model(inputs, shared(shared(inputs)))
    with pytest.raises(ConfigError, match="'shraed'.* has no such layer.*use one of shared"):
        TappedModel(model, ["shraed"])
    with pytest.raises(ConfigError, match="it is called 2 times"):
        TappedModel(model, ["shared"])
