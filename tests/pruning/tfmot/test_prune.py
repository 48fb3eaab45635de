"""TFMOT's pruning on Keras 3 and tf_keras models: what TFMOT documents, on what comes back."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tfcompress.errors import ConfigError, LayerError
from tfcompress.pruning.schedules import Constant, Polynomial
from tfcompress.pruning.tfmot.prune import tfmot_prune

ROOT = Path(__file__).resolve().parents[3]
DEFAULT = [{"sparsity": 0.8, "op_types": ["default"]}]
AT_ONCE = Constant(0, frequency=1)


def build(library, optimizer="adam"):
    """Kernels of 288, 576 and 2048 weights; `mid` is inside a model inside the model."""
    layers = library.layers
    inner_in = library.Input((8, 8, 8))
    inner = library.Model(
        inner_in, layers.Conv2D(8, 3, padding="same", name="mid")(inner_in), name="inner"
    )
    x = inputs = library.Input((8, 8, 4))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="conv")(x)
    x = layers.Flatten(name="flat")(layers.BatchNormalization(name="norm")(inner(x)))
    model = library.Model(inputs, layers.Dense(4, activation="softmax", name="head")(x))
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.fixture(scope="module")
def batch():
    generator = np.random.default_rng(0)
    return generator.random((16, 8, 8, 4), dtype=np.float32), generator.integers(0, 4, 16)


def fit(batch, epochs=1, **more):
    return dict(x=batch[0], y=batch[1], batch_size=4, epochs=epochs, verbose=0, **more)


def kernels(model):
    return {
        "conv": np.asarray(model.get_layer("conv").kernel),
        "mid": np.asarray(model.get_layer("inner").get_layer("mid").kernel),
        "head": np.asarray(model.get_layer("head").kernel),
    }


def zeros(model):
    return {name: int(k.size - np.count_nonzero(k)) for name, k in kernels(model).items()}


def test_polynomial_to_80_percent(library, batch, tmp_path):
    model = build(library)
    before = [np.asarray(w) for w in model.weights]
    result = tfmot_prune(model, Polynomial(0, 8, frequency=2), DEFAULT, fit=fit(batch, 3))
    # TFMOT keeps round(0.2 n) weights: 58 of 288, 115 of 576, 410 of 2048.
    assert zeros(result.model) == {"conv": 230, "mid": 461, "head": 1638}
    assert result.report.zeros == 230 + 461 + 1638
    assert "80.0%" in str(result)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.weights, strict=True))
    assert type(result.model) is type(model)
    assert [layer.name for layer in result.model.layers] == [layer.name for layer in model.layers]
    assert len(result.history["loss"]) == 3
    assert set(result.history) == {"loss", "accuracy"}
    moved = np.asarray(result.model.get_layer("norm").moving_mean)
    assert moved.any(), "statistics are those of the training"
    result.model.save(tmp_path / "pruned.keras")
    loaded = library.models.load_model(tmp_path / "pruned.keras")
    assert zeros(loaded) == zeros(result.model)
    result.model.fit(*batch, verbose=0)  # it comes back compiled


def test_layers_by_config_list(batch):
    chosen = [
        {"sparsity": 0.5, "op_types": ["default"]},
        {"sparsity": 0.75, "op_names": ["inner/mid"]},
        {"exclude": True, "op_names": ["head"]},
    ]
    result = tfmot_prune(build(keras), AT_ONCE, chosen, fit=fit(batch))
    assert zeros(result.model) == {"conv": 144, "mid": 432, "head": 0}
    assert dict(result.report.skipped)["head"] == "excluded by config_list[2]"


def test_zero_percent_is_a_no_op(batch):
    model = build(keras, keras.optimizers.SGD(0.0))
    result = tfmot_prune(
        model, AT_ONCE, [{"sparsity": 0.0, "op_types": ["default"]}], fit=fit(batch)
    )
    assert result.report.zeros == 0
    for name, kernel in kernels(model).items():
        np.testing.assert_allclose(kernels(result.model)[name], kernel, atol=1e-7)


def test_masks_stay_after_the_end_step_and_train_may_fit_twice(batch):
    seen = []

    def train(twin):
        twin.compile("adam", "sparse_categorical_crossentropy")
        for _ in range(3):
            history = twin.fit(*batch, batch_size=4, verbose=0)  # four steps
            wrappers = [layer for layer in twin.layers if hasattr(layer, "pruning_vars")]
            seen.append([np.array(mask) for w in wrappers for _, mask, _ in w.pruning_vars])
        return history

    result = tfmot_prune(build(keras), Polynomial(0, 4, frequency=1), DEFAULT, train=train)
    assert zeros(result.model) == {"conv": 230, "mid": 461, "head": 1638}
    for after_end, later in zip(seen[0], seen[2], strict=True):
        np.testing.assert_array_equal(after_end, later)


def test_stop_and_restart_keeps_the_zeros(batch):
    first = tfmot_prune(build(keras), AT_ONCE, DEFAULT, fit=fit(batch))
    again = tfmot_prune(first.model, AT_ONCE, DEFAULT, fit=fit(batch, 2))
    assert zeros(again.model) == zeros(first.model)
    for name, kernel in kernels(first.model).items():
        assert not kernels(again.model)[name][kernel == 0].any()


def test_two_of_four_exactly(batch):
    result = tfmot_prune(
        build(keras),
        AT_ONCE,
        [{"sparsity": 0.5, "op_types": ["default"]}],
        granularity="2:4",
        fit=fit(batch),
    )
    for kernel in kernels(result.model).values():
        groups = np.moveaxis(kernel, -2, -1)  # inputs last: four in a row
        groups = groups.reshape(-1, 4)
        assert ((groups == 0).sum(axis=1) == 2).all()


def test_blocks_are_for_dense_kernels(batch):
    layers = keras.layers
    inputs = keras.Input((8, 8, 4))
    x = layers.Flatten()(layers.Conv2D(2, 3, activation="relu", name="conv")(inputs))
    x = layers.Dense(16, activation="relu", name="hidden")(x)
    model = keras.Model(inputs, layers.Dense(4, activation="softmax", name="head")(x))
    model.compile("adam", "sparse_categorical_crossentropy")
    result = tfmot_prune(model, AT_ONCE, DEFAULT, granularity="1x4", fit=fit(batch))
    assert [row.path for row in result.report.rows] == ["hidden"]
    blocks = np.asarray(result.model.get_layer("hidden").kernel).reshape(72 * 4, 4)
    whole = (blocks == 0).all(axis=1)
    assert whole.sum() == 288 - 58  # round(0.2 * 288) of the blocks stay
    assert (blocks[~whole] != 0).all()
    skipped = dict(result.report.skipped)
    assert "blocks for Dense kernels only" in skipped["conv"]
    assert "a block of 1x4 covers a whole axis" in skipped["head"]


def test_a_schedule_that_training_does_not_finish(batch):
    with pytest.warns(UserWarning, match="less sparse than requested .*ended after 4 steps"):
        tfmot_prune(build(keras), Polynomial(0, 40, frequency=2), DEFAULT, fit=fit(batch))
    with pytest.raises(LayerError, match="no weight was pruned in 4 training steps"):
        tfmot_prune(build(keras), Constant(0, frequency=100), DEFAULT, fit=fit(batch))


def test_several_outputs_shared_layers_and_wrappers(batch):
    """Losses and targets by output name, a layer called twice, a TimeDistributed, equal names."""
    layers = keras.layers
    a, b = keras.Input((6, 4), name="left"), keras.Input((6, 4), name="right")
    shared = layers.Dense(8, name="shared")
    x = layers.Add(name="op_add")([shared(a), shared(b)]) + layers.TimeDistributed(
        layers.Dense(8, name="inside"), name="each"
    )(a)
    x = layers.Flatten(name="flat")(keras.ops.relu(layers.ReLU(name="op_relu")(x)))
    outputs = {name: layers.Dense(2, name=name)(x) for name in ("first", "second")}
    model = keras.Model([a, b], outputs)
    model.compile("adam", {"first": "mse", "second": "mae"}, loss_weights={"first": 1, "second": 2})
    generator = np.random.default_rng(0)
    x = [generator.random((8, 6, 4), dtype=np.float32) for _ in range(2)]
    y = {name: np.zeros((8, 2), "float32") for name in outputs}
    result = tfmot_prune(
        model,
        AT_ONCE,
        [{"sparsity": 0.5, "op_types": ["default"]}],
        fit=dict(x=x, y=y, batch_size=4, verbose=0),
    )
    counted = {row.path: row.zeros for row in result.report.rows}
    assert counted == {"shared": 16, "first": 48, "second": 48}
    assert dict(result.report.skipped)["each/inside"] == "TFMOT cannot prune TimeDistributed"
    assert {"first_loss", "second_loss"} <= set(result.history)
    assert set(result.model.predict(x, verbose=0)) == {"first", "second"}


def test_attention_is_pruned_as_a_whole(batch):
    def build_attention():
        x = inputs = keras.Input((6, 8))
        x = keras.layers.MultiHeadAttention(2, 4, name="mha")(x, x)
        model = keras.Model(inputs, keras.layers.Dense(2, name="head")(x))
        model.compile("sgd", "mse")
        return model

    fit = dict(x=np.ones((4, 6, 8), "float32"), y=np.zeros((4, 6, 2), "float32"), verbose=0)
    chosen = [{"sparsity": 0.5, "op_types": ["MultiHeadAttention", "Dense"]}]
    result = tfmot_prune(build_attention(), AT_ONCE, chosen, fit=fit)
    counted = {row.path: row.sparsity for row in result.report.rows}
    assert counted == {
        "mha/query": 0.5,
        "mha/key": 0.5,
        "mha/value": 0.5,
        "mha/attention_output": 0.5,
        "head": 0.5,
    }
    part = [{"sparsity": 0.5, "op_names": ["mha/query", "head"]}]
    result = tfmot_prune(build_attention(), AT_ONCE, part, fit=fit)
    assert [row.path for row in result.report.rows] == ["head"]
    assert "as a whole, at one sparsity" in dict(result.report.skipped)["mha/query"]


def test_separable_and_recurrent_layers(batch):
    layers = keras.layers
    x = inputs = keras.Input((8, 8, 4))
    x = layers.SeparableConv2D(8, 3, name="sep")(x)
    x = layers.Reshape((36, 8))(x)
    x = layers.Bidirectional(layers.GRU(4, name="gru"), name="both")(x)
    x = layers.Reshape((8, 1))(x)
    x = layers.LSTM(6, name="lstm")(x)
    model = keras.Model(inputs, layers.Dense(4, activation="softmax", name="head")(x))
    model.compile("adam", "sparse_categorical_crossentropy")
    chosen = [{"sparsity": 0.5, "op_types": ["SeparableConv2D", "LSTM", "Dense"]}]
    result = tfmot_prune(model, AT_ONCE, chosen, fit=fit(batch))
    counted = {f"{row.path}/{row.role}": row.sparsity for row in result.report.rows}
    assert counted == {
        "sep/pointwise_kernel": 0.5,
        "head/kernel": 0.5,
    }
    assert (
        dict(result.report.skipped)["sep"]
        == "TFMOT does not prune the depthwise_kernel of SeparableConv2D"
    )


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(2)

    def call(self, x):
        return self.dense(x)


def with_lambda():
    x = keras.Input((4,))
    y = keras.layers.Lambda(lambda v: v * 2, name="twice")(keras.layers.Dense(3)(x))
    model = keras.Model(x, y)
    model.compile("sgd", "mse")
    return model


def with_own_loss():
    model = build(keras)
    model.compile("adam", lambda y_true, y_pred: y_pred[..., 0])
    return model


def called(model):
    model(np.zeros((1, 4), np.float32))
    model.compile("sgd", "mse")
    return model


BAD = {
    "epochs": (dict(schedule=Polynomial(0, 4, unit="epoch")), "TFMOT counts steps.*unit='step'"),
    "frequency": (
        dict(schedule=Polynomial(0, 10, frequency=4)),
        "misses.*divides end - begin = 10",
    ),
    "no training": (dict(fit=None), "neither is given.*pass train="),
    "both": (dict(train=lambda twin: None), "both are given"),
    "norm only": (
        dict(config_list=[{"sparsity": 0.5, "op_types": ["BatchNormalization"]}]),
        "would prune nothing.*BatchNormalization is never pruned",
    ),
    "own loss": (
        dict(model=with_own_loss),
        "loss .*does not exist in both Keras 3 and tf_keras.*pass train=",
    ),
    "lambda": (dict(model=with_lambda), "layer 'twice': Lambda cannot be converted.*Fix: replace"),
    "subclassed": (dict(model=lambda: called(Subclassed())), "subclassed.*build it functionally"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name, batch):
    arguments, message = BAD[name]
    given = {"schedule": AT_ONCE, "config_list": DEFAULT, "fit": fit(batch), **arguments}
    model = given.pop("model", lambda: build(keras))()
    with pytest.raises((ConfigError, LayerError), match=message):
        tfmot_prune(model, **given)


def test_a_model_that_is_not_compiled(batch):
    model = keras.Model(*[keras.Input((4,))] * 2)
    with pytest.raises(ConfigError, match="it is not compiled.*compile it, or pass train="):
        tfmot_prune(model, AT_ONCE, DEFAULT, fit=fit(batch))


def test_end_before_begin():
    with pytest.raises(ConfigError, match="begin is 5 and end is 3.*use 0 <= begin < end"):
        Polynomial(5, 3)


@pytest.mark.parametrize(
    ("flag", "verbs"), [(None, 3), ("0", 1), pytest.param("0", 3, marks=pytest.mark.slow)]
)
def test_the_environment_is_left_as_found(flag, verbs):
    """After pruning, clustering and quantization-aware training: here and in child processes."""
    code = (
        "import os, subprocess, sys, numpy as np, tensorflow as tf, keras\n"
        "from tfcompress.pruning.schedules import Constant\n"
        "from tfcompress.pruning.tfmot.prune import tfmot_prune\n"
        "from tfcompress.pruning.tfmot.cluster import tfmot_cluster\n"
        "from tfcompress.quantization.training.tfmot import quantize_aware\n"
        "x = keras.Input((8,))\n"
        "x = keras.layers.Dense(16)(inputs := x)\n"
        "model = keras.Model(inputs, keras.layers.Dense(16)(x))\n"
        "model.compile('sgd', 'mse')\n"
        "fit = dict(x=np.ones((16, 8)), y=np.ones((16, 16)), verbose=0)\n"
        "sparse = [{'sparsity': 0.5, 'op_types': ['default']}]\n"
        "for verb in (\n"
        "    lambda: tfmot_prune(model, Constant(0, frequency=1), sparse, fit=fit),\n"
        "    lambda: tfmot_cluster(model, 2, fit=fit),\n"
        "    lambda: quantize_aware(model, fit=fit),\n"
        f")[:{verbs}]:\n"
        "    verb()\n"
        "    flag = os.environ.get('TF_USE_LEGACY_KERAS')\n"
        "    print(flag, tf.keras.Model is keras.Model, flush=True)\n"
        "    subprocess.run([sys.executable, '-c', "
        "'import os; print(os.environ.get(\"TF_USE_LEGACY_KERAS\"))'])\n"
    )
    clean = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    if flag is not None:
        clean["TF_USE_LEGACY_KERAS"] = flag
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=clean, capture_output=True, text=True
    )
    assert done.stdout.split() == [str(flag), "True", str(flag)] * verbs, done.stderr
