import keras
import numpy as np
import pytest

from tests.pruning.channels.masked_reference import randomize
from tests.pruning.channels.zoo import ZOO, inputs_for, outputs_of
from tfcompress.errors import LayerError
from tfcompress.graph.layers import walk_layers
from tfcompress.graph.rebuild import Edit, rebuild


@pytest.mark.parametrize("name", ZOO)
def test_copy_computes_the_same_and_shares_nothing(library, name):
    model = ZOO[name](library)
    randomize(model)
    copy = rebuild(model)
    inputs = inputs_for(model)
    for a, b in zip(outputs_of(model, inputs), outputs_of(copy, inputs), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    weighty = [[p.path for p in walk_layers(m) if p.layer.weights] for m in (model, copy)]
    assert weighty[0] == weighty[1]
    assert type(copy) is type(model)
    ours, theirs = ({id(v) for v in m.weights} for m in (model, copy))
    assert not ours & theirs


def test_flags_regularizers_policies_and_names_survive(library):
    layers = library.layers
    inputs = library.Input((4,), name="in")
    x = layers.Dense(3, kernel_regularizer="l2", dtype="mixed_float16", name="half")(inputs)
    x = layers.BatchNormalization(trainable=False, name="still")(x)
    model = library.Model(inputs, layers.Dense(2, dtype="float32", name="out")(x), name="mine")
    copy = rebuild(model)
    half = copy.get_layer("half")
    assert copy.name == "mine"
    assert half.kernel_regularizer is not None
    assert half.compute_dtype == "float16"
    assert not copy.get_layer("still").trainable
    assert copy.get_layer("out").trainable


def test_compile_state_survives_with_a_fresh_optimizer(library):
    model = ZOO["plain"](library)
    model.compile(library.optimizers.Adam(0.0123), "mse", metrics=["mae"])
    x = inputs_for(model, 8)
    y = np.zeros((8, 4, 4, 3), "float32")
    model.fit(x, y, verbose=0)
    copy = rebuild(model)
    assert float(copy.optimizer.learning_rate) == pytest.approx(0.0123)
    assert int(copy.optimizer.iterations) == 0
    copy.fit(x, y, verbose=0)


def test_dict_inputs_and_outputs_keep_their_structure(library):
    layers = library.layers
    a, b = library.Input((3,), name="a"), library.Input((3,), name="b")
    total = layers.Add(name="sum")([a, b])
    model = library.Model({"a": a, "b": b}, {"y": layers.Dense(2, name="y")(total)})
    copy = rebuild(model)
    x = {"a": np.ones((2, 3), "float32"), "b": np.zeros((2, 3), "float32")}
    np.testing.assert_allclose(np.asarray(copy(x)["y"]), np.asarray(model(x)["y"]))


def test_one_layer_becomes_two_with_given_weights(library):
    layers = library.layers
    inputs = library.Input((4,))
    x = layers.Dense(6, name="big")(inputs)
    model = library.Model(inputs, layers.Dense(2, name="head")(x))
    u, s, v = np.linalg.svd(np.asarray(model.get_layer("big").kernel), full_matrices=False)
    chain = [layers.Dense(4, use_bias=False, name="left"), layers.Dense(6, name="right")]
    weights = {
        ("left", "kernel"): u * s,
        ("right", "kernel"): v,
        ("right", "bias"): np.asarray(model.get_layer("big").bias),
    }
    new = rebuild(model, {"big": Edit(replacement=chain)}, weights)
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    np.testing.assert_allclose(np.asarray(new(x)), np.asarray(model(x)), atol=1e-5)


def test_errors_name_the_layer():
    model = ZOO["plain"](keras)
    with pytest.raises(LayerError, match="layer 'nowhere'.*no operation at this path.*use one of"):
        rebuild(model, {"nowhere": Edit(config={"filters": 3})})
    with pytest.raises(LayerError, match=r"layer 'a': its kernel has shape \(3, 3, 3, 5\)"):
        rebuild(model, {"a": Edit(config={"filters": 5})})
    with pytest.raises(LayerError, match="layer 'a': it has no weight 'kernle'"):
        rebuild(model, weights={("a", "kernle"): np.zeros(3)})


def test_a_layer_without_config_is_an_error():
    class Odd(keras.layers.Layer):
        def __init__(self, function):
            super().__init__(name="odd")
            self.function = function

        def call(self, x):
            return self.function(x)

        def get_config(self):
            raise NotImplementedError

    inputs = keras.Input((3,))
    model = keras.Model(inputs, Odd(lambda x: x * 2)(inputs))
    with pytest.raises(LayerError, match=r"layer 'odd'.*define get_config\(\)"):
        rebuild(model)
