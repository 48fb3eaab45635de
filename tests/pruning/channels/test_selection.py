"""What is chosen and what is kept over rounds; freezes that only odd wirings show."""

import json

import keras
import numpy as np
import pytest

from models.unet import multi_unet_model
from tests.pruning.channels.masked_reference import randomize
from tests.pruning.channels.test_planner import check_equals_masked
from tests.pruning.channels.zoo import ZOO, inputs_for
from tfcompress.errors import ConfigError, DataError
from tfcompress.pruning.channels.config import ChannelConfig
from tfcompress.pruning.channels.core.scores import SCORES, WEIGHT_SCORES
from tfcompress.pruning.channels.planner import plan_channels, shrink
from tfcompress.pruning.channels.rounds import prune_in_rounds
from tfcompress.pruning.channels.sensitivity import Sensitivity


def widths(model, *names):
    return [model.get_layer(name).filters for name in names]


def two_convolutions(library, first=16, second=16, activation="relu", **more):
    layers = library.layers
    inputs = library.Input((8, 8, 3))
    x = layers.Conv2D(first, 3, activation=activation, name="a", **more)(inputs)
    x = layers.Conv2D(second, 3, activation=activation, name="b", **more)(x)
    return library.Model(inputs, layers.Conv2D(2, 1, name="head", **more)(x), name="two")


def test_minimum_and_entries_are_shares_of_the_whole_model(library):
    """Three rounds of 50 % and of a minimum of one quarter do not multiply."""
    config = ChannelConfig(
        target_macs=0.35,
        min_kept=0.25,
        config_list=[{"sparsity": 0.5, "op_names": ["a"]}],
    )
    seen = []
    result = prune_in_rounds(
        two_convolutions(library),
        config,
        lambda small, number: seen.append(widths(small, "a", "b")),
        rounds=3,
        schedule="linear",
    )
    assert [a for a, _ in seen] == [13, 11, 8]  # 16 * (1 - 1/6), (1 - 1/3), (1 - 1/2)
    assert widths(result.model, "b")[0] >= 4
    with pytest.raises(ConfigError, match="cannot be reached"):
        prune_in_rounds(
            two_convolutions(library),
            ChannelConfig(target_macs=0.05, min_kept=0.5),
            lambda small, number: None,
            rounds=3,
        )


def test_latency_rounds_end_where_the_model_is_fast_already(library):
    """A round that overshoots the last target must not end in an error after its training."""

    def milliseconds(model):  # any function of the model; here 10 ms for 16 + 16 channels
        return 10 * sum(widths(model, "a", "b")) / 32

    trained = []
    result = prune_in_rounds(
        two_convolutions(library),
        ChannelConfig(target_latency_ms=5.0, round_to=4, min_kept=0.0),
        lambda small, number: trained.append(milliseconds(small)),
        rounds=4,
        measure=milliseconds,
    )
    assert len(trained) == 4
    assert milliseconds(result.model) == pytest.approx(5.0, rel=0.1)


def test_a_folder_of_other_rounds_is_refused(library, tmp_path):
    model = two_convolutions(library)
    half = ChannelConfig(target_macs=0.5)
    prune_in_rounds(model, half, lambda small, number: None, rounds=1, folder=tmp_path)
    with pytest.raises(ConfigError, match="made with target_macs=0.5, not 0.25.*another folder"):
        prune_in_rounds(
            model,
            ChannelConfig(target_macs=0.25),
            lambda small, number: None,
            rounds=1,
            folder=tmp_path,
        )
    with pytest.raises(ConfigError, match="made with rounds=1, not 2"):
        prune_in_rounds(model, half, lambda small, number: None, rounds=2, folder=tmp_path)
    assert json.loads((tmp_path / "rounds.json").read_text())["target_macs"] == 0.5


def test_layers_that_shrink_along_can_be_excluded(library):
    model = ZOO["depthwise"](library)
    config = ChannelConfig(
        target_macs=0.8, config_list=[{"exclude": True, "op_names": ["four_groups"]}]
    )
    small = shrink(model, plan_channels(model, config))
    assert small.get_layer("four_groups").filters == model.get_layer("four_groups").filters


def test_an_entry_without_effect_is_noted():
    entries = [{"exclude": True, "op_types": ["BatchNormalization"]}]
    plan = plan_channels(ZOO["plain"](keras), ChannelConfig(target_macs=0.5, config_list=entries))
    assert "config_list[0] names no layer whose channels could go" in plan.notes


def test_notes_say_why_a_target_is_missed():
    model = two_convolutions(keras)
    coarse = plan_channels(model, ChannelConfig(target_macs=0.8, round_to=8))
    assert "the next step (round_to=8, whole units) is further away" in coarse.notes[0]
    fixed = [{"sparsity": 0.5, "op_types": ["Conv2D"]}]
    over = plan_channels(model, ChannelConfig(target_macs=0.9, config_list=fixed))
    assert "config_list alone remove more than was asked for" in over.notes[0]
    near = plan_channels(model, ChannelConfig(target_macs=0.5))
    assert not near.notes


