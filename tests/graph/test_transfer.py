"""Weights from one model to another, by name."""

import numpy as np
import pytest

from models.shufflenet_v2 import shufflenet_v2
from tfcompress.errors import DataError
from tfcompress.graph.layers import walk_layers
from tfcompress.graph.transfer import transfer_weights


def trained(library, **more):
    model = shufflenet_v2(10, 32, 32, flavor=library.__name__, **more)
    generator = np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(generator.random(weight.shape))
    return model


def test_from_the_whole_network_into_the_truncated_one(library):
    """A layer that the target lacks, and a head of other classes, move nothing."""
    source = trained(library)
    target = shufflenet_v2(9, 32, 32, truncate=True, flavor=library.__name__)
    head = [np.asarray(w) for w in target.get_layer("head").weights]
    report = transfer_weights(source, target)
    names = [p.path for p in walk_layers(target) if p.layer.weights and p.path != "head"]
    for name in names:
        for old, new in zip(
            source.get_layer(name).weights, target.get_layer(name).weights, strict=True
        ):
            np.testing.assert_array_equal(np.asarray(old), np.asarray(new))
    assert any(name.endswith("moving_variance") for name in report.copied)
    assert report.missing == ()
    assert report.other_shape == (
        ("head/kernel", (1024, 10), (96, 9)),
        ("head/bias", (10,), (9,)),
    )
    assert any(name.startswith("stage4_1") for name in report.unused)
    assert any(name.startswith("conv5") for name in report.unused)
    assert "Weight transfer" in str(report)
    for old, new in zip(head, target.get_layer("head").weights, strict=True):
        np.testing.assert_array_equal(old, np.asarray(new))


def test_a_frozen_backbone_stays_and_the_head_learns(library):
    source = trained(library, truncate=True)
    target = shufflenet_v2(9, 32, 32, truncate=True, flavor=library.__name__)
    report = transfer_weights(source, target, freeze=True)
    assert "head" not in report.frozen
    trainable = {id(w) for w in target.trainable_weights}
    assert trainable == {id(w) for w in target.get_layer("head").weights}
    before = [np.asarray(w) for w in target.weights]
    target.compile("sgd", "sparse_categorical_crossentropy")
    x = np.random.default_rng(0).random((8, 32, 32, 3), dtype=np.float32)
    target.fit(x, np.arange(8), verbose=0)
    moved = [
        not np.array_equal(old, np.asarray(new))
        for old, new in zip(before, target.weights, strict=True)
    ]
    assert sum(moved) == 2, "kernel and bias of the head; no statistic of a normalization"


def test_arrays_and_renaming():
    import keras

    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(3, name="new")(inputs))
    arrays = {("old", "kernel"): np.ones((2, 3)), ("old", "bias"): np.ones(4)}
    report = transfer_weights(arrays, model, rename={"new": "old"})
    assert report.copied == ("new/kernel",)
    assert report.other_shape == (("new/bias", (4,), (3,)),)
    with pytest.raises(DataError, match=r"no weight of the source.*pass rename=.*old/kernel"):
        transfer_weights(arrays, model)
