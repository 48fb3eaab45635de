"""Scores from data, reconstruction, rounds, sensitivity, slimming, and what bad input gives."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest

from models.unet import multi_unet_model
from tests.pruning.channels.masked_reference import randomize
from tests.pruning.channels.zoo import ZOO, inputs_for
from tfcompress.errors import CompressionError, ConfigError, DataError, LayerError
from tfcompress.pruning.channels.config import ChannelConfig
from tfcompress.pruning.channels.core.plan import ChannelPlan
from tfcompress.pruning.channels.planner import plan_channels, shrink
from tfcompress.pruning.channels.rounds import prune_in_rounds, round_shares
from tfcompress.pruning.channels.sensitivity import sensitivity
from tfcompress.pruning.channels.slim import slim, slimmable


def two_layers(library, kernel, head):
    """Dense 4 with ReLU, then Dense 2: every number is known."""
    inputs = library.Input((2,))
    x = library.layers.Dense(4, activation="relu", name="a")(inputs)
    model = library.Model(inputs, library.layers.Dense(2, name="head")(x))
    model.get_layer("a").kernel.assign(np.array(kernel, "float32"))
    model.get_layer("head").kernel.assign(np.array(head, "float32"))
    return model


# Inputs (1, 0), (0, 1): hidden values are relu of the rows of the kernel.
KERNEL = [[1, -1, 0.1, 3], [2, 1, 0.1, -2]]
HEAD = [[1, 0], [5, 0], [100, 100], [0.1, 0]]
X = np.eye(2, dtype="float32")
Y = np.zeros((2, 2), "float32")


def kept_units(model, score, count=2, **more):
    config = ChannelConfig(sparsity=1 - (count + 2) / 6, score=score, min_kept=0)
    plan = plan_channels(model, config, **more)
    return plan.groups[0].kept


@pytest.mark.parametrize(
    ("score", "wanted"),
    [
        ("l1", (0, 3)),  # 3, 2, 0.2, 5
        ("mean_activation", (0, 3)),  # (1 + 2)/2, 1/2, 0.1, 3/2
        ("apoz", (0, 2)),  # active on 2, 1, 2, 1 of 2 samples
    ],
)
def test_scores_choose_what_their_definition_says(library, score, wanted):
    model = two_layers(library, KERNEL, HEAD)
    assert kept_units(model, score, data=X) == wanted


def test_taylor_sees_what_magnitude_does_not(library):
    """Unit 2 is tiny and its reader is huge; with loss sum(out), |a * dL/da| is 0.1 * 200."""
    model = two_layers(library, KERNEL, HEAD)

    def loss(targets, outputs):
        import tensorflow as tf

        return tf.reduce_sum(outputs - targets)

    # Mean over samples of |a * slope|: unit 0: (1 + 2) / 2 * 1, unit 1: 1/2 * 5, 2: 20, 3: 0.15.
    assert kept_units(model, "taylor", count=1, data=(X, Y), loss=loss) == (2,)
    assert kept_units(model, "taylor", count=2, data=(X, Y), loss=loss) == (1, 2)


def test_taylor_takes_the_compiled_loss(library):
    model = two_layers(library, KERNEL, HEAD)
    model.compile("sgd", "mse")
    assert len(kept_units(model, "taylor", data=(X, Y))) == 2


def test_gamma_score_keeps_large_gammas(library):
    model = ZOO["plain"](library)
    model.get_layer("norm").gamma.assign(np.array([1, -9, 2, 0.1, 8, 0.2, 7, 0.3], "float32"))
    plan = plan_channels(model, ChannelConfig(sparsity=4 / 17, score="gamma", min_kept=0))
    kept = {group.name: group for group in plan.groups}
    assert kept["a"].kept == (1, 2, 4, 6)
    assert kept["b"].frozen == "score 'gamma' has nothing to go by"


def test_reader_errors_are_those_of_the_readers(library):
    """Unit 2 gives 0.1 on both samples, and both outputs read it times 100."""
    model = two_layers(library, KERNEL, HEAD)
    plan = plan_channels(model, ChannelConfig(sparsity=1 / 6, score="mean_activation"), data=X)
    assert plan.groups[0].kept == (0, 1, 3)
    outputs = np.maximum(X @ np.array(KERNEL), 0) @ np.array(HEAD)
    assert plan.groups[0].error == pytest.approx(20 / np.linalg.norm(outputs), rel=1e-5)
    assert "error" in str(plan)


@pytest.mark.parametrize("name", ["plain", "concat", "transposed", "sequential"])
def test_reconstruction_wins_back_what_shrinking_lost(library, name):
    model = ZOO[name](library)
    randomize(model)
    x, fresh = inputs_for(model, 64), inputs_for(model, 64, seed=9)
    plan = plan_channels(model, ChannelConfig(target_macs=0.6))

    def distance(small):
        outputs = [np.asarray(m(fresh, training=False)) for m in (model, small)]
        return np.linalg.norm(outputs[0] - outputs[1])

    cut = distance(shrink(model, plan))
    assert distance(shrink(model, plan, reconstruct=True, data=x)) < 0.8 * cut


def test_reconstruction_finds_the_copy_of_a_lost_channel(library):
    """Two equal units: the reader of one can take over the other's kernel."""
    model = two_layers(library, [[1, 1, 2, 0], [2, 2, 0, 3]], [[1, 0], [5, 0], [1, 1], [0.5, 0]])
    plan = plan_channels(model, ChannelConfig(sparsity=1 / 6, score="l1", min_kept=0))
    x = np.random.default_rng(0).normal(size=(200, 2)).astype("float32")
    first, *others = plan.groups
    plan = replace(plan, groups=(replace(first, kept=(0, 2, 3)), *others))
    small = shrink(model, plan, reconstruct=True, data=x)
    np.testing.assert_allclose(np.asarray(small(x)), np.asarray(model(x)), atol=0.02)


