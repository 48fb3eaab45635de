"""Models that users write and that no textbook shows: right, or frozen with a reason."""

import keras
import numpy as np
import pytest

from tests.pruning.channels.masked_reference import randomize
from tests.pruning.channels.test_planner import check_equals_masked
from tests.pruning.channels.zoo import inputs_for, outputs_of
from tfcompress.evaluation.cost import count_cost
from tfcompress.pruning.channels.config import ChannelConfig
from tfcompress.pruning.channels.planner import plan_channels, shrink
from tfcompress.pruning.channels.rounds import prune_in_rounds
from tfcompress.pruning.channels.trace.groups import find_groups

CONFIG = ChannelConfig(sparsity=0.3, scope="group", min_kept=0.0)


def conv(library, x, n, name, **more):
    return library.layers.Conv2D(n, 3, padding="same", name=name, **more)(x)


def check(model, config=CONFIG):
    randomize(model)
    plan = plan_channels(model, config)
    small = shrink(model, plan)
    check_equals_masked(model, plan, small, inputs_for(model))
    cost = count_cost(small)
    assert (cost.macs, cost.parameters) == (plan.macs[1], plan.parameters[1])
    return {group.name: group for group in plan.groups}


def own_layer(library, name, function):
    """A user's weightless layer that happens to have the name of one of Keras'."""
    methods = {"call": lambda self, x: function(x)}
    return type(name, (library.layers.Layer,), methods)(name=f"own_{name.lower()}")


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("Power", lambda x: x**2 + 0.3),
        ("Identity", lambda x: x + 0.5),
        ("Dropout", lambda x: x[..., ::-1]),
        ("Widthy", lambda x: x * float(x.shape[-1]) ** 0.5),
    ],
)
def test_a_strangers_class_is_not_taken_for_keras_own(library, name, function):
    inputs = library.Input((8, 8, 3))
    x = conv(library, conv(library, inputs, 8, "free", activation="relu"), 8, "a")
    x = own_layer(library, name, function)(x)
    groups = check(library.Model(inputs, conv(library, x, 2, "head")))
    assert groups["a"].frozen
    assert groups["free"].kept_width < 8


def test_adapted_normalization_keeps_what_it_learned(library):
    inputs = library.Input((8, 8, 3))
    layer = library.layers.Normalization(name="adapted")
    layer.adapt(np.random.default_rng(0).normal(3, 2, (20, 8, 8, 3)).astype("float32"))
    x = conv(library, layer(inputs), 8, "a", activation="relu")
    model = library.Model(inputs, conv(library, x, 2, "head"))
    plan = plan_channels(model, CONFIG)
    check_equals_masked(model, plan, shrink(model, plan), inputs_for(model))


def test_group_norm_without_gamma_does_not_hide_what_comes_in(library):
    inputs = library.Input((8, 8, 3))
    x = conv(library, conv(library, inputs, 8, "free"), 8, "a", activation="sigmoid")
    x = library.layers.ZeroPadding2D(1)(x)
    x = library.layers.GroupNormalization(4, scale=False, name="gn")(x)
    groups = check(library.Model(inputs, conv(library, x, 2, "head")))
    assert "does not reach 'head' as zero" in groups["a"].frozen


def test_inverted_normalization(library):
    layers = library.layers
    inputs = library.Input((8, 8, 3))
    x = conv(library, conv(library, inputs, 6, "free"), 4, "a", activation="sigmoid")
    x = layers.Normalization(mean=[0.5] * 4, variance=[4.0] * 4, invert=True, name="inv")(x)
    groups = check(library.Model(inputs, conv(library, x, 2, "head")))
    assert groups["a"].frozen


def test_units_of_different_sizes_are_groups_of_their_own(library):
    inputs = library.Input((8, 8, 3))
    x = conv(library, inputs, 8, "a")
    x = x[:, :, :, :3] * x[:, :, :, 5:]
    groups = check(library.Model(inputs, conv(library, x, 2, "head")))
    assert sum(g.width for name, g in groups.items() if name.startswith("a")) == 8
    sizes = {g.size: g.width for g in find_groups(library.Model(inputs, x)).groups}
    assert sizes == {2: 6, 1: 2}


def test_attention_by_keywords_and_with_a_mask(library):
    layers = library.layers
    q, v = library.Input((5, 6), name="q"), library.Input((7, 4), name="v")
    mask = library.Input((5, 7), name="mask")
    a = layers.Dense(8, name="a")(q)
    b, c = layers.Dense(6, name="b")(v), layers.Dense(10, name="c")(v)
    layer = layers.MultiHeadAttention(4, 3, name="mha")
    x = layer(a, b, key=c, attention_mask=mask > 0)
    model = library.Model([q, v, mask], layers.Dense(2, name="head")(x))
    groups = check(model)
    assert groups["a"].kept_width < 8
    assert groups["c"].kept_width < 10
    assert groups["mha/query"].kept_width < 4


def test_a_weightless_block_called_twice_ties_its_callers(library):
    inner = library.Input((8, 8, 8))
    block = library.Model(inner, library.layers.ReLU()(inner), name="block")
    inputs = library.Input((8, 8, 3))
    x = block(conv(library, inputs, 8, "a"))
    y = block(conv(library, x, 8, "b"))
    groups = check(library.Model(inputs, conv(library, y, 2, "head")))
    assert set(groups["a"].makers) == {"a", "b"}