def test_latency_that_cannot_be_met_is_noted():
    plan = plan_channels(
        two_convolutions(keras),
        ChannelConfig(target_latency_ms=1.0),
        measure=lambda model: 8.0 + model.count_params() / 1e4,  # mostly overhead
    )
    assert "instead of 1.00 ms, the nearest of what was tried" in plan.notes[0]


def test_scores_without_normalization_are_compared_as_they_are(library):
    """Every filter of b is a hundredth of one of a: all that goes is b's."""
    model = two_convolutions(library)
    generator = np.random.default_rng(0)
    for name, scale in (("a", 1.0), ("b", 0.01)):
        kernel = model.get_layer(name).kernel
        kernel.assign(scale * generator.uniform(1, 2, kernel.shape).astype("float32"))
    config = dict(sparsity=6 / 34, score="l1", min_kept=0)
    raw = plan_channels(model, ChannelConfig(**config, normalize="none"))
    assert [group.kept_width for group in raw.groups] == [16, 10, 2]
    scaled = plan_channels(model, ChannelConfig(**config))
    assert scaled.groups[0].kept_width < 16


def test_a_score_is_added_by_putting_it_into_the_dict(monkeypatch):
    monkeypatch.setitem(WEIGHT_SCORES, "last", lambda kernel: np.arange(kernel.shape[1]))
    assert "last" in SCORES
    plan = plan_channels(two_convolutions(keras), ChannelConfig(sparsity=0.3, score="last"))
    group = plan.groups[0]
    assert group.kept == tuple(range(16 - len(group.kept), 16))


def test_makers_of_a_group_count_alike():
    """Two layers that are added: the score of a unit is the mean of their shares."""
    inputs = keras.Input((2,))
    first = keras.layers.Dense(3, use_bias=False, name="first")(inputs)
    second = keras.layers.Dense(3, use_bias=False, name="second")(inputs)
    x = keras.layers.Add(name="add")([first, second])
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(x))
    model.get_layer("first").kernel.assign([[1.0, 2.0, 3.0]] * 2)  # shares 0.5, 1, 1.5
    model.get_layer("second").kernel.assign([[600.0, 100.0, 200.0]] * 2)  # 2, 0.33, 0.67
    plan = plan_channels(model, ChannelConfig(sparsity=0.2, score="l1", min_kept=0))
    assert plan.groups[0].kept == (0, 2)  # 1.25, 0.67, 1.08


def test_sensitivity_keeps_to_its_groups():
    """Layer c makes channels of both groups; only a's stand pruning."""
    curves = Sensitivity(
        0.9,
        (0.25, 0.75),
        {"a": (0.9, 0.9), "b": (0.2, 0.1), "deep/a": (0.9, 0.3)},
        {"a": ("a", "c"), "b": ("b", "c"), "deep/a": ("deep/a",)},
    )
    assert curves.config_list(0.05) == [
        {"sparsity": 0.75, "op_names": ["a"]},
        {"exclude": True, "op_names": ["b"]},
        {"sparsity": 0.25, "op_names": ["deep/a"]},
    ]
    assert curves.figure("accuracy").axes[0].get_ylabel() == "accuracy"


@pytest.mark.parametrize("kind", ["AveragePooling1D", "MaxPooling1D"])
def test_pooling_over_channels_freezes_them(library, kind):
    layers = library.layers
    inputs = library.Input((6, 4))
    x = layers.Dense(8, name="free", activation="relu")(inputs)
    x = layers.Permute((2, 1), name="swap")(layers.Dense(8, name="mixed")(x))
    x = getattr(layers, kind)(3, strides=1, padding="same", name="pool")(x)
    model = library.Model(inputs, layers.Dense(2, name="head")(layers.Permute((2, 1))(x)))
    randomize(model)
    plan = plan_channels(model, ChannelConfig(sparsity=0.2))
    groups = {group.name: group for group in plan.groups}
    assert groups["mixed"].frozen == "'pool' pools over them"
    assert groups["free"].kept_width < 8
    check_equals_masked(model, plan, shrink(model, plan), inputs_for(model))


def test_outer_products_freeze(library):
    layers = library.layers
    inputs = library.Input((4,))
    row = layers.Reshape((1, 8))(layers.Dense(8, name="row")(inputs))
    column = layers.Reshape((5, 1))(layers.Dense(5, name="column")(inputs))
    x = layers.Flatten()(layers.Multiply(name="outer")([row, column]))
    x = layers.Dense(6, activation="relu", name="free")(x)
    model = library.Model(inputs, layers.Dense(2, name="head")(x))
    randomize(model)
    plan = plan_channels(model, ChannelConfig(sparsity=0.1))
    groups = {group.name: group for group in plan.groups}
    assert "broadcasts along several axes" in groups["row"].frozen
    assert "broadcasts along several axes" in groups["column"].frozen
    check_equals_masked(model, plan, shrink(model, plan), inputs_for(model))


