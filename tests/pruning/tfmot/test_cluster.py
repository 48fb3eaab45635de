"""TFMOT's clustering on Keras 3 and tf_keras models."""

import keras
import numpy as np
import pytest

from tfcompress.errors import ConfigError, LayerError
from tfcompress.pruning.tfmot.cluster import tfmot_cluster


def build(library):
    layers = library.layers
    x = inputs = library.Input((8, 8, 4))
    x = layers.Conv2D(6, 3, padding="same", use_bias=False, name="conv")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Conv2DTranspose(5, 2, strides=2, name="up")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    model = library.Model(inputs, layers.Dense(3, activation="softmax", name="head")(x))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


@pytest.fixture(scope="module")
def training():
    generator = np.random.default_rng(0)
    x, y = generator.random((16, 8, 8, 4), dtype=np.float32), generator.integers(0, 3, 16)
    return dict(x=x, y=y, batch_size=8, verbose=0)


def kernel(model, name):
    return np.asarray(model.get_layer(name).kernel)


def test_few_values_in_each_kernel(library, training):
    model = build(library)
    chosen = [{"op_types": ["default"]}, {"clusters": 4, "op_names": ["up"]}]
    result = tfmot_cluster(model, 8, chosen, fit=training)
    assert type(result.model) is type(model)
    assert len(np.unique(kernel(model, "conv"))) == 216
    assert len(np.unique(kernel(result.model, "conv"))) == 8
    assert len(np.unique(kernel(result.model, "up"))) == 4
    assert [(row.path, row.clusters) for row in result.report.rows] == [
        ("conv", 8),
        ("up", 4),
        ("head", 8),
    ]
    assert all(row.unique <= row.clusters for row in result.report.rows)
    assert dict(result.report.skipped)["norm"] == "BatchNormalization matches no entry"
    assert "distinct values" in str(result)


def test_per_channel_without_a_bias(training):
    """TFMOT's own function counts the channels by the bias and then clusters nothing."""
    result = tfmot_cluster(build(keras), 8, per_channel=True, centroids="linear", fit=training)
    conv = kernel(result.model, "conv")
    assert max(len(np.unique(conv[..., c])) for c in range(6)) <= 8
    assert len(np.unique(conv)) > 8
    assert len(np.unique(kernel(result.model, "up"))) <= 8  # no Conv2D: one set of values
    row = result.report.rows[0]
    assert (row.path, row.per_channel) == ("conv", True)


def test_zeros_stay_if_asked(training):
    model = build(keras)
    conv = kernel(model, "conv").copy()
    conv[np.abs(conv) < np.quantile(np.abs(conv), 0.6)] = 0
    model.get_layer("conv").kernel.assign(conv)
    result = tfmot_cluster(model, 8, [{"op_names": ["conv"]}], preserve_sparsity=True, fit=training)
    after = kernel(result.model, "conv")
    assert not after[conv == 0].any()
    assert len(np.unique(after)) <= 8
    assert result.report.rows[0].zeros >= (conv == 0).sum()


def test_frozen_layers_are_left(training):
    model = build(keras)
    model.get_layer("conv").trainable = False
    model.compile("adam", "sparse_categorical_crossentropy")
    result = tfmot_cluster(model, 8, fit=training)
    assert [row.path for row in result.report.rows] == ["up", "head"]
    assert "frozen" in dict(result.report.skipped)["conv"]


BAD = {
    "one": (dict(clusters=1), "clusters is 1.*at least 2"),
    "two with zeros": (dict(clusters=2, preserve_sparsity=True), "clusters is 2.*at least 3"),
    "text": (
        dict(config_list=[{"clusters": "8", "op_types": ["default"]}]),
        r"config_list\[0\]: clusters is '8'",
    ),
    "centroids": (dict(centroids="best"), "centroids: 'best' is unknown.*kmeans"),
    "layer": (dict(config_list=[{"op_names": ["cnov"]}]), "no layer is named 'cnov'.*conv"),
    "too many": (
        dict(config_list=[{"op_names": ["head"]}]),
        r"cluster nothing.*head: kernel has only \d+ weights for \d+ clusters",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name, training):
    arguments, message = BAD[name]
    with pytest.raises((ConfigError, LayerError), match=message):
        tfmot_cluster(build(keras), **{"clusters": 16, "fit": training, **arguments})