def test_round_shares():
    assert round_shares(2, "linear") == [0.5, 1.0]
    assert round_shares(2, "agp") == [0.875, 1.0]


@pytest.mark.parametrize("target", ["target_macs", "target_parameters", "sparsity"])
def test_rounds_reach_the_target_and_resume(library, tmp_path, target):
    model = multi_unet_model(3, 32, 32, 3, filters=(8, 16, 32), flavor=library.__name__)
    config = ChannelConfig(**{target: 0.5}, min_kept=0)
    trained = []

    def fine_tune(small, number):
        trained.append(number)
        if number == 2 and trained.count(2) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune_in_rounds(model, config, fine_tune, rounds=3, folder=tmp_path)
    result = prune_in_rounds(model, config, fine_tune, rounds=3, folder=tmp_path)
    assert trained == [1, 2, 2, 3]
    assert 2 <= len(result.plans) <= 3, "a round with nothing left to remove only trains"
    kept = {
        "target_macs": result.plans[-1].macs[1] / result.plans[0].macs[0],
        "target_parameters": result.plans[-1].parameters[1] / result.plans[0].parameters[0],
        "sparsity": np.prod([1 - plan.sparsity for plan in result.plans]),
    }[target]
    assert kept == pytest.approx(0.5, abs=0.03)


def test_rounds_that_excluded_layers_by_an_entry_are_continued(library, tmp_path):
    """Recipes wrote `exclude` into `config_list` before it was an option of its own."""
    model = multi_unet_model(3, 32, 32, 3, filters=(8, 16, 32), flavor=library.__name__)
    name = "down1_a_conv"
    config = ChannelConfig(target_macs=0.8, exclude=(name,))
    first = prune_in_rounds(model, config, lambda *_: None, rounds=1, folder=tmp_path)
    path = tmp_path / "rounds.json"
    stored = json.loads(path.read_text())
    entry = {"exclude": True, "op_names": stored.pop("exclude")}
    path.write_text(json.dumps({**stored, "config_list": [entry]}))
    again = prune_in_rounds(model, config, lambda *_: None, rounds=1, folder=tmp_path)
    assert [plan.groups for plan in again.plans] == [plan.groups for plan in first.plans]
    other = ChannelConfig(target_macs=0.8, exclude=("another",))
    path.write_text(json.dumps({**stored, "config_list": [entry]}))
    with pytest.raises(ConfigError, match="made with exclude"):
        prune_in_rounds(model, other, lambda *_: None, rounds=1, folder=tmp_path)