def test_a_plan_from_another_wiring_is_refused():
    """The same layers, but a softmax over channels between them."""
    plan = plan_channels(two_convolutions(keras), ChannelConfig(target_macs=0.5))
    with pytest.raises(ConfigError, match="group 'a'.*have to stay.*mixes channels.*Fix: apply"):
        shrink(two_convolutions(keras, activation="softmax"), plan)


def test_errors_of_separable_readers(library):
    """The reader's depthwise part makes two channels of each."""
    layers = library.layers
    inputs = library.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, name="a")(inputs)
    x = layers.SeparableConv2D(4, 3, depth_multiplier=2, name="reader")(x)
    model = library.Model(inputs, layers.Conv2D(2, 1, name="head")(x))
    randomize(model)
    data = inputs_for(model, 4)
    plan = plan_channels(model, ChannelConfig(sparsity=0.3), data=data)
    error = {group.name: group.error for group in plan.groups}["a"]
    assert 0 < error < 2
    cut = library.Model(inputs, model.get_layer("reader").output)
    whole = np.asarray(cut(data))
    kernel, bias = model.get_layer("a").kernel, model.get_layer("a").bias
    kept = list(plan.groups[0].kept)
    mask = np.zeros(8, "float32")
    mask[kept] = 1
    kernel.assign(np.asarray(kernel) * mask)
    bias.assign(np.asarray(bias) * mask)
    offset = np.asarray(model.get_layer("reader").bias)
    changed = np.linalg.norm(whole - np.asarray(cut(data))) / np.linalg.norm(whole - offset)
    assert error == pytest.approx(changed, rel=1e-4)


def test_layers_of_keras_applications(library):
    """CustomScaleLayer (InceptionResNetV2) and LayerScale (ConvNeXt), in a model of our own."""
    if library is keras:
        from keras.src.applications.convnext import LayerScale
        from keras.src.applications.inception_resnet_v2 import CustomScaleLayer
    else:
        from tf_keras.src.applications.convnext import LayerScale
        from tf_keras.src.applications.inception_resnet_v2 import CustomScaleLayer
    layers = library.layers
    inputs = library.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", name="stem")(inputs)
    y = layers.Conv2D(8, 3, padding="same", activation="relu", name="branch")(x)
    x = CustomScaleLayer(0.3, name="residual")([x, y])
    y = LayerScale(0.5, 8, name="scaled")(layers.Conv2D(8, 1, name="block")(x))
    x = layers.Add(name="add")([x, y])
    model = library.Model(inputs, layers.Conv2D(2, 1, name="head")(x))
    randomize(model)
    plan = plan_channels(model, ChannelConfig(target_macs=0.6))
    assert plan.groups[0].kept_width < 8
    check_equals_masked(model, plan, shrink(model, plan), inputs_for(model))


def test_channels_first_readers_keep_their_kernels():
    """A CPU cannot run them; planning and shrinking need no run."""
    inputs = keras.Input((3, 8, 8))
    first = dict(data_format="channels_first")
    x = keras.layers.Conv2D(8, 3, name="a", **first)(inputs)
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1, name="head", **first)(x))
    small = shrink(model, plan_channels(model, ChannelConfig(target_macs=0.5)))
    assert small.get_layer("a").filters == 4
    np.testing.assert_array_equal(np.asarray(small.get_layer("head").kernel).shape, (1, 1, 4, 2))


MISFITS = {
    "targets": ((np.zeros((10, 8, 8, 3)), np.zeros(5)), "10 inputs and 5 targets.*one target per"),
    "in a batch": ([(np.zeros((4, 8, 8, 3)), np.zeros(3))], "4 inputs and 3 targets"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_data_that_does_not_match(name):
    data, message = MISFITS[name]
    model = two_convolutions(keras)
    with pytest.raises(DataError, match=message):
        plan_channels(model, ChannelConfig(target_macs=0.5), data=data)


def test_inputs_of_unequal_number():
    model = ZOO["nested_and_shared"](keras)
    data = [np.zeros((n, *t.shape[1:])) for n, t in zip((4, 5), model.inputs, strict=True)]
    with pytest.raises(DataError, match="it has 4 of .* 5 of .*as many samples of each"):
        plan_channels(model, ChannelConfig(target_macs=0.8), data=data)


def test_a_list_of_batches_is_data(library):
    model = two_convolutions(library)
    generator = np.random.default_rng(0)
    x = generator.random((8, 8, 8, 3), dtype=np.float32)
    y = np.zeros((8, 4, 4, 2), "float32")
    config = ChannelConfig(target_macs=0.5, score="mean_activation")
    whole = plan_channels(model, config, data=x)
    parts = plan_channels(model, config, data=[(x[:4], y[:4]), (x[4:], y[4:])])
    assert [g.kept for g in whole.groups] == [g.kept for g in parts.groups]


def test_unet_reaches_each_kind_of_target_exactly_enough():
    model = multi_unet_model(3, 32, 32, 3, filters=(8, 16))
    for name in ("target_macs", "target_parameters"):
        plan = plan_channels(model, ChannelConfig(**{name: 0.6}))
        before, after = plan.macs if name == "target_macs" else plan.parameters
        assert after / before == pytest.approx(0.6, rel=0.02)
