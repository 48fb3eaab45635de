"""Samples from files: what is read, and one clear error for what cannot be."""

import keras
import numpy as np
import pytest
from PIL import Image

from tfcompress.data.arrays import read_inputs, read_labeled
from tfcompress.errors import ConfigError, DataError

MODEL = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Flatten()])


@pytest.fixture
def images_folder(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(rng.integers(0, 256, (24, 20, 3), np.uint8)).save(folder / f"{i}.png")
    return folder


def test_bad_inputs_for_calibration(tmp_path, images_folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="it holds no images"):
        read_inputs(str(tmp_path / "empty"), MODEL, 255, 10)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.png").write_text("no image")
    with pytest.raises(DataError, match="a.png: it cannot be read as an image"):
        read_inputs(str(tmp_path / "text"), MODEL, 255, 10)
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"objects.npy: it cannot be read"):
        read_inputs(str(tmp_path / "objects.npy"), MODEL, 255, 10)
    flat = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
    with pytest.raises(ConfigError, match="not an image"):
        read_inputs(str(images_folder), flat, 255, 10)


def test_images_are_fitted_and_divided(images_folder):
    inputs = read_inputs(str(images_folder), MODEL, 255, 5)
    assert (inputs.shape, inputs.dtype) == ((5, 16, 16, 3), np.float32)
    assert 0.9 < inputs.max() <= 1.0


def test_labeled_samples(tmp_path):
    np.savez(tmp_path / "good.npz", inputs=np.zeros((2, 3)), labels=[0, 1])
    inputs, labels = read_labeled(str(tmp_path / "good.npz"))
    assert (inputs.shape, labels.tolist()) == ((2, 3), [0, 1])
    np.savez(tmp_path / "bad.npz", inputs=np.zeros((2, 3)), targets=[0, 1])
    with pytest.raises(DataError, match="no array 'labels', only inputs, targets"):
        read_labeled(str(tmp_path / "bad.npz"))