def test_sensitivity_finds_the_group_that_matters(library):
    """Classes are the sign of one hidden unit; the other layer only carries noise."""
    inputs = library.Input((4,))
    important = library.layers.Dense(4, use_bias=False, name="important")(inputs)
    noise = library.layers.Dense(4, use_bias=False, name="noise")(inputs)
    joined = library.layers.Concatenate(name="cat")([important, noise])
    model = library.Model(inputs, library.layers.Dense(2, use_bias=False, name="head")(joined))
    model.get_layer("important").kernel.assign(np.eye(4, dtype="float32"))
    model.get_layer("noise").kernel.assign(0.01 * np.eye(4, dtype="float32"))
    head = np.zeros((8, 2), "float32")
    head[:4, 1] = 1
    model.get_layer("head").kernel.assign(head)
    x = np.random.default_rng(0).normal(size=(200, 4)).astype("float32")
    y = (x.sum(axis=1) > 0).astype("int64")
    before = model.get_weights()
    result = sensitivity(model, (x, y), levels=(0.25, 0.75))
    assert result.baseline == 1.0
    assert result.groups["noise"] == (1.0, 1.0)
    assert result.groups["important"][1] < result.groups["important"][0] < 1.0
    assert result.config_list(0.0) == [
        {"exclude": True, "op_names": ["important"]},
        {"sparsity": 0.75, "op_names": ["noise"]},
    ]
    assert str(result).index("important") < str(result).index("noise"), "most sensitive first"
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    plan = plan_channels(model, ChannelConfig(config_list=result.config_list(0.0)))
    assert [group.kept_width for group in plan.groups][:2] in ([4, 1], [1, 4])


def test_slimming_shrinks_gammas_and_leaves_the_model_plain(library, tmp_path):
    x = np.random.default_rng(0).normal(size=(64, 8, 8, 3)).astype("float32")
    y = np.random.default_rng(1).normal(size=(64, 4, 4, 3)).astype("float32")
    totals = []
    for strength in (None, 0.1):
        keras.utils.set_random_seed(0)
        model = ZOO["plain"](library)
        model.compile(library.optimizers.SGD(0.05), "mse")
        callbacks = [] if strength is None else [slim(model, strength)]
        model.fit(x, y, epochs=3, batch_size=16, verbose=0, callbacks=callbacks)
        totals.append(np.abs(np.asarray(model.get_layer("norm").gamma)).sum())
        assert not model.losses
    # 8 gammas, 12 steps of SGD with rate 0.05, each 0.1 * sign(gamma) further towards zero.
    assert totals[0] - totals[1] == pytest.approx(8 * 12 * 0.05 * 0.1, rel=0.1)
    model.fit(x, y, epochs=1, verbose=0)
    model.save(tmp_path / "m.keras")
    assert not library.models.load_model(tmp_path / "m.keras").losses


def test_slimmable_layers_are_those_behind_free_channels(library):
    assert [path for path, _ in slimmable(ZOO["plain"](library))] == ["norm"]
    with pytest.raises(LayerError, match="no normalization layer with a gamma"):
        slimmable(ZOO["sequential"](library))


def lambda_in_the_way():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3, name="a")(inputs)
    x = keras.layers.Lambda(lambda t: t[..., ::-1], name="flip")(x)
    return keras.Model(inputs, keras.layers.Conv2D(2, 1, name="head")(x), name="opaque")


def one_channel():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(1, 3, name="a")(inputs)
    return keras.Model(inputs, keras.layers.Conv2D(2, 1, name="head")(x), name="thin")


def plain():
    return ZOO["plain"](keras)


