"""The Distiller on real trainings: what it computes, what it leaves alone, what it refuses."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from models.unet import multi_unet_model
from tests.distillation.tiny import RANDOM, X, Y, distil, feature_pair, net
from tfcompress.distillation.distiller import Distiller
from tfcompress.distillation.objectives import Hint, PixelWise, Relational, SoftTargets
from tfcompress.errors import ConfigError, DataError, LayerError
from tfcompress.evaluation.sparsity import total_zeros
from tfcompress.pruning.level.pruner import LevelPruner


def arrays(model):
    return [np.asarray(w) for w in model.weights]


@pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_the_teacher_stays_as_it_is(library):
    """No weight and no moving statistic moves, and it stays trainable for its owner."""
    teacher, student = net(16, library), net(4)
    before, first = arrays(teacher), arrays(student)
    history = distil(Distiller(teacher, student, [SoftTargets()]), epochs=2)
    for old, new in zip(before, arrays(teacher), strict=True):
        np.testing.assert_array_equal(old, new)
    assert teacher.trainable
    assert any(not np.array_equal(a, b) for a, b in zip(first, arrays(student), strict=True))
    assert set(history) == {"loss", "accuracy", "task_loss", "soft_targets"}


def test_one_step_by_hand():
    """The parts, the sum, and the update of plain gradient descent."""
    teacher, student = net(16), net(4)
    logits = keras.Model(teacher.input, teacher.get_layer("drop").output)
    hidden = keras.Model(student.input, student.get_layer("drop").output)
    kernel, bias = (np.asarray(w, np.float64) for w in student.get_layer("head").weights)
    # In training mode the normalization uses the batch's statistics.
    student_hidden = np.asarray(hidden(X, training=True), np.float64)
    teacher_kernel, teacher_bias = map(np.asarray, teacher.get_layer("head").weights)
    s = student_hidden @ kernel + bias
    t = logits.predict(X, verbose=0) @ teacher_kernel + teacher_bias
    softmax = lambda z: np.exp(z) / np.exp(z).sum(-1, keepdims=True)  # noqa: E731
    p, soft_p, soft_t = softmax(s), softmax(s / 4), softmax(t / 4)
    task = -np.log(p[np.arange(64), Y]).mean()
    soft = 16 * (soft_t * np.log(soft_t / soft_p)).sum(-1).mean()
    gradient = (0.1 * (p - np.eye(3)[Y]) + 0.9 * 4 * (soft_p - soft_t)) / 64
    distiller = Distiller(teacher, student, SoftTargets(4.0, weight=0.9), task_weight=0.1)
    distiller.compile(keras.optimizers.SGD(1.0), "sparse_categorical_crossentropy")
    logs = distiller.train_on_batch(X, Y, return_dict=True)
    assert logs["task_loss"] == pytest.approx(task, rel=1e-4)
    assert logs["soft_targets"] == pytest.approx(soft, rel=1e-4)
    assert logs["loss"] == pytest.approx(0.1 * task + 0.9 * soft, rel=1e-4)
    np.testing.assert_allclose(
        np.asarray(student.get_layer("head").kernel),
        kernel - student_hidden.T @ gradient,
        rtol=1e-3,
        atol=1e-5,
    )


def test_a_softmax_is_tapped_before_it():
    """The gradient is that of a model of logits; through a second softmax it is far too small."""
    sizes = {}
    for name, activation in (("softmax", "softmax"), ("logits", None)):
        keras.utils.set_random_seed(0)
        teacher, student = net(16, activation=activation), net(4, activation=activation)
        for model in (teacher, student):  # confident, as trained models are
            model.get_layer("head").kernel.assign(30 * model.get_layer("head").kernel)
        distiller = Distiller(teacher, student, SoftTargets(3.0), task_weight=0.0)
        kernel = student.get_layer("head").kernel
        with tf.GradientTape() as tape:
            loss = distiller.compute_loss(X, None, distiller(X, training=True))
        sizes[name] = float(tf.norm(tape.gradient(loss, kernel.value)))
        twice = keras.distillation.LogitsDistillation(3.0, loss=keras.losses.KLDivergence())
        with tf.GradientTape() as tape:
            loss = twice.compute_loss(teacher(X), student(X, training=True))
        sizes[f"twice, {name}"] = float(tf.norm(tape.gradient(loss, kernel.value)))
    assert sizes["softmax"] == pytest.approx(sizes["logits"], rel=1e-3)
    assert sizes["softmax"] > 100 * sizes["twice, softmax"]


def test_one_forward_pass_each():
    counts = {"teacher": 0, "student": 0}

    @keras.saving.register_keras_serializable()
    class Counting(keras.layers.Layer):
        def __init__(self, who, **kwargs):
            super().__init__(**kwargs)
            self.who = who

        def call(self, x):
            def count(value):
                counts[self.who] += 1
                return value

            y = tf.py_function(count, [x], x.dtype)
            y.set_shape(x.shape)
            return y

    def counted(who, width):
        inputs = keras.Input((8,))
        x = keras.layers.Dense(width, name="hidden")(Counting(who)(inputs))
        return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))

    pair = counted("teacher", 8), counted("student", 4)
    taps = dict(teacher_layer_name="hidden", student_layer_name="hidden")
    losses = [SoftTargets(), Hint(**taps), Relational(**taps)]
    distiller = Distiller(*pair, losses)
    distiller.compile("sgd", "sparse_categorical_crossentropy")
    counts.update(teacher=0, student=0)
    distiller.fit(X, Y, batch_size=16, verbose=0, validation_data=(X, Y), validation_batch_size=64)
    assert counts == {"teacher": 4, "student": 4 + 1}


def test_parts_are_means_that_start_anew_and_validation_has_none():
    distiller = Distiller(net(16), net(4), [SoftTargets(), SoftTargets(2.0, weight=0.0)])
    history = distil(distiller, epochs=2, validation_data=(X, Y))
    assert set(history) == {
        *("loss", "accuracy", "task_loss", "soft_targets", "soft_targets_2"),
        *("val_loss", "val_accuracy"),
    }
    for epoch in range(2):
        total = history["task_loss"][epoch] + history["soft_targets"][epoch]
        assert history["loss"][epoch] == pytest.approx(total, rel=1e-5)
    student = distiller.student
    student.compile(loss="sparse_categorical_crossentropy")
    assert history["val_loss"][-1] == pytest.approx(student.evaluate(X, Y, verbose=0), rel=1e-5)


def test_save_writes_the_plain_student(tmp_path):
    student = net(4)
    distiller = Distiller(net(16), student, [Hint(**feature_pair("hidden"))])
    path = tmp_path / "student.keras"
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras")
    distil(distiller, callbacks=[checkpoint])
    distiller.save(path)
    for file in (path, tmp_path / "best.keras"):
        loaded = keras.saving.load_model(file)
        assert [layer.name for layer in loaded.layers] == [x.name for x in student.layers]
        np.testing.assert_allclose(
            loaded.predict(X, verbose=0), student.predict(X, verbose=0), rtol=1e-6
        )


def test_backup_and_restore_with_an_adapter(tmp_path):
    def run(epochs):
        keras.utils.set_random_seed(1)
        teacher, student = net(16), net(4)
        distiller = Distiller(teacher, student, [Hint(**feature_pair("hidden"))])
        backup = keras.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
        history = distil(distiller, epochs=epochs, callbacks=[backup])
        return history["loss"], student

    run(2)
    losses, resumed = run(4)
    assert len(losses) == 2, "the first two epochs are not done again"


def test_masks_hold():
    student = net(32)
    pruner = LevelPruner(student, [{"sparsity": 0.8, "op_types": ["default"]}])
    pruner.compress()
    distil(Distiller(net(16), student, [SoftTargets()]), callbacks=[pruner.callback()], epochs=2)
    assert total_zeros(student).sparsity == pytest.approx(0.8, abs=0.01)


def test_mixed_precision_jit_and_several_steps_at_once():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        teacher, student = net(16), net(4)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    distiller = Distiller(teacher, student, [SoftTargets(), Hint(**feature_pair("hidden"))])
    optimizer = keras.mixed_precision.LossScaleOptimizer(keras.optimizers.Adam(1e-2))
    distiller.compile(
        optimizer, "sparse_categorical_crossentropy", steps_per_execution=2, jit_compile=True
    )
    history = distiller.fit(X, Y, batch_size=16, epochs=6, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert history["loss"][-1] < history["loss"][0]


def test_several_teachers():
    logits = [np.float32([[4, 0, 0]]), np.float32([[0, 4, 0]])]
    teachers = [lambda x, t=t: tf.repeat(t, tf.shape(x)[0], axis=0) for t in logits]
    heard = Distiller(teachers, net(4), SoftTargets(), teacher_weights=[3, 1])
    np.testing.assert_allclose(heard._ask(X[:2], Y[:2]).logits[0], [[3, 1, 0]] * 2, rtol=1e-6)
    best = Distiller(teachers, net(4), SoftTargets(), select="best")
    np.testing.assert_allclose(
        best._ask(X[:3], np.array([1, 0, 1])).logits[0], [[0, 4, 0], [4, 0, 0], [0, 4, 0]]
    )
    own = Distiller(
        teachers, net(4), SoftTargets(), select=lambda labels, said: tf.one_hot([1, 1], 2)
    )
    np.testing.assert_allclose(own._ask(X[:2], Y[:2]).logits[0], [[0, 4, 0]] * 2)
    distil(best)


def test_a_teacher_of_another_resolution_behind_a_resizing_layer():
    teacher = multi_unet_model(4, 32, 32, 3, filters=(4, 8))
    resizing = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Resizing(32, 32), teacher])
    student = multi_unet_model(4, 16, 16, 3, filters=(4, 8))
    distiller = Distiller(resizing, student, PixelWise())
    distiller.compile("adam", "sparse_categorical_crossentropy")
    images = RANDOM.random((8, 16, 16, 3), dtype=np.float32)
    logs = distiller.fit(images, RANDOM.integers(0, 4, (8, 16, 16)), verbose=0).history
    assert np.isfinite(logs["pixel_wise"]).all()


def test_callables_with_features():
    teacher = net(16)

    def other_framework(x):
        """As the bridge's teachers do: NumPy inside, a dict of names outside."""
        say = lambda a: (np.tanh(a[:, :6]), a[:, :3])  # noqa: E731
        features, logits = tf.numpy_function(say, [x], [tf.float32, tf.float32])
        features.set_shape((None, 6)), logits.set_shape((None, 3))
        return {"somewhere": features, "logits": logits}

    hint = Hint(teacher_layer_name="somewhere", student_layer_name="hidden")
    history = distil(Distiller(other_framework, net(4), [SoftTargets(), hint]), epochs=10)
    assert history["hint"][-1] < history["hint"][0]
    assert history["soft_targets"][-1] < history["soft_targets"][0]
    with pytest.raises(DataError, match="other_framework.*lacks elsewhere"):
        elsewhere = Hint(teacher_layer_name="elsewhere", student_layer_name="hidden")
        distil(Distiller(other_framework, net(4), [elsewhere]))
    assert teacher.trainable


