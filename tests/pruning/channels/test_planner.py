"""The contract of channel pruning: a shrunk model equals the masked one, and is a plain model."""

import keras
import numpy as np
import pytest

from tests.pruning.channels.masked_reference import masked_outputs, randomize
from tests.pruning.channels.zoo import ZOO, inputs_for, outputs_of
from tfcompress.errors import ConfigError
from tfcompress.evaluation.cost import count_cost
from tfcompress.pruning.channels.config import ChannelConfig
from tfcompress.pruning.channels.planner import plan_channels, shrink
from tfcompress.pruning.channels.trace.groups import find_groups


def check_equals_masked(model, plan, small, inputs):
    removed = find_groups(model).removed({group.name: group.kept for group in plan.groups})
    wanted = masked_outputs(model, removed, inputs)
    whole = outputs_of(model, inputs)
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(whole, wanted, strict=True))
    for expected, got in zip(wanted, outputs_of(small, inputs), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("name", ZOO)
def test_shrunk_equals_masked(library, name):
    model = ZOO[name](library)
    randomize(model)
    inputs = inputs_for(model)
    before = [np.array(weight) for weight in model.get_weights()]
    plan = plan_channels(model, ChannelConfig(sparsity=0.4, scope="group", min_kept=0.0))
    small = shrink(model, plan)
    check_equals_masked(model, plan, small, inputs)
    cost = count_cost(small)
    assert cost.parameters == plan.parameters[1] < plan.parameters[0]
    assert cost.macs == plan.macs[1]
    for array, weight in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(array, weight)
    # outputs are never cut
    assert [t.shape for t in small.outputs] == [t.shape for t in model.outputs]


EXPECTED = {
    # name: {group: (width, makers, readers, frozen)}
    "plain": {"a": (8, "a", "b", ""), "b": (6, "b", "head", "")},
    "residual": {"stem": (8, "stem b1 b2", "b1 b2 head", "")},
    "concat": {
        "a": (4, "a c", "c head", ""),
        "b": (6, "b c", "c head", ""),
        "c[10:13]": (3, "c", "", "'tie' combines it with fixed channels"),
    },
    "flatten": {"a": (5, "a", "hidden", ""), "hidden": (10, "hidden", "head", "")},
    "squeeze_excite": {
        "a": (8, "a gate", "reduce place head", ""),
        "reduce": (4, "reduce", "gate", ""),
        "place": (1, "place", "", "it has one channel"),
    },
    "group_norm": {
        "a": (12, "a", "b", ""),
        "b": (6, "b", "", "LayerNormalization 'ln' mixes all channels"),
    },
    "attention": {
        "mha/query": (4, "mha/query mha/key mha/value", "mha/attention_output", ""),
        "up": (12, "up", "down", ""),
    },
}


@pytest.mark.parametrize("name", EXPECTED)
def test_groups_are_what_the_wiring_says(library, name):
    groups = {group.name: group for group in find_groups(ZOO[name](library)).groups}
    for key, (width, makers, readers, frozen) in EXPECTED[name].items():
        group = groups[key]
        assert (group.width, group.frozen) == (width, frozen)
        assert set(group.makers) == set(makers.split())
        assert set(group.readers) == set(readers.split())


def test_whole_norm_groups_and_conv_groups_go(library):
    sizes = {g.name: g.size for g in find_groups(ZOO["group_norm"](library)).groups}
    assert sizes["a"] == 3  # 12 channels in 4 groups
    sizes = {g.name: g.size for g in find_groups(ZOO["depthwise"](library)).groups}
    assert sizes["sep"] == 2  # 8 channels, and four_groups ties pairs of them


@pytest.mark.parametrize("name", ["residual", "transposed", "nested_and_shared", "operations"])
def test_result_saves_reloads_and_trains(library, name, tmp_path):
    model = ZOO[name](library)
    randomize(model)
    inputs = inputs_for(model, 8)
    small = shrink(model, plan_channels(model, ChannelConfig(target_macs=0.6)))
    path = tmp_path / "small.keras"
    small.save(path)
    again = library.models.load_model(path)
    for a, b in zip(outputs_of(small, inputs), outputs_of(again, inputs), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    again.compile("sgd", "mse")
    targets = np.zeros_like(outputs_of(again, inputs)[0])
    losses = again.fit(inputs, targets, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_small_unet_becomes_int8(library):
    from models.unet import multi_unet_model
    from tfcompress.litert.model import to_litert

    model = multi_unet_model(3, 32, 32, 3, filters=(8, 16, 32), flavor=library.__name__)
    small = shrink(model, plan_channels(model, ChannelConfig(target_macs=0.5, round_to=4)))
    x = np.random.default_rng(0).random((32, 32, 32, 3), dtype=np.float32)
    lite = to_litert(small, "int8", x)
    difference = np.abs(lite.predict(x[:4]) - np.asarray(small(x[:4], training=False))).max()
    assert difference < 0.05
    assert len(lite.content) < 0.75 * len(to_litert(model, "int8", x).content)


@pytest.fixture(scope="module")
def mobilenet():
    """Its first stages; neither a plan nor shrinking changes it."""
    whole = keras.applications.MobileNetV2((96, 96, 3), weights=None)
    pooled = keras.layers.GlobalAveragePooling2D()(whole.get_layer("block_5_add").output)
    return keras.Model(whole.input, keras.layers.Dense(100, name="head")(pooled))


@pytest.mark.parametrize("target", ["target_macs", "target_parameters", "sparsity"])
@pytest.mark.parametrize("scope", ["global", "group"])
def test_targets_are_reached_within_two_percent(target, scope, mobilenet):
    model = mobilenet
    plan = plan_channels(model, ChannelConfig(**{target: 0.4}, scope=scope))
    small = shrink(model, plan)
    old, new = count_cost(model), count_cost(small)
    reached = {
        "target_macs": new.macs / old.macs,
        "target_parameters": new.parameters / old.parameters,
        "sparsity": plan.sparsity,
    }[target]
    assert reached == pytest.approx(0.4, rel=0.02)
    assert not plan.notes


def test_measured_latency_target(mobilenet):
    """`measure` stands for a clock: it counts MACs, which a plan knows nothing about.

    The clock slows down all the while, as a warm machine does.
    """
    model = mobilenet
    seen = []

    def measure(candidate):
        seen.append(candidate)
        return (3 + count_cost(candidate).macs / 1e6) * 1.01 ** len(seen)

    before = measure(model)
    plan = plan_channels(model, ChannelConfig(target_latency_ms=before / 2), measure=measure)
    assert len(seen) <= 2 + 2 * 8
    assert plan.latency_ms[0] == pytest.approx(before, rel=0.02)
    again = [3 + count_cost(m).macs / 1e6 for m in (model, shrink(model, plan))]
    assert again[1] / again[0] == pytest.approx(0.5, rel=0.1)


def test_widths_are_rounded():
    model = ZOO["transposed"](keras)
    plan = plan_channels(model, ChannelConfig(sparsity=0.4, round_to=2, min_kept=0))
    assert all(group.kept_width % 2 == 0 for group in plan.groups if not group.frozen)


def test_config_list_fixes_and_excludes(library):
    model = ZOO["plain"](library)
    entries = [{"sparsity": 0.5, "op_types": ["Conv2D"]}, {"exclude": True, "op_names": ["b"]}]
    plan = plan_channels(model, ChannelConfig(config_list=entries))
    kept = {group.name: (group.kept_width, group.frozen) for group in plan.groups}
    assert kept["a"] == (4, "")
    assert kept["b"] == (6, "b excluded by config_list[1]")


def test_excluded_layers_keep_their_channels(library):
    model = ZOO["plain"](library)
    listed = [{"exclude": True, "op_names": ["b"]}]
    plan = plan_channels(model, ChannelConfig(sparsity=0.2, exclude=("b",)))
    again = plan_channels(model, ChannelConfig(sparsity=0.2, config_list=listed))
    assert [group.kept for group in plan.groups] == [group.kept for group in again.groups]
    assert {group.name: group.frozen for group in plan.groups}["b"] == "b is excluded"
    # It comes after the entries, so it wins over a sparsity that they give.
    fixed = [{"sparsity": 0.5, "op_names": ["b"]}]
    both = ChannelConfig(sparsity=0.2, exclude=("b",), config_list=fixed)
    assert {g.name: g.kept_width for g in plan_channels(model, both).groups}["b"] == 6
    with pytest.raises(ConfigError, match="exclude: no layer is named 'conv9'"):
        plan_channels(model, ChannelConfig(sparsity=0.2, exclude=("conv9",)))


def test_plan_saves_and_applies_to_another_checkpoint(library, tmp_path):
    model, other = ZOO["residual"](library), ZOO["residual"](library)
    randomize(model)
    randomize(other, seed=5)
    plan = plan_channels(model, ChannelConfig(target_macs=0.6))
    plan.save(tmp_path / "plan.json")
    again = type(plan).load(tmp_path / "plan.json")
    assert again.groups == plan.groups
    assert (again.macs, again.parameters, again.target) == (plan.macs, plan.parameters, plan.target)
    check_equals_masked(other, again, shrink(other, again), inputs_for(other))


def test_plan_prints_every_group():
    plan = plan_channels(ZOO["residual"](keras), ChannelConfig(target_macs=0.6))
    text = str(plan)
    assert "stem and 2 more" not in text.splitlines()[0]
    for word in ("group", "width", "kept", "makers", "readers", "frozen", "MACs", "model output"):
        assert word in text
