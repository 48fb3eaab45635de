"""Quantization-aware training on Keras 3 and tf_keras models, measured on the int8 bytes."""

import keras
import numpy as np
import pytest

from models.unet import multi_unet_model
from tests.pruning.tfmot.test_prune import Subclassed, called, with_lambda
from tfcompress.errors import ConfigError, LayerError
from tfcompress.evaluation.sparsity import total_zeros
from tfcompress.graph.layers import flavor_of, walk_layers
from tfcompress.pruning.level.pruner import LevelPruner
from tfcompress.pruning.tfmot.cluster import tfmot_cluster
from tfcompress.quantization.training.tfmot import quantize_aware

DEFAULT = [{"sparsity": 0.8, "op_types": ["default"]}]


@pytest.fixture(scope="module")
def batch():
    generator = np.random.default_rng(0)
    return generator.random((16, 16, 16, 3), dtype=np.float32)


def training(model, batch):
    shape = (len(batch), *model.output_shape[1:-1])
    labels = np.random.default_rng(1).integers(0, model.output_shape[-1], shape)
    return dict(x=batch, y=labels, batch_size=8, verbose=0)


def unet(library, **more):
    model = multi_unet_model(4, 16, 16, 3, filters=(8, 16), flavor=library.__name__, **more)
    model.compile(library.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    return model


def check_int8(result, batch):
    """The int8 file computes what training saw, in integers alone."""
    lite = result.to_litert()
    assert lite.float_ops == ()
    assert (lite.inputs[0].dtype, lite.outputs[0].dtype) == ("int8", "int8")
    np.testing.assert_allclose(
        lite.predict(batch), result.twin.predict(batch, verbose=0), atol=0.06
    )
    return lite


def test_unet(library, batch):
    model = unet(library, batch_norm=True)
    result = quantize_aware(model, fit=training(model, batch))
    check_int8(result, batch)
    assert flavor_of(result.model) == library.__name__
    assert [p.path for p in walk_layers(result.model)] == [p.path for p in walk_layers(model)]
    assert all(row.quantized for row in result.rows)
    how = {row.path: row.how for row in result.rows}
    assert how["up1_transpose"] == "kernel, output"
    assert how["down1_a_norm"] == "folded into the convolution before it"
    assert "int8 in training" in str(result)
    old, new = (np.asarray(m.get_layer("down1_a_conv").kernel) for m in (model, result.model))
    assert not np.array_equal(old, new), "the plain model has the trained weights"
    np.testing.assert_allclose(
        result.model.predict(batch, verbose=0), result.twin.predict(batch, verbose=0), atol=0.1
    )


def test_sparsity_stays_without_normalization_too(batch):
    """TFMOT's own scheme refuses Conv2DTranspose, and loses zeros before a separate ReLU."""
    model = unet(keras)
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(3, 3, padding="same", name="first")(inputs)
    model = keras.Model(inputs, model(keras.layers.ReLU(name="alone")(x)))
    model.compile("adam", "sparse_categorical_crossentropy")
    LevelPruner(model, DEFAULT).compress()
    result = quantize_aware(model, preserve_kernels="sparsity", fit=training(model, batch))
    before, after = total_zeros(model), total_zeros(result.model)
    assert before.zeros == after.zeros > 0.79 * before.weights
    lite = check_int8(result, batch)
    assert total_zeros(lite).zeros >= before.zeros
    kept = {row.path: row.kept for row in result.rows}
    assert kept["multi_unet/up1_transpose"] == "79.9% zeros"
    assert kept["first"] == "79.0% zeros"  # 64 of 81


def small_unet():
    """The kinds of layers of a U-Net, one of each."""
    layers = keras.layers
    inputs = keras.Input((16, 16, 3))
    skip = layers.Conv2D(8, 3, padding="same", name="stem")(inputs)
    skip = layers.ReLU()(layers.BatchNormalization(name="norm")(skip))
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.MaxPooling2D()(skip))
    x = layers.Conv2DTranspose(8, 2, strides=2, name="up")(x)
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.Concatenate()([x, skip]))
    model = keras.Model(inputs, layers.Conv2D(4, 1, activation="softmax", name="head")(x))
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    return model


@pytest.mark.parametrize("what", ["clusters", "both"])
def test_clusters_stay(batch, what):
    model = small_unet()
    if what == "both":
        LevelPruner(model, DEFAULT).compress()
    clustered = tfmot_cluster(
        model,
        8,
        [{"op_types": ["Conv2DTranspose", "Conv2D"]}],
        per_channel=True,
        preserve_sparsity=what == "both",
        centroids="linear",
        fit=training(model, batch),
    )
    zeros = total_zeros(clustered.model).zeros
    result = quantize_aware(clustered.model, preserve_kernels=what, fit=training(model, batch))
    lite = check_int8(result, batch)
    weights = [tensor for kind, tensor in lite.file.weights() if kind == "CONV_2D"]
    assert len(weights) == 4
    for tensor in weights[:-1]:  # the head is too small to be clustered
        channels = tensor.data.reshape(tensor.shape[0], -1)
        assert max(len(np.unique(channel)) for channel in channels) <= 8
    if what == "both":
        assert total_zeros(lite).zeros >= zeros > 0


