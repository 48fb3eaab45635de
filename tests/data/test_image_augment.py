"""Batches of classified images: what augmentation does to pixels and labels."""

import numpy as np
import pytest

from tfcompress.data.image_augment import (
    IMAGENET,
    ImageAugmentation,
    Normalization,
    training_images,
)
from tfcompress.data.image_folder import ImageSet
from tfcompress.errors import ConfigError

PLAIN = ImageAugmentation(crop=(1.0, 1.0), flip=False)
UNIT = Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.fixture
def data():
    """Each image has one value, its number; its class is the number modulo 3."""
    images = np.tile(np.arange(24, dtype=np.uint8)[:, None, None, None] * 10, (1, 12, 12, 3))
    return ImageSet(images, np.arange(24) % 3, tuple(map(str, range(24))))


def batches(data, how, normalization=UNIT, side=12, seed=0, batch=8):
    made = training_images(data, side, 3, batch, normalization, how, seed)
    return [(x.numpy(), y.numpy()) for x, y in made]


def test_without_changes_each_image_comes_once(data):
    found = batches(data, PLAIN, batch=7)
    assert [len(x) for x, _ in found] == [7, 7, 7, 3]
    values = np.concatenate([x[:, 0, 0, 0] for x, _ in found]) * 25.5
    labels = np.concatenate([y.argmax(-1) for _, y in found])
    np.testing.assert_array_equal(np.sort(values.round()), np.arange(24))
    np.testing.assert_array_equal(values.round() % 3, labels)


def test_epochs_differ_and_seeds_repeat(data):
    how = ImageAugmentation(cutout=0.3, cutmix=0.5)
    ten = [np.concatenate([x for x, _ in batches(data, how, seed=s)]) for s in (0, 0, 1)]
    np.testing.assert_array_equal(ten[0], ten[1])
    assert not np.array_equal(ten[0], ten[2])
    made = training_images(data, 12, 3, 24, UNIT, how)
    epochs = [next(iter(made))[0].numpy() for _ in range(2)]
    assert not np.array_equal(*epochs)


def test_normalization():
    image = np.full((1, 2, 2, 3), 255, np.uint8)
    np.testing.assert_allclose(
        IMAGENET(image)[0, 0, 0], (1 - np.array(IMAGENET.mean)) / IMAGENET.std, rtol=1e-6
    )
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (50, 8, 8, 3)).astype(np.uint8)
    normalized = Normalization.of(images)(images)
    np.testing.assert_allclose(normalized.mean(axis=(0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(normalized.std(axis=(0, 1, 2)), 1, atol=1e-4)


def test_normalization_of_a_large_set_sees_every_column():
    """Black and white columns in turn: one half each, whatever part of the images is looked at."""
    images = np.zeros((20_000, 32, 32, 1), np.uint8)
    images[:, :, 1::2] = 255
    assert Normalization.of(images) == Normalization((0.5,), (0.5,))


def test_crops_are_parts_in_range_and_flips_are_half():
    """A picture of its own coordinates tells what was kept."""
    x, y = np.meshgrid(np.arange(64), np.arange(64))
    one = np.stack([x, y, 0 * x], -1).astype(np.uint8)
    data = ImageSet(np.tile(one, (400, 1, 1, 1)), np.zeros(400, int), ("",) * 400)
    ((found, _),) = batches(data, ImageAugmentation((0.25, 0.5), (0.9, 1.1)), batch=400, side=32)
    found = found * 255
    widths = np.ptp(found[..., 0], axis=(1, 2)) / 63
    heights = np.ptp(found[..., 1], axis=(1, 2)) / 63
    areas = widths * heights
    assert 0.2 < areas.min() < 0.3
    assert 0.42 < areas.max() < 0.52
    flipped = (found[:, 0, 0, 0] > found[:, 0, -1, 0]).mean()
    assert 0.4 < flipped < 0.6


def test_cutout_hides_a_square(data):
    ones = ImageSet(np.full((200, 12, 12, 3), 255, np.uint8), np.zeros(200, int), ("",) * 200)
    ((found, _),) = batches(ones, ImageAugmentation((1, 1), flip=False, cutout=0.5), batch=200)
    hidden = (found[..., 0] == 0).sum(axis=(1, 2))
    assert hidden.max() == 36
    assert hidden.min() >= 9, "at a corner a quarter of it is left"


def test_cutmix_labels_are_the_shares_of_pixels(data):
    how = ImageAugmentation((1, 1), flip=False, cutmix=1.0)
    mixed = 0
    for seed in range(6):
        ((found, labels),) = batches(data, how, batch=24, seed=seed)
        np.testing.assert_allclose(labels.sum(-1), 1, rtol=1e-5)
        for image, label in zip(found, labels, strict=True):
            numbers, counts = np.unique((image[..., 0] * 25.5).round(), return_counts=True)
            expected = np.zeros(3)
            np.add.at(expected, numbers.astype(int) % 3, counts / 144)
            np.testing.assert_allclose(label, expected, atol=1e-5)
            mixed += len(numbers) > 1
    assert mixed > 20
    ((found, labels),) = batches(data, ImageAugmentation((1, 1), flip=False), batch=24)
    assert set(labels.max(-1)) == {1.0}


@pytest.mark.parametrize("bad", [dict(crop=(0.9, 0.5)), dict(cutout=1.0), dict(cutmix=2.0)])
def test_bad_augmentation(bad):
    with pytest.raises(ConfigError, match="augmentation"):
        ImageAugmentation(**bad)
