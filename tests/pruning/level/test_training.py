"""Masks hold through whatever trains the model, in both flavors."""

import numpy as np
import pytest

from tests.pruning.level.tiny_training import DEFAULT, EXPECTED_ZEROS, compiled, fit, zeros
from tfcompress.pruning.level.pruner import LevelPruner
from tfcompress.pruning.schedules import Polynomial

OPTIMIZERS = {
    "adam": lambda o: o.Adam(1e-2),
    "momentum": lambda o: o.SGD(0.05, momentum=0.9, nesterov=True),
    "weight_decay": lambda o: o.AdamW(1e-2, weight_decay=0.05),
    "ftrl": lambda o: o.Ftrl(0.05),
    "ema": lambda o: o.Adam(1e-2, use_ema=True, ema_momentum=0.9),
    "ema_overwrite": lambda o: o.RMSprop(1e-3, use_ema=True, ema_overwrite_frequency=3),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fit_in_graph_mode_holds_exactly(tiny_model, library, images, name):
    pruner = LevelPruner(tiny_model, DEFAULT)
    model, masks = pruner.compress()
    assert model is tiny_model
    before = np.asarray(model.get_layer("hidden").kernel)
    compiled(model, OPTIMIZERS[name](library.optimizers))
    fit(model, images, epochs=2)
    after = np.asarray(model.get_layer("hidden").kernel)
    if name == "ftrl":  # it makes zeros of its own besides
        assert zeros(model) >= EXPECTED_ZEROS
    else:
        assert zeros(model) == EXPECTED_ZEROS
    assert not after[~masks[("hidden", "kernel")]].any()
    assert not np.array_equal(before, after)
    assert pruner.report().leaked == 0


@pytest.mark.parametrize("arguments", [{"steps_per_execution": 4}, {"jit_compile": True}])
def test_ways_to_compile(tiny_model, images, arguments):
    LevelPruner(tiny_model, DEFAULT).compress()
    fit(compiled(tiny_model, **arguments), images, epochs=2)
    assert zeros(tiny_model) == EXPECTED_ZEROS


@pytest.mark.parametrize("ema", [False, True])
def test_mixed_precision(library, images, ema):
    library.mixed_precision.set_global_policy("mixed_float16")
    try:
        layers = library.layers
        inputs = library.Input((8, 8, 3))
        x = layers.Conv2D(8, 3, activation="relu", name="conv")(inputs)
        x = layers.Flatten()(x)
        outputs = layers.Dense(3, activation="softmax", dtype="float32", name="head")(x)
        model = library.Model(inputs, outputs)
    finally:
        library.mixed_precision.set_global_policy("float32")
    pruner = LevelPruner(model, DEFAULT)
    pruner.compress()
    optimizer = library.optimizers.Adam(1e-2, use_ema=ema)
    if library.__name__ == "keras":
        optimizer = library.optimizers.LossScaleOptimizer(optimizer)
    else:
        optimizer = library.mixed_precision.LossScaleOptimizer(optimizer)
    fit(compiled(model, optimizer), images, epochs=2)
    report = pruner.report()
    assert report.zeros == 172 + 691  # of 216 and of 864 weights
    assert report.leaked == 0


def test_gradient_accumulation(tiny_model, library, images):
    if library.__name__ == "tf_keras":
        pytest.skip("tf_keras has no gradient accumulation")
    LevelPruner(tiny_model, DEFAULT).compress()
    optimizer = library.optimizers.Adam(1e-2, gradient_accumulation_steps=3)
    fit(compiled(tiny_model, optimizer), images, epochs=2)
    assert zeros(tiny_model) == EXPECTED_ZEROS


@pytest.mark.parametrize("ema", [False, True])
@pytest.mark.parametrize("graph", [False, True])
def test_custom_loop(tiny_model, library, images, graph, ema):
    import tensorflow as tf

    LevelPruner(tiny_model, DEFAULT).compress()
    optimizer = library.optimizers.Adam(1e-2, use_ema=ema)
    loss = library.losses.SparseCategoricalCrossentropy()

    def step(x, y):
        with tf.GradientTape() as tape:
            value = loss(y, tiny_model(x, training=True))
        variables = tiny_model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(value, variables), variables, strict=True))

    step = tf.function(step) if graph else step
    for start in range(0, 64, 16):
        step(tf.constant(images[0][start : start + 16]), tf.constant(images[1][start : start + 16]))
        assert zeros(tiny_model) == EXPECTED_ZEROS
    optimizer.finalize_variable_values(tiny_model.trainable_variables)
    assert zeros(tiny_model) == EXPECTED_ZEROS


def test_moving_average_forgets_a_weight_that_is_pruned_later(tiny_model, library, images):
    pruner = LevelPruner(tiny_model, DEFAULT, schedule=Polynomial(2, 20, frequency=2))
    pruner.compress()
    compiled(tiny_model, library.optimizers.Adam(1e-2, use_ema=True, ema_momentum=0.99))
    fit(tiny_model, images, epochs=3, callbacks=[pruner.callback()])
    assert zeros(tiny_model) == EXPECTED_ZEROS


def test_compress_after_fit_traces_anew(tiny_model, images):
    fit(compiled(tiny_model), images)
    LevelPruner(tiny_model, DEFAULT).compress()
    fit(tiny_model, images)
    assert zeros(tiny_model) == EXPECTED_ZEROS


def test_distribution_strategy(library, images):
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        model = library.Sequential(
            [
                library.Input((8, 8, 3)),
                library.layers.Flatten(),
                library.layers.Dense(16, name="hidden"),
                library.layers.Dense(3, activation="softmax"),
            ]
        )
        pruner = LevelPruner(model, DEFAULT)
        pruner.compress()
        compiled(model)
    fit(model, images, epochs=2)
    assert pruner.report().leaked == 0
    assert pruner.report().zeros == 2457 + 38  # of 3072 and of 48 weights


def test_existing_constraint_still_acts(library, images):
    inputs = library.Input((8, 8, 3))
    x = library.layers.Conv2D(
        8, 3, name="conv", kernel_constraint=library.constraints.MaxNorm(0.2, axis=(0, 1, 2))
    )(inputs)
    outputs = library.layers.Dense(3, activation="softmax")(library.layers.Flatten()(x))
    model = library.Model(inputs, outputs)
    pruner = LevelPruner(model, [{"sparsity": 0.5, "op_types": ["Conv2D"]}])
    pruner.compress()
    fit(compiled(model, library.optimizers.SGD(1.0)), images, epochs=2)
    kernel = np.asarray(model.get_layer("conv").kernel)
    assert np.sqrt(np.square(kernel).sum(axis=(0, 1, 2))).max() <= 0.2 + 1e-5
    assert kernel.size - np.count_nonzero(kernel) == 108


def test_sequential_nested_and_subclassed_models(library, images):
    layers = library.layers

    class Head(library.Model):
        def __init__(self):
            super().__init__()
            self.blocks = {"a": [layers.Dense(8, activation="relu")]}
            self.last = layers.Dense(3, activation="softmax")

        def call(self, x):
            return self.last(self.blocks["a"][0](x))

    body = library.Sequential(
        [library.Input((8, 8, 3)), layers.Conv2D(4, 3, name="c"), layers.Flatten()], name="body"
    )
    model = library.Sequential([body, Head()])
    model(images[0][:1])
    pruner = LevelPruner(model, DEFAULT)
    pruner.compress()
    fit(compiled(model), images, epochs=2)
    report = pruner.report()
    assert [row.weights for row in report.rows] == [108, 1152, 24]
    assert report.zeros == 86 + 921 + 19
    assert report.leaked == 0
