import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tf_keras

from benchmarks.applications import application_makers
from tests.pruning.channels.masked_reference import randomize
from tests.pruning.channels.zoo import ZOO, inputs_for, outputs_of
from tfcompress.errors import LayerError
from tfcompress.graph.layers import flavor_of, walk_layers
from tfcompress.twin.twin import to_keras3, to_tf_keras, twin_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ZOO)
def test_there_and_back(library, name):
    model = ZOO[name](library)
    randomize(model)
    cross = (to_tf_keras, to_keras3) if library is keras else (to_keras3, to_tf_keras)
    twin = cross[0](model)
    assert flavor_of(twin) != flavor_of(model)
    again = cross[1](twin)
    assert flavor_of(again) == flavor_of(model)
    inputs = inputs_for(model)
    for a, b, c in zip(*(outputs_of(m, inputs) for m in (model, twin, again)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * max(1, np.abs(a).max()))
        np.testing.assert_allclose(a, c, atol=1e-5 * max(1, np.abs(a).max()))
    weighty = [[p.path for p in walk_layers(m) if p.layer.weights] for m in (model, again)]
    assert weighty[0] == weighty[1]


@pytest.mark.parametrize("name", ZOO)
def test_flat_twin_and_weights_brought_back(library, name):
    model = ZOO[name](library)
    randomize(model)
    twin = twin_of(model)
    assert flavor_of(twin.model) == "tf_keras"
    assert not [layer for layer in twin.model.layers if isinstance(layer, tf_keras.Model)]
    inputs = inputs_for(model)
    for a, b in zip(outputs_of(model, inputs), outputs_of(twin.model, inputs), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * max(1, np.abs(a).max()))
    for variable in twin.model.trainable_weights:
        variable.assign(0.5 * np.asarray(variable))
    back = twin.bring_back({path: twin.layer(path) for path in twin.names})
    assert flavor_of(back) == flavor_of(model)
    for a, b in zip(outputs_of(back, inputs), outputs_of(twin.model, inputs), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * max(1, np.abs(a).max()))


@pytest.mark.parametrize("name", ["hard_sigmoid", "hard_silu", "relu6", "silu", "gelu", "elu"])
def test_activations_mean_the_same_over_there(name):
    x = inputs = keras.Input((5,))
    x = keras.layers.Dense(4, activation=name)(x)
    model = keras.Model(inputs, keras.layers.Activation(name)(x))
    randomize(model)
    data = np.linspace(-9, 9, 50).reshape(10, 5).astype("float32")
    twin = to_tf_keras(model)
    back = to_keras3(twin)
    np.testing.assert_allclose(outputs_of(twin, data)[0], outputs_of(model, data)[0], atol=1e-5)
    np.testing.assert_allclose(outputs_of(back, data)[0], outputs_of(model, data)[0], atol=1e-5)
    assert back.layers[1].get_config()["activation"] == model.layers[1].get_config()["activation"]


def test_legacy_hard_sigmoid_is_not_keras_3s():
    """clip(0.2 x + 0.5) there, relu6(x + 3) / 6 here."""
    inputs = tf_keras.Input((1,))
    model = tf_keras.Model(inputs, tf_keras.layers.Activation("hard_sigmoid")(inputs))
    x = np.array([[1.0]], "float32")
    assert outputs_of(to_keras3(model), x)[0] == pytest.approx(0.7)


def test_options_that_have_other_names():
    inputs = keras.Input((4,))
    x = keras.layers.LeakyReLU(negative_slope=0.17, name="leaky")(inputs)
    x = keras.layers.BatchNormalization(momentum=0.7, trainable=False, name="norm")(x)
    x = keras.layers.Dense(3, kernel_regularizer="l2", name="dense")(x)
    twin = to_tf_keras(keras.Model(inputs, keras.layers.Dropout(0.3, seed=7, name="drop")(x)))
    assert twin.get_layer("leaky").alpha == pytest.approx(0.17)
    assert twin.get_layer("norm").momentum == pytest.approx(0.7)
    assert not twin.get_layer("norm").trainable
    assert twin.get_layer("dense").kernel_regularizer is not None
    assert twin.get_layer("drop").rate == pytest.approx(0.3)


IMAGES = np.random.default_rng(0).normal(1, 1, (16, 6, 6, 8)).astype("float32")
RANDOM = {
    "dropout": lambda layers, x: layers.Dropout(0.5)(x),
    "spatial": lambda layers, x: layers.SpatialDropout2D(0.5)(x),
    "noise": lambda layers, x: layers.GaussianNoise(0.5)(x),
    "flip": lambda layers, x: layers.RandomFlip()(x),
    "recurrent": lambda layers, x: layers.LSTM(4, dropout=0.5)(layers.Reshape((36, 8))(x)),
    "attention": lambda layers, x: layers.MultiHeadAttention(2, 4, dropout=0.5)(x, x),
}


@pytest.mark.parametrize("flat", [False, True], ids=["as it is", "flat"])
@pytest.mark.parametrize("name", RANDOM)
def test_what_is_random_in_training_is_so_in_the_twin(name, flat):
    """Keras 3 records training=False in each such call; tf_keras would obey it."""
    inputs = keras.Input(IMAGES.shape[1:])
    model = keras.Model(inputs, RANDOM[name](keras.layers, inputs))
    twin = twin_of(model).model if flat else to_tf_keras(model)
    once, again = (np.asarray(twin(IMAGES, training=True)) for _ in range(2))
    assert np.abs(once - again).max() > 0.01
    plain = np.asarray(model(IMAGES, training=False))
    np.testing.assert_allclose(np.asarray(twin(IMAGES, training=False)), plain, atol=1e-5)


def test_half_the_values_drop_in_the_twin():
    inputs = keras.Input((1000,))
    twin = to_tf_keras(keras.Model(inputs, keras.layers.Dropout(0.5)(inputs)))
    dropped = np.asarray(twin(np.ones((10, 1000), "float32"), training=True)) == 0
    assert dropped.mean() == pytest.approx(0.5, abs=0.03)  # six standard deviations


def test_training_is_the_same_over_there():
    """Statistics of the batch, penalties and constraints included."""
    inputs = keras.Input((6, 6, 8))
    x = keras.layers.Conv2D(4, 3, kernel_regularizer="l2", kernel_constraint="unit_norm")(inputs)
    x = keras.layers.BatchNormalization(momentum=0.5)(x)
    x = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, x)
    twin = to_tf_keras(model)
    labels = np.random.default_rng(1).normal(size=(16, 3)).astype("float32")
    for library, each in ((keras, model), (tf_keras, twin)):
        each.compile(library.optimizers.SGD(0.1), "mse")
        for _ in range(3):
            each.train_on_batch(IMAGES, labels)
    for ours, theirs in zip(model.weights, twin.weights, strict=True):
        # tf_keras' fused kernel divides the moving variance by n - 1; n is 16 * 4 * 4 here.
        more = 1 / 255 if "variance" in ours.path else 0
        np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=more, atol=1e-5)


