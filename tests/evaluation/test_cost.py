"""MACs worked out by hand for every kind of layer, in both flavors.

The dilated depthwise one is 5 * 5 * 2 * 9 = 450.
"""

import numpy as np
import pytest

from tfcompress.errors import LayerError
from tfcompress.evaluation.cost import count_cost
from tfcompress.litert.cost import count_litert_macs
from tfcompress.litert.model import to_litert


def macs_of(library, shape, *layers):
    x = inputs = library.Input(shape)
    for layer in layers:
        x = layer(x)
    cost = count_cost(library.Model(inputs, x))
    assert not cost.uncounted
    return cost.macs


CASES = {
    "Conv2D strided": ((9, 9, 3), lambda k: k.Conv2D(5, 3, strides=2), 4 * 4 * 5 * 9 * 3),
    "Conv2D grouped": ((8, 8, 8), lambda k: k.Conv2D(16, 3, groups=4), 6 * 6 * 16 * 9 * 2),
    "Conv2D dilated": ((9, 9, 2), lambda k: k.Conv2D(4, 3, dilation_rate=2), 5 * 5 * 4 * 9 * 2),
    "DepthwiseConv2D dilated": ((9, 9, 2), lambda k: k.DepthwiseConv2D(3, dilation_rate=2), 450),
    "Conv1D": ((10, 4), lambda k: k.Conv1D(6, 3, padding="same"), 10 * 6 * 3 * 4),
    "Conv3D": ((4, 4, 4, 2), lambda k: k.Conv3D(3, 2), 27 * 3 * 8 * 2),
    "Conv2DTranspose": ((4, 4, 6), lambda k: k.Conv2DTranspose(3, 2, strides=2), 16 * 6 * 4 * 3),
    "DepthwiseConv2D": ((8, 8, 4), lambda k: k.DepthwiseConv2D(3, depth_multiplier=2), 36 * 8 * 9),
    "SeparableConv2D": ((8, 8, 4), lambda k: k.SeparableConv2D(5, 3), 36 * 4 * 9 + 36 * 4 * 5),
    "Dense on a sequence": ((7, 4), lambda k: k.Dense(5), 7 * 4 * 5),
    "EinsumDense": ((7, 4), lambda k: k.EinsumDense("abc,cde->abde", (None, 2, 3)), 7 * 4 * 6),
    "LSTM": ((7, 4), lambda k: k.LSTM(5), 7 * (4 * 20 + 5 * 20)),
    "GRU twice": ((7, 4), lambda k: k.Bidirectional(k.GRU(3)), 2 * 7 * (4 * 9 + 3 * 9)),
    "TimeDistributed": ((7, 4), lambda k: k.TimeDistributed(k.Dense(5)), 7 * 4 * 5),
    "no MACs": ((8, 8, 4), lambda k: k.BatchNormalization(), 0),
}


@pytest.mark.parametrize("name", CASES)
def test_layers_by_hand(library, name):
    shape, make, expected = CASES[name]
    assert macs_of(library, shape, make(library.layers)) == expected


def test_attention_by_hand(library):
    """Sequence 10 of width 8, 2 heads of 3: four projections, scores and weighted values."""
    x = library.Input((10, 8))
    model = library.Model(x, library.layers.MultiHeadAttention(2, 3)(x, x))
    projections = 3 * 10 * 8 * 6 + 10 * 6 * 8
    assert count_cost(model).macs == projections + 2 * (10 * 10 * 2 * 3)


def test_shared_layer_counts_each_call(library):
    inputs = library.Input((4,))
    shared = library.layers.Dense(4, name="shared")
    cost = count_cost(library.Model(inputs, shared(shared(inputs))))
    (layer,) = cost.layers
    assert (layer.calls, layer.macs, layer.parameters) == (2, 32, 20)


def test_nested_and_subclassed_models(library):
    import tensorflow as tf

    layers = library.layers

    class Scores(layers.Layer):
        """No weights, but a matrix product."""

        def call(self, x):
            return tf.matmul(x, x, transpose_b=True)

    class Net(library.Model):
        def __init__(self):
            super().__init__()
            self.body = library.Sequential([layers.Dense(4, name="d")], name="body")
            self.scores = Scores(name="scores")

        def call(self, x):
            return tf.einsum("bij,bjk->bik", self.scores(self.body(x)), x)

    net = Net()
    net(np.zeros((1, 5, 3), np.float32))
    cost = count_cost(net, [(5, 3)])
    by_path = {layer.path: layer.macs for layer in cost.layers}
    assert by_path == {".": 5 * 5 * 3, "body/d": 5 * 3 * 4, "scores": 5 * 5 * 4}
    with pytest.raises(LayerError, match="pass input_shapes"):
        count_cost(net)


def test_known_networks(library):
    """Published: MobileNetV2 300 M, ResNet50 3.86 G (stride in the 1x1), both at 224."""
    for name, published in (("MobileNetV2", 300e6), ("ResNet50", 3.86e9)):
        model = getattr(library.applications, name)(weights=None)
        cost = count_cost(model)
        assert cost.macs == pytest.approx(published, rel=0.005)
        assert cost.parameters == model.count_params()
        assert not cost.uncounted


def test_a_loop_is_listed_and_never_zero(library):
    import tensorflow as tf

    class Loop(library.layers.Layer):
        def build(self, shape):
            self.w = self.add_weight(shape=(shape[-1], shape[-1]), name="w")

        def call(self, x):
            return tf.while_loop(
                lambda i, _: i < 3, lambda i, v: (i + 1, tf.matmul(v, self.w)), (0, x)
            )[1]

    inputs = library.Input((4,))
    cost = count_cost(library.Model(inputs, Loop(name="loop")(inputs)))
    assert cost.layers[0].macs is None
    assert cost.uncounted[0][0] == "loop"
    assert "number of times its body runs" in cost.uncounted[0][1]
    assert "uncounted" in str(cost)


def test_counting_leaves_the_model_as_it_was(tiny_model, images):
    before = tiny_model.predict(images[0], verbose=0)
    count_cost(tiny_model)
    assert "call" not in vars(tiny_model.get_layer("conv"))
    np.testing.assert_array_equal(tiny_model.predict(images[0], verbose=0), before)


def test_nonzero_parameters(tiny_model):
    tiny_model.get_layer("head").kernel.assign(np.zeros((16, 3)))
    head = next(layer for layer in count_cost(tiny_model).layers if layer.path == "head")
    assert (head.parameters, head.nonzero) == (51, 0)


def test_litert_file_costs_what_its_model_costs(library):
    layers = library.layers
    inputs = library.Input((16, 16, 4))
    x = layers.Conv2D(8, 3, strides=2, padding="same")(inputs)
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    x = layers.Conv2DTranspose(4, 2, strides=2)(x)
    x = layers.Dense(3)(layers.GlobalAveragePooling2D()(x))
    model = library.Model(inputs, x)
    by_hand = 64 * 8 * 9 * 4 + 64 * 8 * 9 + 64 * 8 * 4 * 4 + 12
    data = np.random.default_rng(0).random((20, 16, 16, 4), dtype=np.float32)
    assert count_cost(model).macs == by_hand
    for format in ("float32", "int8"):
        assert count_litert_macs(to_litert(model, format, data).file) == by_hand