HALF = {"target_macs": 0.5}
BAD = {
    "no target": (plain, {}, {}, "set exactly one of sparsity, target_macs"),
    "two targets": (plain, {**HALF, "sparsity": 0.5}, {}, r"2 targets \(sparsity, target_macs\)"),
    "share": (plain, {"target_macs": 50}, {}, r"target_macs: it is 50, but must be in \(0, 1\)"),
    "score": (plain, {**HALF, "score": "l3"}, {}, "score: unknown value 'l3'. Fix: use l1, l2"),
    "scope": (plain, {**HALF, "scope": "layer"}, {}, "scope: unknown value 'layer'"),
    "min kept": (plain, {**HALF, "min_kept": 2}, {}, "min_kept: it is 2"),
    "round": (plain, {**HALF, "round_to": 0}, {}, "round_to: it is 0"),
    "layer": (
        plain,
        {**HALF, "config_list": [{"exclude": True, "op_names": ["conv9"]}]},
        {},
        r"config_list\[0\]: no layer is named 'conv9'. Fix: use one of a, norm",
    ),
    "all excluded": (
        plain,
        {**HALF, "config_list": [{"exclude": True}]},
        {},
        r"no channel can be removed \(a: a excluded by config_list\[0\]",
    ),
    "impossible": (plain, {"target_macs": 0.001}, {}, "it cannot be reached: at least"),
    "lambda": (lambda_in_the_way, HALF, {}, "a: Lambda 'flip' cannot be followed"),
    "one channel": (one_channel, HALF, {}, "a: it has one channel"),
    "needs data": (plain, {**HALF, "score": "apoz"}, {}, "score 'apoz': it needs data"),
    "needs targets": (
        plain,
        {**HALF, "score": "taylor"},
        {"data": np.zeros((2, 8, 8, 3)), "loss": keras.losses.mean_squared_error},
        "score 'taylor' needs targets",
    ),
    "needs a loss": (
        plain,
        {**HALF, "score": "taylor"},
        {"data": (np.zeros((2, 8, 8, 3)), np.zeros(2))},
        "loss: score 'taylor' needs one, and 'plain' is not compiled",
    ),
    "data shape": (
        plain,
        {**HALF, "score": "apoz"},
        {"data": np.zeros((2, 9, 9, 3))},
        r"data: samples of input '.*' have shape \(9, 9, 3\), but the model takes \(8, 8, 3\)",
    ),
    "no sample": (
        plain,
        {**HALF, "score": "apoz"},
        {"data": np.zeros((0, 8, 8, 3))},
        "data: it holds no samples",
    ),
    "needs a clock": (plain, {"target_latency_ms": 1.0}, {}, "there is nothing to measure with"),
    "fast already": (
        plain,
        {"target_latency_ms": 5.0},
        {"measure": lambda model: 4.0},
        "the model already takes 4.00 ms",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_error_that_names_the_fix(name):
    build, config, more, message = BAD[name]
    with pytest.raises(CompressionError, match=message) as caught:
        plan_channels(build(), ChannelConfig(**config), **more)
    assert "Fix: " in str(caught.value)


def test_a_plan_for_another_model_is_refused(tmp_path):
    plan = plan_channels(plain(), ChannelConfig(target_macs=0.5))
    with pytest.raises(ConfigError, match="group 'a': the plan for 'plain' has 8 channels of a"):
        shrink(ZOO["flatten"](keras), plan)
    (tmp_path / "plan.json").write_text('{"format": 9}')
    with pytest.raises(ConfigError, match="it is no channel plan of format 1"):
        ChannelPlan.load(tmp_path / "plan.json")
    with pytest.raises(ConfigError, match="it cannot be read"):
        ChannelPlan.load(tmp_path / "missing.json")


def test_reconstruction_without_data_is_an_error():
    plan = plan_channels(plain(), ChannelConfig(target_macs=0.5))
    with pytest.raises(ConfigError, match="reconstruct: it needs data"):
        shrink(plain(), plan, reconstruct=True)


def test_wrong_number_of_inputs():
    model = ZOO["nested_and_shared"](keras)
    with pytest.raises(DataError, match="data: one array for 2 inputs. Fix: give a list of arrays"):
        plan_channels(model, ChannelConfig(target_macs=0.5), data=np.zeros((2, 8, 8, 3)))


def test_dict_of_inputs_by_name():
    a, b = keras.Input((3,), name="zz"), keras.Input((4,), name="aa")
    x = keras.layers.Concatenate()([a, b])
    x = keras.layers.Dense(8, activation="relu", name="d")(x)
    model = keras.Model({"zz": a, "aa": b}, keras.layers.Dense(2, name="head")(x))
    data = {"aa": np.ones((5, 4), "float32"), "zz": np.ones((5, 3), "float32")}
    plan = plan_channels(model, ChannelConfig(sparsity=0.3, score="apoz"), data=data)
    assert plan.groups[0].error is not None
    assert sensitivity(model, (data, np.zeros(5, "int64")), levels=(0.5,)).groups
    with pytest.raises(DataError, match="input 'zz' is missing. Fix: give aa, zz"):
        plan_channels(model, ChannelConfig(sparsity=0.3), data={"aa": data["aa"]})
