import numpy as np
import pytest

from tfcompress.data.augment import Augmentation, evaluation_batches, training_batches
from tfcompress.errors import ConfigError


@pytest.fixture
def patches():
    """Patches whose pixels say where they were, and labels that equal them."""
    labels = np.arange(10 * 16, dtype=np.uint8).reshape(10, 4, 4)
    return labels[..., None].astype(np.float32), labels


def test_geometry_moves_labels_with_pixels(patches):
    how = Augmentation(brightness=0.0, contrast=0.0)
    changed = 0
    for images, labels in training_batches(*patches, 4, how, seed=1):
        np.testing.assert_array_equal(images[..., 0], labels)
        for label in labels.numpy():
            first = label.min()
            changed += not np.array_equal(label.reshape(-1), np.arange(first, first + 16))
    assert changed > 3


def test_light_changes_pixels_and_not_labels(patches):
    how = Augmentation(flips=False, rotations=False, brightness=0.2, contrast=0.0)
    for images, labels in training_batches(*patches, 4, how, seed=1):
        shift = images.numpy()[..., 0] - labels.numpy()
        assert np.ptp(shift, axis=(1, 2)).max() < 1e-4
        assert 0 < np.abs(shift).max() <= 0.2


def test_every_epoch_is_new_and_every_seed_repeats(patches):
    how = Augmentation()
    data = training_batches(*patches, 4, how, seed=5)
    first, second = ([x.numpy() for x, _ in data] for _ in range(2))
    again = [x.numpy() for x, _ in training_batches(*patches, 4, how, seed=5)]
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(again))
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))


def test_no_patch_is_lost(patches):
    seen = [label.min() for _, labels in training_batches(*patches, 4) for label in labels.numpy()]
    assert sorted(seen) == [16 * i for i in range(10)]
    sizes = [len(x) for x, _ in evaluation_batches(*patches, 4)]
    assert sizes == [4, 4, 2]


def test_bad_augmentation():
    with pytest.raises(ConfigError, match="contrast in"):
        Augmentation(contrast=1.5)
