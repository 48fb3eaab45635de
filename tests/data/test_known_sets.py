"""Sets that come on a machine: the digits always, Fashion-MNIST where it is installed."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from tfcompress.data.known_sets import FASHION_FOLDER, load_digits_set, load_fashion_mnist
from tfcompress.errors import DataError


def test_digits():
    data = load_digits_set(side=16, channels=1)
    assert data.class_names == tuple("0123456789")
    assert sum(len(s) for s in (data.train, data.val, data.test)) == 1797
    assert data.train.images.shape[1:] == (16, 16, 1)
    assert data.train.images.max() == 255
    assert data.imbalance < 1.1


def write_idx(folder, name, array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    (folder / name).write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


def test_fashion_mnist_from_its_files(tmp_path):
    for part, count in (("train", 100), ("t10k", 20)):
        labels = np.arange(count) % 10
        images = np.zeros((count, 28, 28)) + labels[:, None, None]
        write_idx(tmp_path, f"{part}-images-idx3-ubyte.gz", images)
        write_idx(tmp_path, f"{part}-labels-idx1-ubyte.gz", labels)
    data = load_fashion_mnist(tmp_path, side=32)
    assert [len(s) for s in (data.train, data.val, data.test)] == [90, 10, 20]
    for part in (data.train, data.val, data.test):
        np.testing.assert_array_equal(part.images[:, 16, 16, 0], part.labels)
    assert len(load_fashion_mnist(tmp_path, at_most=50, val_share=0.2).train) == 40
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match="t10k-labels.*it is not a valid IDX file"):
        load_fashion_mnist(tmp_path)
    with pytest.raises(DataError, match="train-images.*dataset-fashion-mnist"):
        load_fashion_mnist(tmp_path / "nowhere")


def test_real_fashion_mnist():
    places = [Path(os.environ.get("TFCOMPRESS_DATA", "/nowhere")) / "fashion-mnist"]
    folder = next((p for p in (*places, Path(FASHION_FOLDER)) if p.is_dir()), None)
    if folder is None:
        pytest.skip("Fashion-MNIST is neither installed nor below TFCOMPRESS_DATA")
    data = load_fashion_mnist(folder, side=28, channels=1)
    assert (len(data.train), len(data.val), len(data.test)) == (54_000, 6_000, 10_000)
    np.testing.assert_array_equal(data.counts(), [5400] * 10)
