"""What freezes a group, and what a removed channel becomes on its way."""

import keras
import numpy as np
import pytest

from tfcompress.pruning.channels.trace.groups import find_groups
from tfcompress.pruning.channels.trace.merge_rules import pointwise_value


@pytest.mark.parametrize(
    ("function", "at_zero"),
    [
        (keras.activations.relu, 0.0),
        (keras.activations.sigmoid, 0.5),
        (keras.activations.softplus, np.log(2)),
        (lambda x: x * 3.0 + 1.0, 1.0),
    ],
)
def test_functions_of_single_numbers_are_recognized(function, at_zero):
    np.testing.assert_allclose(pointwise_value(function, np.zeros(2)), [at_zero] * 2, rtol=1e-6)


@pytest.mark.parametrize(
    "function",
    [
        keras.activations.softmax,
        keras.activations.glu,
        lambda x: x[..., ::-1],
        lambda x: x - keras.ops.mean(x),
        lambda x: x * np.arange(11, dtype="float32"),  # its own factor at every place
        lambda x: x[..., :4],
    ],
)
def test_functions_that_mix_or_depend_on_the_place_are_not(function):
    assert pointwise_value(function, np.zeros(2)) is None


def between(build):
    """conv 'a' -> something -> conv 'head'; the reason why 'a' is frozen."""
    inputs = keras.Input((8, 8, 3))
    x = build(keras.layers.Conv2D(8, 3, padding="same", name="a")(inputs))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1, name="head")(x))
    return {group.name: group.frozen for group in find_groups(model).groups}["a"]


def reversed_channels(x):
    return keras.ops.flip(x, axis=-1)


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (keras.layers.Activation("relu"), ""),
        (keras.layers.Activation("sigmoid"), "a zeroed channel does not reach 'head' as zero"),
        (keras.layers.Softmax(), "is not known to treat each channel by itself"),
        (keras.layers.LayerNormalization(name="ln"), "LayerNormalization 'ln' mixes all channels"),
        (keras.layers.Masking(name="m"), "Masking 'm' cannot be followed"),
        (keras.layers.Lambda(lambda x: x, name="f"), "Lambda 'f' cannot be followed"),
        (lambda x: keras.layers.Activation("sigmoid")(x) - 0.5, ""),
        (lambda x: x * 2.0 + 1.0, "a zeroed channel does not reach 'head' as zero"),
        (reversed_channels, "is not known to treat each channel by itself"),
        (lambda x: keras.ops.mean(x, axis=-1, keepdims=True), "reduces over channels"),
        (lambda x: keras.ops.mean(x, axis=1, keepdims=True), ""),
        (lambda x: x[..., ::2], "indexes in a way that is not followed"),
        (lambda x: keras.layers.ZeroPadding2D()(x), ""),
        (
            lambda x: keras.layers.Multiply()([x, keras.layers.Activation("sigmoid")(x)]),
            "",
        ),
        (keras.layers.GroupNormalization(1, name="g"), "'g' normalizes all channels together"),
    ],
)
def test_what_stands_between_maker_and_reader(build, reason):
    frozen = between(build)
    assert reason in frozen if reason else not frozen


def test_a_gate_without_bias_in_the_way_stays_exact():
    """hard-swish: x * relu6(x + 3) / 6, as MobileNetV3 writes it with bare operations."""

    def hard_swish(x):
        return x * (keras.layers.ReLU(6.0)(x + 3.0) * (1.0 / 6.0))

    assert not between(hard_swish)