def test_what_tfmot_lacks(batch):
    """PReLU, merges, squeeze-and-excite, SeparableConv2D, silu, relu6, bilinear, keras.ops."""
    layers = keras.layers
    x = inputs = keras.Input((16, 16, 3))
    x = layers.PReLU(shared_axes=[1, 2], name="prelu")(
        layers.Conv2D(8, 3, padding="same", activation="relu6", name="six")(x)
    )
    x = layers.SeparableConv2D(8, 3, padding="same", name="separable")(x)
    x = layers.Activation("silu", name="silu")(layers.BatchNormalization(name="norm")(x))
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    gate = layers.Conv2D(8, 1, activation="sigmoid", name="excite")(gate)
    x = layers.Multiply(name="scale")([x, gate])
    y = layers.UpSampling2D(2, interpolation="bilinear", name="up")(layers.MaxPooling2D(2)(x))
    x = keras.ops.relu(x + y)
    model = keras.Model(inputs, layers.Conv2D(4, 1, activation="softmax", name="head")(x))
    model.compile("adam", "sparse_categorical_crossentropy")
    result = quantize_aware(model, fit=training(model, batch))
    check_int8(result, batch)
    old, new = (np.asarray(m.get_layer("separable").weights[1]) for m in (model, result.model))
    assert not np.array_equal(old, new)
    np.testing.assert_allclose(
        result.model.predict(batch, verbose=0), result.twin.predict(batch, verbose=0), atol=0.1
    )


def normalized():
    layers = keras.layers
    x = inputs = keras.Input((16, 16, 3))
    x = layers.LayerNormalization(name="ln")(layers.Conv2D(4, 3, name="conv")(x))
    x = layers.GroupNormalization(2, name="gn")(x)
    model = keras.Model(inputs, layers.Conv2D(4, 1, activation="softmax", name="head")(x))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def test_unsupported_layers_are_listed_and_left_in_float_if_asked(batch):
    model = normalized()
    with pytest.raises(LayerError, match="in training: 2 .*ln: .*gn: .*unsupported='float'"):
        quantize_aware(model, fit=training(model, batch))
    result = quantize_aware(model, unsupported="float", fit=training(model, batch))
    assert [row.path for row in result.rows if not row.quantized] == ["ln", "gn"]
    lite = result.to_litert()
    assert lite.inputs[0].dtype == "int8"
    assert lite.float_ops
    assert "skipped (TFMOT and LiteRT quantize no LayerNormalization in training): ln" in str(
        result
    )


def test_an_output_before_its_normalization_is_not_folded(batch):
    """TFMOT folds no normalization behind a convolution whose output leaves the model."""
    layers = keras.layers
    inputs = keras.Input((16, 16, 3))
    early = layers.Conv2D(4, 3, name="early")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(early))
    model = keras.Model(inputs, [early, layers.Conv2D(4, 1, name="late")(x)])
    model.compile("adam", ["mse", "mse"])
    targets = [np.zeros((16, 14, 14, 4), "float32")] * 2
    fit = dict(x=batch, y=targets, batch_size=8, verbose=0)
    with pytest.raises(LayerError, match="norm: no convolution before it"):
        quantize_aware(model, fit=fit)
    result = quantize_aware(model, unsupported="float", fit=fit)
    assert [row.path for row in result.rows if not row.quantized] == ["norm"]
    # TensorFlow's own int8 outputs leave the normalization, which computes in float, without input
    lite = result.to_litert()
    assert {port.dtype for port in lite.outputs} == {"int8"}
    assert "MUL" in lite.float_ops
    for found, expected in zip(lite.predict(batch), result.twin.predict(batch), strict=True):
        np.testing.assert_allclose(found, expected, atol=0.03)


def test_zeros_stay_in_layers_that_are_not_quantized(batch):
    layers = keras.layers
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(inputs)
    x = layers.Reshape((196, 4))(x)
    x = layers.MultiHeadAttention(2, 4, name="mha")(x, x)
    model = keras.Model(inputs, layers.Dense(2, activation="softmax", name="head")(x))
    model.compile("adam", "sparse_categorical_crossentropy")
    everything = [{"sparsity": 0.5, "op_types": ["default", "MultiHeadAttention"]}]
    LevelPruner(model, everything).compress()
    result = quantize_aware(
        model,
        preserve_kernels="sparsity",
        unsupported="float",
        fit=dict(x=batch[:4], y=np.zeros((4, 196)), verbose=0),
    )
    assert total_zeros(result.model).zeros == total_zeros(model).zeros
    assert {row.path for row in result.rows if row.kept} == {"conv", "mha", "head"}


def only_norms():
    x = keras.Input((4,))
    model = keras.Model(x, keras.layers.LayerNormalization(name="ln")(x))
    model.compile("sgd", "mse")
    return model


BAD = {
    "preserve": (dict(preserve_kernels="zeros"), "'zeros' is unknown.*sparsity"),
    "unsupported": (dict(unsupported="skip"), "'skip' is unknown"),
    "nothing to preserve": (dict(preserve_kernels="sparsity"), "no zero in a kernel to preserve"),
    "lambda": (dict(model=with_lambda), "layer 'twice': Lambda cannot be converted"),
    "subclassed": (dict(model=lambda: called(Subclassed())), "subclassed"),
    "no layer": (dict(model=only_norms), "no layer would be quantized.*to_litert"),
    "no training": (dict(fit=None), "neither is given"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name, batch):
    arguments, message = BAD[name]
    model = arguments.get("model", lambda: unet(keras))()
    given = {"fit": dict(x=batch, y=batch[..., 0]), **arguments}
    given.pop("model", None)
    with pytest.raises((ConfigError, LayerError), match=message):
        quantize_aware(model, **given)
