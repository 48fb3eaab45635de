"""Work of a training step, counted by hand."""

import keras
import numpy as np

from benchmarks.step_macs import step_macs

X = np.zeros((2, 8, 8, 2), np.float32)


def test_forward_and_backward_by_hand():
    inputs = keras.Input((8, 8, 2))
    x = keras.layers.Conv2D(4, 3, padding="same")(inputs)
    outputs = keras.layers.Conv2DTranspose(3, 2, strides=2)(x)
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse")
    first = 2 * 8 * 8 * 4 * 3 * 3 * 2
    second = 2 * 8 * 8 * 4 * 2 * 2 * 3
    # forward and kernel's gradient of both; the input's gradient of the second alone
    assert step_macs(model, X, np.zeros((2, 16, 16, 3), np.float32)) == 2 * first + 3 * second


def test_what_nobody_reads_does_not_count():
    class Wasteful(keras.Model):
        def __init__(self):
            super().__init__()
            self.used, self.unused = keras.layers.Conv2D(4, 1), keras.layers.Conv2D(64, 3)

        def call(self, x):
            self.unused(x)
            return self.used(x)

    model = Wasteful()
    model(X)
    model.unused.trainable = False
    model.compile("sgd", "mse")
    assert step_macs(model, X, np.zeros((2, 8, 8, 4), np.float32)) == 2 * (2 * 8 * 8 * 4 * 2)
