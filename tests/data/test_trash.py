"""The generated trash set: layout, balance, and that it is the same for the same seed."""

import numpy as np

from tfcompress.data.image_folder import load_image_folder
from tfcompress.data.trash import TRASH_CLASSES, draw_trash, write_trash


def test_layout_and_imbalance(tmp_path):
    root = write_trash(tmp_path / "trash", images=200)
    data = load_image_folder(root, 32)
    assert data.class_names == TRASH_CLASSES
    # each class's share of 140 and of 30, rounded
    assert data.counts().tolist() == [7, 8, 18, 18, 34, 8, 21, 18, 7]
    assert np.bincount(data.test.labels).tolist() == [2, 2, 4, 4, 7, 2, 4, 4, 2]
    assert data.class_names[data.counts().argmax()] == "Paper"
    assert 4 < data.imbalance < 6
    first = data.train.images.copy()
    assert write_trash(root, images=10) == root, "what is there stays"
    again = load_image_folder(write_trash(tmp_path / "again", images=200), 32)
    np.testing.assert_array_equal(again.train.images, first)
    assert list(tmp_path.glob(".*")) == []


def test_pictures_vary():
    generator = np.random.default_rng(0)
    for label in range(len(TRASH_CLASSES)):
        pictures = [draw_trash(label, generator) for _ in range(6)]
        assert len({picture.size for picture in pictures}) > 1
        assert len({picture.tobytes() for picture in pictures}) == 6
