"""Fixtures of all tests. TensorFlow is imported once, quietly."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# One thread in each test process and in what it starts: two run side by side, and the models are so
# small that threads which wait for each other cost more than they give.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

import gc
import importlib
from pathlib import Path

import numpy as np
import pytest

from tfcompress.quiet import quiet_stderr

with quiet_stderr():
    import tensorflow as tf

    # Two devices, for the tests of distribution strategies; everything else uses the first.
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    tf.constant(0.0)

# Models and their graphs are millions of objects, which Python's garbage collector would go through
# again and again: half a minute in each process.
gc.freeze()
gc.set_threshold(10_000, 20, 50)

FLAVORS = ("keras", "tf_keras")


@pytest.fixture(params=FLAVORS)
def library(request):
    """Keras 3 and tf_keras in turn."""
    return importlib.import_module(request.param)


@pytest.fixture(autouse=True)
def _seeded():
    import keras

    keras.utils.set_random_seed(0)


@pytest.fixture
def tiny_model(library):
    """Convolution, normalization, PReLU, flatten, two Dense; 8x8x3 images to 3 classes."""
    layers = library.layers
    inputs = library.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", name="conv")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.PReLU(alpha_initializer="random_normal", shared_axes=[1, 2], name="slopes")(x)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(16, activation="relu", name="hidden")(x)
    outputs = layers.Dense(3, activation="softmax", name="head")(x)
    return library.Model(inputs, outputs, name="tiny")


@pytest.fixture(scope="session")
def images():
    """64 random images 8x8x3 and their labels, which depend on them."""
    generator = np.random.default_rng(0)
    x = generator.random((64, 8, 8, 3), dtype=np.float32)
    y = (x.mean(axis=(1, 2)).argmax(axis=-1)).astype(np.int64)
    return x, y


@pytest.fixture(scope="session")
def real_data():
    """Folder of real data sets, or a skip that says how to get them."""
    folder = os.environ.get("TFCOMPRESS_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("set TFCOMPRESS_DATA to a folder with sandstone/ and bccd/ (README, Data)")
    return Path(folder)
