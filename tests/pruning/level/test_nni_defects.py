"""The ten verified defects of NNI's TensorFlow LevelPruner, each as a test of ours.

They were found in NNI 2.10.1 by running it; every test states what went wrong there.
"""

import numpy as np
import pytest

from models.unet import multi_unet_model
from tfcompress.errors import ConfigError
from tfcompress.evaluation.sparsity import total_zeros
from tfcompress.pruning.level.pruner import LevelPruner

DEFAULT = [{"sparsity": 0.8, "op_types": ["default"]}]


def sparsity_of(layer):
    kernel = np.asarray(layer.kernel)
    return 1 - np.count_nonzero(kernel) / kernel.size


def train(model, images, **arguments):
    if not getattr(model, "optimizer", None):
        model.compile("adam", "sparse_categorical_crossentropy", **arguments)
    model.fit(*images, batch_size=16, epochs=2, verbose=0)


def test_1_functional_unet_is_pruned_and_saves_and_clones(library, tmp_path):
    """There: 23 wrappers, masks of 80.0 %, kernel sparsity 0.0 after fit, saving a KeyError.

    1,551,566 is the sum of int(0.8 n) over the 23 kernels; NNI's masks had one zero less, a tie.
    """
    model = multi_unet_model(6, 64, 64, 3, flavor=library.__name__)
    pruner = LevelPruner(model, DEFAULT)
    _, masks = pruner.compress()
    assert len(masks) == 23
    assert sum(np.count_nonzero(~mask) for mask in masks.values()) == 1_551_566
    generator = np.random.default_rng(0)
    x = generator.random((4, 64, 64, 3), dtype=np.float32)
    y = generator.integers(0, 6, (4, 64, 64))
    # Two steps: to trace a graph of 41 layers takes longer. The next test trains in graph mode.
    model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    model.fit(x, y, batch_size=2, verbose=0)
    counted = total_zeros(model)
    assert (counted.zeros, counted.weights) == (1_551_566, 1_939_472)
    pruner.save(tmp_path / "unet.keras")
    loaded = library.models.load_model(tmp_path / "unet.keras")
    assert total_zeros(loaded).zeros == 1_551_566
    assert len(library.models.clone_model(model).layers) == 41


def test_2_fit_runs_in_graph_mode(library, images):
    """There: Sequential and subclassed models demanded run_eagerly=True."""
    model = library.Sequential(
        [library.Input((8, 8, 3)), library.layers.Flatten(), library.layers.Dense(3, name="d")]
    )
    LevelPruner(model, DEFAULT).compress()
    train(model, images, run_eagerly=False)
    assert not model.run_eagerly
    assert sparsity_of(model.get_layer("d")) == pytest.approx(460 / 576)


def test_3_masks_follow_the_optimizer_step(tiny_model, images):
    """There: masks were laid on before the step, so that fit ended at .684 for a target of .8."""
    LevelPruner(tiny_model, DEFAULT).compress()
    train(tiny_model, images)
    assert sparsity_of(tiny_model.get_layer("hidden")) == 6553 / 8192


