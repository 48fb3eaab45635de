"""Training under MirroredStrategy on two devices: masks, Distiller and metrics hold.

No batch normalization (each device normalizes its own half), no dropout, and a loss that is a mean
over samples (Dice is one over the device's half of the batch): then two devices and one agree.
"""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfcompress.distillation.distiller import Distiller
from tfcompress.distillation.objectives import ChannelWise, SoftTargets
from tfcompress.evaluation.classification import MacroF1
from tfcompress.evaluation.segmentation import segmentation_metrics
from tfcompress.pruning.level.pruner import LevelPruner

STEPS, BATCH = 3, 16


@pytest.fixture(scope="module")
def patches():
    rng = np.random.default_rng(3)
    images = rng.random((STEPS * BATCH, 8, 8, 1), dtype=np.float32)
    return images, (images[..., 0] > 0.5).astype(np.int64)


def segmenter(width, seed):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(width, 3, padding="same", activation="relu", name="first")(inputs)
    x = keras.layers.Conv2D(width, 3, padding="same", activation="relu", name="second")(x)
    return keras.Model(inputs, keras.layers.Conv2D(2, 1, activation="softmax", name="head")(x))


def in_order(patches):
    """The same batches on one device and on two."""
    data = tf.data.Dataset.from_tensor_slices(patches).batch(BATCH, drop_remainder=True)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return data.with_options(options)


def strategies():
    # Collectives of a second strategy in one process collide with those of the first.
    sums = tf.distribute.ReductionToOneDevice()
    two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=sums)
    return {"one": contextlib.nullcontext(), "two": two.scope()}


def compiled(model):
    model.compile(
        keras.optimizers.Adam(1e-2),
        keras.losses.SparseCategoricalCrossentropy(),
        metrics=[*segmentation_metrics(2), "accuracy"],
    )
    return model


def trained(build, patches):
    """Weights and last logs after three steps, on one device and on two."""
    weights, logs = {}, {}
    for name, scope in strategies().items():
        with scope:
            model, student = build()
            compiled(model)
        history = model.fit(in_order(patches), epochs=1, shuffle=False, verbose=0).history
        weights[name] = [np.asarray(value) for value in student.get_weights()]
        logs[name] = {key: values[0] for key, values in history.items()}
    return weights, logs


def assert_agree(weights, logs):
    for one, two in zip(weights["one"], weights["two"], strict=True):
        np.testing.assert_allclose(two, one, atol=1e-4)
    assert logs["one"].keys() == logs["two"].keys()
    for key, value in logs["one"].items():
        assert logs["two"][key] == pytest.approx(value, abs=1e-4), key


def test_two_devices_agree_with_one(patches):
    def build():
        model = segmenter(4, 0)
        return model, model

    assert_agree(*trained(build, patches))


def test_masks_hold_and_agree(patches):
    def build():
        model = segmenter(8, 1)
        LevelPruner(model, [{"sparsity": 0.75, "op_types": ["Conv2D"]}], scope="layer").compress()
        return model, model

    weights, logs = trained(build, patches)
    assert_agree(weights, logs)
    for found in weights.values():
        assert np.count_nonzero(found[0]) == 18  # of 72 weights, 75 % are zero
        assert np.count_nonzero(found[2]) == 144  # of 576


@pytest.mark.parametrize("objective", [SoftTargets(3.0), ChannelWise(1.0)], ids=["soft", "maps"])
def test_the_distiller_agrees_and_its_teacher_stays(patches, objective):
    teachers = []

    def build():
        teacher, student = segmenter(8, 2), segmenter(4, 3)
        teachers.append((teacher, [np.array(w) for w in teacher.get_weights()]))
        return Distiller(teacher, student, objective), student

    weights, logs = trained(build, patches)
    assert_agree(weights, logs)
    for teacher, before in teachers:
        for old, new in zip(before, teacher.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)


def test_macro_f1_counts_what_both_devices_saw(patches):
    labels = patches[1].reshape(len(patches[1]), -1).mean(axis=1) > 0.5
    found = {}
    for name, scope in strategies().items():
        with scope:
            keras.utils.set_random_seed(0)
            model = keras.Sequential(
                [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(2)]
            )
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            model.compile("adam", loss, metrics=[MacroF1()])
        found[name] = model.evaluate(
            in_order((patches[0], labels.astype(int))), verbose=0, return_dict=True
        )
    assert found["two"]["macro_f1"] == pytest.approx(found["one"]["macro_f1"], abs=1e-6)
