import numpy as np
import pytest

from tfcompress.data.patches import (
    IGNORED,
    balanced_class_weights,
    cut_patches,
    offsets,
    predict_image,
    scale_image,
)
from tfcompress.errors import ConfigError, DataError


def test_offsets_reach_the_edge():
    assert offsets(10, 4, 4) == [0, 4, 6]
    assert offsets(8, 4, 4) == [0, 4]
    assert offsets(8, 4, 2) == [0, 2, 4]
    assert offsets(4, 4, 4) == [0]


def test_patches_row_by_row():
    labels = np.arange(24, dtype=np.uint8).reshape(4, 6)
    pieces, piece_labels = cut_patches(labels[..., None], labels, 3, 3, "a.png")
    assert pieces.shape == (4, 3, 3, 1)
    np.testing.assert_array_equal(piece_labels[1, 0], [3, 4, 5])
    np.testing.assert_array_equal(piece_labels[2, 0], [6, 7, 8])


def test_counted_once():
    labels = np.ones((5, 5), np.uint8)
    _, piece_labels = cut_patches(labels[..., None], labels, 3, 3, "a.png", count_once=True)
    assert np.count_nonzero(piece_labels != IGNORED) == 25


def test_patch_larger_than_image():
    labels = np.zeros((4, 6), np.uint8)
    with pytest.raises(DataError, match=r"a\.png: a patch of 5x5 is larger than the image \(4x6\)"):
        cut_patches(labels[..., None], labels, 5, 5, "a.png")
    with pytest.raises(ConfigError, match="at least 1"):
        cut_patches(labels[..., None], labels, 2, 0, "a.png")


def test_scaling_by_hand():
    image = np.array([[[10, 7], [30, 7]]], np.uint8)
    np.testing.assert_allclose(scale_image(image, "minmax"), [[[0, 0], [1, 0]]])
    np.testing.assert_allclose(scale_image(image, "standard"), [[[-1, 0], [1, 0]]])
    np.testing.assert_allclose(scale_image(image, "unit"), image / 255, rtol=1e-6)
    with pytest.raises(ConfigError, match="'log' is unknown"):
        scale_image(image, "log")


def test_class_weights_by_hand():
    shares = np.array([0.64, 0.32, 0.04])
    expected = np.array([1 / 0.8, 1 / 0.32**0.5, 1 / 0.2])
    expected *= 3 / expected.sum()
    np.testing.assert_allclose(balanced_class_weights(shares, 0.5), expected)
    np.testing.assert_allclose(balanced_class_weights(shares, 0.0), 1)
    absent = balanced_class_weights(np.array([0.9, 0.1, 0.0]), 1.0)
    assert absent[2] == absent[1]


@pytest.mark.parametrize("size", [(20, 30), (8, 8), (5, 40), (3, 3)])
def test_blending_returns_what_a_pixelwise_model_says(size):
    """A model that looks at single pixels gives the same answer tiled as whole."""
    image = np.random.default_rng(0).random((*size, 2)).astype(np.float32)

    def pixelwise(pieces):
        assert pieces.shape[1:] == (8, 8, 2)
        return np.stack([pieces[..., 0], pieces[..., 1] ** 2, pieces.sum(-1)], axis=-1)

    whole = np.stack([image[..., 0], image[..., 1] ** 2, image.sum(-1)], axis=-1)
    for overlap in (0.0, 0.25, 0.5):
        blended = predict_image(pixelwise, image, 8, overlap)
        np.testing.assert_allclose(blended, whole, rtol=1e-5, atol=1e-6)


def test_blending_trusts_the_middle_of_a_patch():
    """A model that is wrong on the border of its patches is outvoted where patches overlap."""

    def wrong_at_border(pieces):
        answer = np.zeros((*pieces.shape[:3], 1), np.float32)
        answer[:, 0] = answer[:, -1] = answer[:, :, 0] = answer[:, :, -1] = 1
        return answer

    blended = predict_image(wrong_at_border, np.zeros((16, 16, 1), np.float32), 8, 0.5)
    assert blended[4:12, 4:12].max() < 0.5