def pooled(by):
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.AveragePooling2D(by)(inputs)
    return keras.Model(inputs, keras.layers.Conv2D(4, 1, activation="softmax")(x))


def subclassed():
    class Net(keras.Model):
        def call(self, x):
            return x

    return Net()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Distiller(net(8, classes=4), net(4), SoftTargets()), DataError, "numbers of ch"),
        (
            lambda: Distiller(
                multi_unet_model(4, 32, 32, 3, filters=(4, 8)),
                multi_unet_model(4, 16, 16, 3, filters=(4, 8)),
                SoftTargets(),
            ),
            DataError,
            r"takes inputs of shape \[\(32, 32, 3\)\], the student of .*a Resizing layer before",
        ),
        (
            lambda: Distiller(pooled(2), pooled(4), SoftTargets()),
            DataError,
            "different resolutions.*same classes and resolution",
        ),
        (
            lambda: Distiller(net(8), net(4), Hint(**feature_pair("hiden"))),
            ConfigError,
            "layer 'hiden'.*use one of hidden",
        ),
        (
            lambda: Distiller(net(8), net(4, activation="sigmoid"), SoftTargets()),
            ConfigError,
            "SoftTargets on .*the output is 3 sigmoids.*end in a softmax",
        ),
        (lambda: SoftTargets(0), ConfigError, "temperature: it is 0.*above 0"),
        (lambda: SoftTargets(weight=-1), ConfigError, "weight: it is -1"),
        (lambda: Hint(teacher_layer_name="a"), ConfigError, "give both"),
        (lambda: Distiller(net(8), net(4), []), ConfigError, "losses: the list is empty"),
        (lambda: Distiller(net(8), net(4), ["kl"]), ConfigError, "'kl' is not a distillation loss"),
        (lambda: Distiller([], net(4), SoftTargets()), ConfigError, "teacher: the list is empty"),
        (lambda: Distiller(3, net(4), SoftTargets()), ConfigError, "teacher: it is a int"),
        (lambda: Distiller(net(8), net(4, tf_keras), SoftTargets()), ConfigError, "to_keras3"),
        (lambda: Distiller(net(8), subclassed(), SoftTargets()), LayerError, "no graph"),
        (
            lambda: Distiller([net(8), net(8)], net(4), SoftTargets(), teacher_weights=[1]),
            ConfigError,
            "teacher_weights",
        ),
        (
            lambda: Distiller(net(8), net(4), SoftTargets(), select="all"),
            ConfigError,
            "select: it is 'all'",
        ),
        (
            lambda: Distiller(net(8), net(4), SoftTargets(), task_weight=-1),
            ConfigError,
            "task_weight: it is -1",
        ),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()