def test_4_the_users_model_is_the_pruned_one(library, images):
    """There: Sequential gave a new uncompiled model; ignoring the return value pruned nothing."""
    model = library.Sequential(
        [library.Input((8, 8, 3)), library.layers.Flatten(), library.layers.Dense(3, name="d")]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    returned, _ = LevelPruner(model, DEFAULT).compress()
    assert returned is model
    train(model, images)
    assert sparsity_of(model.get_layer("d")) == pytest.approx(460 / 576)


def test_5_layers_in_containers_are_found_and_keyword_calls_work(library, images):
    """There: layers in dicts and nested lists were missed; call(mask=...) was a TypeError."""
    layers = library.layers

    class Net(library.Model):
        def __init__(self):
            super().__init__()
            self.parts = {"a": layers.Dense(8), "b": [[layers.Dense(6)], (layers.Dense(3),)]}
            self.memory = layers.LSTM(4)

        def call(self, x):
            x = self.parts["b"][0][0](self.parts["a"](x))
            return self.parts["b"][1][0](self.memory(x, mask=None))

    model = Net()
    x = images[0].reshape(64, 24, 8)
    model(x[:1])
    pruner = LevelPruner(model, [{"sparsity": 0.5}])
    pruner.compress()
    model.compile("adam", "mse")
    model.fit(x, np.zeros((64, 3), np.float32), verbose=0)
    assert sorted(row.weights for row in pruner.report().rows) == [12, 48, 64, 64, 96]
    assert pruner.report().sparsity == 0.5


def test_6_bias_in_a_layers_name_is_no_reason(library, images):
    """There: a layer called bias_proj was skipped; BatchNorm's variance was pruned; zero-init
    PReLU slopes tied, and none was pruned."""
    layers = library.layers
    inputs = library.Input((8, 8, 3))
    x = layers.BatchNormalization(name="norm")(inputs)
    x = layers.PReLU(name="slopes")(x)
    model = library.Model(inputs, layers.Dense(3, name="bias_proj")(layers.Flatten()(x)))
    config_list = [{"sparsity": 0.5, "op_types": ["Dense", "PReLU", "BatchNormalization"]}]
    pruner = LevelPruner(model, config_list)
    _, masks = pruner.compress()
    assert set(masks) == {("slopes", "alpha"), ("bias_proj", "kernel")}
    assert [np.count_nonzero(~mask) for mask in masks.values()] == [96, 288]
    assert ("norm", "BatchNormalization is never pruned") in pruner.report().skipped
    np.testing.assert_array_equal(np.asarray(model.get_layer("norm").moving_variance), 1)


def test_7_configuration_is_checked_first(tiny_model):
    """There: 1.7 was a TopK error, a typo a KeyError, a wrong name a warning, 'Dense' a substring
    match, and {'exclude': False} excluded."""
    before = tiny_model.get_weights()
    for config_list in (
        [{"sparsity": 1.7}],
        [{"sparsty": 0.8}],
        [{"sparsity": 0.8, "op_names": ["nobody"]}],
        [{"sparsity": 0.8, "op_types": "Dense"}],
    ):
        with pytest.raises(ConfigError):
            LevelPruner(tiny_model, config_list)
    for one, other in zip(before, tiny_model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert LevelPruner(tiny_model, [{"sparsity": 0.8, "exclude": False}]).compress()[1]


def test_8_a_second_compress_computes_anew(tiny_model):
    """There: it never recomputed, and an unbuilt layer's empty mask stuck."""
    pruner = LevelPruner(tiny_model, [{"sparsity": 0.5, "op_names": ["head"]}])
    kernel = tiny_model.get_layer("head").kernel
    rising = np.arange(1, 49, dtype=np.float32).reshape(16, 3)
    kernel.assign(rising)
    first = pruner.compress()[1][("head", "kernel")]
    np.testing.assert_array_equal(first, rising > 24)
    kernel.assign(rising[::-1])
    second = pruner.compress()[1][("head", "kernel")]
    np.testing.assert_array_equal(second, rising[::-1] > 24)


def test_9_subclassed_model_saves_what_it_computes(library, images, tmp_path):
    """There: saving raised while wrapped, and the export held the weights after the last step
    (sparsity .496 for .8)."""
    layers = library.layers

    @library.saving.register_keras_serializable(package=f"defect9_{library.__name__}")
    class Net(library.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.flat, self.d = layers.Flatten(), layers.Dense(3, activation="softmax", name="d")

        def call(self, x):
            return self.d(self.flat(x))

    model = Net()
    model(images[0][:1])
    pruner = LevelPruner(model, DEFAULT)
    pruner.compress()
    train(model, images)
    pruner.save(tmp_path / "net.keras")
    loaded = library.models.load_model(tmp_path / "net.keras")
    assert sparsity_of(loaded.d) == pytest.approx(460 / 576)
    np.testing.assert_allclose(
        loaded.predict(images[0], verbose=0), model.predict(images[0], verbose=0), atol=1e-6
    )


def test_10_keras_3_and_keys_by_path(images):
    """There: AttributeError read_value; and names in Keras 3 are bare 'kernel'."""
    import keras

    inner = keras.Sequential([keras.layers.Dense(8, name="same")], name="inner")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(8, name="same")(inner(inputs)))
    _, masks = LevelPruner(model, DEFAULT).compress()
    assert set(masks) == {("inner/same", "kernel"), ("same", "kernel")}
