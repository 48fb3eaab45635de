"""The criterion of a custom loop, against SciPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax, softmax

from tests.distillation.tiny import X, Y, net
from tfcompress.distillation.criterion import KLDistillation
from tfcompress.errors import ConfigError, DataError


def logits_of(model, x):
    features = keras.Model(model.input, model.get_layer("drop").output).predict(x, verbose=0)
    kernel, bias = (np.asarray(w, np.float64) for w in model.get_layer("head").weights)
    return features @ kernel + bias


@pytest.mark.parametrize("activation", [None, "softmax"])
@pytest.mark.parametrize("batch", [1, 16])
def test_the_classic_form(activation, batch):
    x, y = X[:batch], Y[:batch]
    teacher, student = net(16, activation=activation), net(4, activation=activation)
    criterion = KLDistillation(
        teacher,
        keras.losses.SparseCategoricalCrossentropy(from_logits=activation is None),
        alpha=0.9,
        tau=3,
        from_logits=activation is None,
    )
    s, t = logits_of(student, x), logits_of(teacher, x)
    task = -log_softmax(s, -1)[np.arange(batch), y].mean()
    p = softmax(t / 3, -1)
    kl = 9 * (p * (log_softmax(t / 3, -1) - log_softmax(s / 3, -1))).sum(-1).mean()
    found = float(criterion(student(x), y, x))
    assert found == pytest.approx(0.1 * task + 0.9 * kl, rel=1e-5)
    criterion(student(x), y, x)
    assert criterion.running_student_loss == pytest.approx(2 * task, rel=1e-5)
    assert criterion.running_distillation_loss == pytest.approx(2 * kl, rel=1e-5, abs=4e-6)
    criterion.reset_running_loss()
    assert criterion.running_student_loss == criterion.running_distillation_loss == 0


@pytest.mark.parametrize("compiled", [False, True])
def test_a_custom_loop_learns(compiled):
    teacher, student = net(16), net(4)
    criterion = KLDistillation(
        teacher, keras.losses.SparseCategoricalCrossentropy(), from_logits=False
    )
    optimizer = keras.optimizers.Adam(1e-2)
    optimizer.build(student.trainable_variables)
    before = [np.asarray(w) for w in teacher.weights]

    def step(x, y):
        with tf.GradientTape() as tape:
            loss = criterion(student(x, training=True), y, x)
        weights = student.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return loss

    step = tf.function(step) if compiled else step
    losses = [float(step(tf.constant(X), tf.constant(Y))) for _ in range(40)]
    assert losses[-1] < 0.5 * losses[0]
    assert criterion.running_student_loss > 0
    for old, new in zip(before, teacher.weights, strict=True):
        np.testing.assert_array_equal(old, new)


def test_bad_input():
    loss = keras.losses.SparseCategoricalCrossentropy()
    with pytest.raises(ConfigError, match="tau: it is 0"):
        KLDistillation(net(4), loss, tau=0)
    with pytest.raises(ConfigError, match="alpha: it is 2"):
        KLDistillation(net(4), loss, alpha=2)
    with pytest.raises(ConfigError, match="student_loss: 'mse' cannot be called"):
        KLDistillation(net(4), "mse")
    criterion = KLDistillation(net(4, classes=4), loss)
    with pytest.raises(DataError, match="y_pred: its shape is"):
        criterion(net(4)(X), Y, X)
