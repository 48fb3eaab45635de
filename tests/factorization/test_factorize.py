"""Factors in a model's graph: same outputs where the rank is low, costs as planned."""

import keras
import numpy as np
import pytest

from models.unet import multi_unet_model
from tfcompress.errors import ConfigError, LayerError
from tfcompress.evaluation.cost import count_cost
from tfcompress.factorization.factorize import factorize, keep_faster, plan_factorization
from tfcompress.graph.layers import flavor_of, walk_layers
from tfcompress.litert.model import to_litert

RANDOM = np.random.default_rng(0)


def low_rank(shape, rank):
    inputs, outputs = shape[-2:]
    inner = RANDOM.normal(size=(*shape[:-2], rank, rank))
    product = RANDOM.normal(size=(inputs, rank)) @ inner @ RANDOM.normal(size=(rank, outputs))
    return (product / np.linalg.norm(product) * np.sqrt(outputs)).astype(np.float32)


def make_low_rank(model, rank=2):
    for placed in walk_layers(model):
        if placed.kind in ("Conv2D", "Dense"):
            kernel = placed.layer.kernel
            kernel.assign(low_rank(kernel.shape, rank))
            if placed.layer.use_bias:
                placed.layer.bias.assign(RANDOM.normal(size=placed.layer.bias.shape))


def everything(library):
    """Strides, padding, dilation, a skip, a concat, a shared layer, a model inside, 1x1, Dense."""
    layers = library.layers
    inside_in = library.Input((None, None, 16))
    inside = library.Model(
        inside_in,
        layers.Conv2D(16, 3, padding="same", activation="relu", name="deep")(inside_in),
        name="inner",
    )
    x = inputs = library.Input((17, 15, 16))
    x = layers.Conv2D(16, 3, strides=(2, 2), padding="same", name="strided")(x)
    skip = x
    shared = layers.Conv2D(16, (3, 1), padding="same", use_bias=False, name="shared")
    x = shared(layers.ReLU()(shared(x)))
    x = layers.Conv2D(16, 3, dilation_rate=2, padding="same", activation="tanh", name="dilated")(x)
    x = layers.Concatenate()([layers.Add()([inside(x), skip]), skip])
    x = layers.Conv2D(24, 1, strides=2, activation="relu", name="point")(x)
    x = layers.Conv2D(20, 3, padding="valid", name="valid")(x)
    x = layers.Flatten()(x)
    return library.Model(inputs, layers.Dense(12, activation="softmax", name="head")(x))


FACTORED = ["strided", "shared", "dilated", "inner/deep", "point", "valid", "head"]


def test_low_rank_models_keep_their_outputs(library):
    model = everything(library)
    make_low_rank(model)
    model.compile("adam", "sparse_categorical_crossentropy")
    before = [np.asarray(w) for w in model.weights]
    plan = plan_factorization(model, by="energy", value=1 - 1e-9)
    assert sorted(row.path for row in plan.rows) == sorted(FACTORED)
    assert all(set(row.ranks) == {2} for row in plan.rows)
    assert all(row.error < 1e-5 for row in plan.rows)
    small = factorize(model, plan)
    x = RANDOM.normal(size=(4, 17, 15, 16)).astype(np.float32)
    np.testing.assert_allclose(
        small.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-4, atol=1e-5
    )
    cost = count_cost(small)
    assert (cost.macs, cost.parameters) == (plan.macs_after, plan.parameters_after)
    assert plan.macs_before == count_cost(model).macs
    assert flavor_of(small) == library.__name__
    assert small.get_layer("head").activation.__name__ == "softmax"
    assert {"strided_in", "strided_core", "strided"} <= {p.path for p in walk_layers(small)}
    small.fit(x, np.zeros(4), verbose=0)
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, new)


def test_costs_by_hand():
    inputs = keras.Input((8, 8, 16))
    model = keras.Model(inputs, keras.layers.Conv2D(32, 3, strides=2, padding="same")(inputs))
    (row,) = plan_factorization(model, by="ratio", value=0.25).rows
    assert (row.method, row.ranks) == ("tucker", (4, 8))
    assert row.macs_before == 16 * 9 * 16 * 32
    assert row.macs_after == 64 * 16 * 4 + 16 * (9 * 4 * 8 + 8 * 32)
    assert row.parameters_before == 9 * 16 * 32 + 32
    assert row.parameters_after == 16 * 4 + 9 * 4 * 8 + 8 * 32 + 32