def frozen_base(library, rate=0.5):
    """A base with normalization and dropout, called with training=False."""
    base = library.Sequential(
        [
            library.Input((8,)),
            library.layers.BatchNormalization(name="norm"),
            library.layers.Dropout(rate, name="drop"),
        ],
        name="base",
    )
    inputs = library.Input((8,))
    return library.Model(inputs, library.layers.Dense(2)(base(inputs, training=False)))


def test_a_frozen_base_of_tf_keras_stays_frozen_when_it_is_spliced():
    model = frozen_base(tf_keras)
    x = IMAGES[:, 0, 0]
    expected = np.asarray(model(x, training=True))
    np.testing.assert_allclose(np.asarray(twin_of(model).model(x, training=True)), expected)


def test_keras_3_overrules_what_a_call_was_recorded_with():
    """So does the twin; the way to Keras 3, where a frozen base thaws, says it."""
    x = IMAGES[:, 0, 0]
    model = frozen_base(keras, rate=0)
    twin = to_tf_keras(model)
    for training in (True, False):  # statistics of the batch, then the moving ones
        ours, theirs = (np.asarray(m(x, training=training)) for m in (model, twin))
        np.testing.assert_allclose(theirs, ours, atol=1e-5)
    assert not np.allclose(twin(x, training=True), twin(x, training=False))
    with pytest.warns(UserWarning, match="'base' is called with training=False.*trainable=False"):
        to_keras3(frozen_base(tf_keras))


def test_mixed_precision_policies_cross():
    inputs = keras.Input((4,))
    x = keras.layers.Dense(3, dtype="mixed_float16", name="half")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, dtype="float32")(x))
    twin = to_tf_keras(model, check=False)
    assert twin.get_layer("half").compute_dtype == "float16"
    assert to_keras3(twin, check=False).get_layer("half").compute_dtype == "float16"


def test_what_cannot_cross_is_named():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x * 2, name="twice")(inputs))
    with pytest.raises(
        LayerError, match="layer 'twice': Lambda cannot be converted from keras to tf_k"
    ):
        to_tf_keras(model)
    with pytest.raises(LayerError, match="it is a keras model already"):
        to_keras3(model)


def test_the_environment_stays_as_it_was():
    code = (
        "import os, tensorflow as tf, keras\n"
        "from tfcompress.twin.twin import to_tf_keras\n"
        "x = keras.Input((3,))\n"
        "to_tf_keras(keras.Model(x, keras.layers.Dense(2)(x)))\n"
        "print('TF_USE_LEGACY_KERAS' in os.environ, tf.keras.__version__ == keras.__version__)\n"
    )
    clean = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=clean, capture_output=True, text=True
    )
    assert done.stdout.split() == ["False", "True"], done.stderr


FAST = ("MobileNetV2", "EfficientNetB0")
MAKERS = dict(application_makers())
APPLICATIONS = [
    pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in MAKERS
]


def test_there_are_forty():
    assert len(MAKERS) == 40


@pytest.mark.parametrize("name", APPLICATIONS)
def test_applications_cross_and_come_back(name):
    model = MAKERS[name]()
    randomize(model)
    twin = to_tf_keras(model)
    assert flavor_of(twin) == "tf_keras"
    assert flavor_of(to_keras3(twin)) == "keras"  # both checked their outputs
