"""A task of three classes, small networks, and a training, for tests of distillation."""

import keras
import numpy as np

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(64, 8)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0)


def net(width, library=keras, activation="softmax", classes=3, dropout=0.0):
    layers = library.layers
    x = inputs = library.Input((8,))
    x = layers.Dense(width, activation="relu", name="hidden")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Dropout(dropout, name="drop")(x)
    return library.Model(inputs, layers.Dense(classes, activation=activation, name="head")(x))


def distil(distiller, epochs=1, **more):
    distiller.compile(
        keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return distiller.fit(X, Y, batch_size=16, epochs=epochs, verbose=0, **more).history


def feature_pair(name):
    return dict(teacher_layer_name=name, student_layer_name=name)