def test_what_is_left_is_listed(library):
    layers = library.layers
    x = inputs = library.Input((8, 8, 8))
    x = layers.Conv2D(8, 3, groups=2, name="grouped")(x)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.Conv2DTranspose(8, 2, name="up")(x)
    x = layers.Conv2D(1, 3, name="line")(layers.Conv2D(32, 3, name="wide")(x))
    model = library.Model(inputs, layers.Dense(4, name="head")(layers.Flatten()(x)))
    plan = plan_factorization(model, by="energy", value=1.0, exclude=["head"])
    assert plan.rows == ()
    reasons = dict(plan.skipped)
    assert reasons == {
        "grouped": "grouped convolution",
        "depthwise": "DepthwiseConv2D is not factored",
        "up": "Conv2DTranspose is not factored",
        "wide": "its factors would not cost less",
        "line": "it has one input or output channel",
        "head": "not selected",
    }
    with pytest.raises(ConfigError, match="it factors no layer"):
        factorize(model, plan)
    assert "skipped (grouped convolution): grouped" in str(plan)


def unet(library, size=32):
    return multi_unet_model(4, size, size, 3, filters=(16, 32), flavor=library.__name__)


@pytest.mark.parametrize("share", [0.8, 0.5])
def test_a_macs_target_is_met_and_used(library, share):
    model = unet(library)
    plan = plan_factorization(model, by="macs", value=share)
    assert share - 0.05 < plan.macs_after / plan.macs_before <= share
    small = factorize(model, plan)
    assert count_cost(small).macs == plan.macs_after
    assert to_litert(small, "float32").predict(np.zeros((1, 32, 32, 3), np.float32)).shape == (
        *(1, 32, 32),
        4,
    )


def test_evbmf_prunes_noise():
    model = everything(keras)
    make_low_rank(model, rank=3)
    for placed in walk_layers(model):
        if placed.kind == "Conv2D":
            kernel = np.asarray(placed.layer.kernel)
            noise = RANDOM.normal(scale=0.05 * kernel.std(), size=kernel.shape)
            placed.layer.kernel.assign(kernel + noise)
    plan = plan_factorization(model, layers=["strided", "dilated", "valid", "inner/deep"])
    assert {row.ranks for row in plan.rows} == {(3, 3)}


def test_only_what_is_faster_stays():
    model = unet(keras)
    plan = plan_factorization(model, by="ratio", value=0.5)
    names = [row.path for row in plan.rows]
    slow = {names[0], names[-1]}

    def measure(candidate):
        """One millisecond per layer, but for two whose factors are as slow as three."""
        cost = 0.0
        for layer in candidate.layers:
            name = layer.name.removesuffix("_in").removesuffix("_core")
            if name in names:
                cost += 1.0 if name in slow else 0.3
            if (
                name in names
                and name == layer.name
                and f"{name}_in" not in {other.name for other in candidate.layers}
            ):
                cost += 1.0 - (1.0 if name in slow else 0.3)
        return cost

    kept = keep_faster(model, plan, measure)
    assert {row.path for row in kept.rows} == set(names) - slow
    reasons = dict(kept.skipped)
    assert all("measured no faster" in reasons[name] for name in slow)
    assert count_cost(factorize(model, kept)).macs == kept.macs_after


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(by="rank"), "by: 'rank' is unknown.*ratio, energy, evbmf, macs"),
        (dict(by="ratio", value=0), "value of 'ratio': it is 0"),
        (dict(by="energy", value=1.5), "value of 'energy': it is 1.5"),
        (dict(by="macs", value=0.001), "0.1% of the MACs is out of reach: ranks of 1 leave"),
        (dict(layers=["nothing"]), "no layer of 'multi_unet' is called 'nothing'"),
        (dict(exclude=["nothing"]), "exclude: no layer of"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        plan_factorization(unet(keras), **arguments)


def test_free_sizes_and_other_models():
    inputs = keras.Input((None, None, 8))
    free = keras.Model(inputs, keras.layers.Conv2D(16, 3, name="conv")(inputs))
    with pytest.raises(LayerError, match="size of its inputs is not fixed"):
        plan_factorization(free)
    plan = plan_factorization(unet(keras), by="ratio", value=0.4)
    with pytest.raises(LayerError, match="plan for this model"):
        factorize(free, plan)
