"""A model, its samples and images as files, and a way to run the command on them."""

import keras
import numpy as np
import pytest
from PIL import Image

from tfcompress.cli.main import main


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A model, its test samples, and images."""
    keras.utils.set_random_seed(0)
    place = tmp_path_factory.mktemp("files")
    layers = keras.layers
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(16, 3, padding="same", activation="relu", name="first")(inputs)
    x = layers.Conv2D(32, 3, padding="same", activation="relu", name="second")(x)
    x = layers.GlobalAveragePooling2D()(x)
    classes = layers.Dense(4, activation="softmax", name="classes")(x)
    keras.Model(inputs, classes).save(place / "model.keras")
    rng = np.random.default_rng(0)
    samples = rng.random((40, 16, 16, 3)).astype("float32")
    np.savez(place / "test.npz", inputs=samples, labels=rng.integers(0, 4, 40))
    np.save(place / "inputs.npy", samples)
    (place / "images").mkdir()
    for i in range(12):
        pixels = rng.integers(0, 256, (24, 20, 3), np.uint8)
        Image.fromarray(pixels).save(place / "images" / f"{i}.png")
    return place


@pytest.fixture
def run(capsys):
    """Runs the command as a user does; gives what it printed."""

    def run_command(*argv):
        main([str(argument) for argument in argv])
        return capsys.readouterr().out

    return run_command


@pytest.fixture
def help_of(capsys):
    """The help of a verb as running text."""

    def read(verb):
        with pytest.raises(SystemExit) as ended:
            main([verb, "--help"])
        assert ended.value.code == 0
        return " ".join(capsys.readouterr().out.replace("│", " ").split())

    return read