@pytest.mark.parametrize("kind", ["Reshape", "Rescaling"])
def test_a_shared_layer_that_bears_a_width_ties_its_callers(library, kind):
    layers = library.layers
    inputs = library.Input((8, 8, 3))
    shared = layers.Reshape((64, 8)) if kind == "Reshape" else layers.Rescaling(list(range(1, 9)))
    x = shared(conv(library, inputs, 8, "a"))
    y = shared(conv(library, inputs, 8, "b"))
    x = layers.Concatenate(name="cat")([x, y])
    groups = check(library.Model(inputs, layers.Dense(2, name="head")(x)))
    assert {"a", "b"} in [set(group.makers) for group in groups.values()]


def test_a_model_that_is_reached_by_two_ways(library):
    n = library.Input((8, 8, 3))
    encoder = library.Model(n, conv(library, n, 6, "c", activation="relu"), name="enc")
    heads = []
    for i in (1, 2):
        p = library.Input((8, 8, 3))
        heads.append(library.Model(p, conv(library, encoder(p), 4, "x"), name=f"h{i}"))
    inputs = library.Input((8, 8, 3))
    x = library.layers.Concatenate()([head(inputs) for head in heads])
    groups = check(library.Model(inputs, conv(library, x, 2, "head")))
    assert any("enc/c" in name for name in groups)


def test_a_composite_layer_of_the_user_is_carried_whole(library):
    class Block(library.layers.Layer):
        def __init__(self, n, **kwargs):
            super().__init__(**kwargs)
            self.n = n
            self.inner = library.layers.Conv2D(n, 3, padding="same")

        def build(self, shape):
            self.inner.build(shape)
            self.built = True

        def call(self, x):
            return self.inner(x)

        def get_config(self):
            return {**super().get_config(), "n": self.n}

    inputs = library.Input((8, 8, 3))
    x = Block(4, name="blk")(conv(library, inputs, 8, "a"))
    x = conv(library, x, 6, "b", activation="relu")
    groups = check(library.Model(inputs, conv(library, x, 2, "head")))
    assert groups["a"].frozen == "Block 'blk' cannot be followed"
    assert groups["b"].kept_width < 6


def test_a_layer_inside_a_wrapper_is_frozen_everywhere(library):
    layers = library.layers
    inputs = library.Input((5, 3))
    shared = layers.Dense(4, name="d")
    a = layers.TimeDistributed(shared, name="td")(inputs)
    x = layers.Add(name="add")([a, shared(inputs)])
    x = layers.Dense(6, activation="relu", name="free")(x)
    groups = check(library.Model(inputs, layers.Dense(2, name="head")(x)))
    assert groups["free"].kept_width < 6
    assert all(g.frozen for name, g in groups.items() if name not in ("free",))


@pytest.mark.parametrize("shape", [(8, 8, 8), (1, 8, 8, 8), (8,)])
def test_constants_along_more_axes_than_the_channels(shape):
    inputs = keras.Input((8, 8, 3))
    x = conv(keras, inputs, 8, "a")
    x = x * np.random.default_rng(0).random(shape).astype("float32")
    groups = check(keras.Model(inputs, conv(keras, x, 2, "head")))
    assert groups["a"].kept_width < 8


def test_data_with_a_recurrent_reader(library):
    inputs = library.Input((6, 3))
    x = library.layers.Conv1D(8, 3, name="a")(inputs)
    x = library.layers.LSTM(4, name="lstm")(x)
    model = library.Model(inputs, library.layers.Dense(2, name="head")(x))
    plan = plan_channels(model, CONFIG, data=np.zeros((4, 6, 3), "float32"))
    assert plan.groups[0].kept_width < 8


def test_functions_that_no_config_can_hold(library):
    def swishy(x):
        return x * 0.5

    def dice(targets, outputs):
        return (targets - outputs) ** 2

    inputs = library.Input((8, 8, 3))
    x = conv(library, inputs, 8, "a", activation=swishy)
    x = library.layers.Lambda(lambda t: t * 2.0, name="twice")(conv(library, x, 8, "b"))
    model = library.Model(inputs, conv(library, x, 2, "head"))
    model.compile(library.optimizers.SGD(0.01), dice, metrics=[dice])
    check(model)
    small = shrink(model, plan_channels(model, CONFIG))
    small.fit(inputs_for(model), np.zeros((3, 8, 8, 2), "float32"), verbose=0)


def test_dict_inputs_in_any_order(library):
    a, b = library.Input((3,), name="zz"), library.Input((4,), name="aa")
    x = library.layers.Concatenate(name="cat")([a, b])
    x = library.layers.Dense(8, activation="relu", name="d")(x)
    model = library.Model({"zz": a, "aa": b}, library.layers.Dense(2, name="head")(x))
    small = shrink(model, plan_channels(model, CONFIG))
    x = {"zz": np.ones((2, 3), "float32"), "aa": np.ones((2, 4), "float32")}
    assert outputs_of(small, x)[0].shape == (2, 2)


def test_rounds_are_compiled_after_a_resume_too(library, tmp_path):
    inputs = library.Input((8, 8, 3))
    x = conv(library, conv(library, inputs, 32, "a"), 32, "b")
    model = library.Model(inputs, conv(library, x, 2, "head"))
    model.compile("sgd", "mse")
    x, y = inputs_for(model), np.zeros((3, 8, 8, 2), "float32")
    config = ChannelConfig(target_macs=0.5, min_kept=0)

    def stop(small, number):
        if number == 2:
            raise KeyboardInterrupt
        small.fit(x, y, verbose=0)

    with pytest.raises(KeyboardInterrupt):
        prune_in_rounds(model, config, stop, rounds=2, folder=tmp_path)
    result = prune_in_rounds(
        model,
        config,
        lambda small, _: small.fit(x, y, verbose=0) and None,
        rounds=2,
        folder=tmp_path,
    )
    result.model.evaluate(x, y, verbose=0)
