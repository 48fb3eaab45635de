"""The worst samples and the confusion matrix, by hand."""

import numpy as np
import pytest

from tfcompress.reporting.mistakes import (
    plot_confusion,
    plot_images,
    worst_classified,
    worst_segmented,
)


def test_the_worst_segmented_samples():
    labels = np.array([[[0, 1], [1, 255]], [[0, 0], [1, 1]], [[1, 1], [1, 1]]])
    predicted = np.array([[[0, 1], [0, 0]], [[1, 1], [1, 0]], [[1, 1], [1, 1]]])
    # One of three counted pixels is wrong, three of four, none.
    worst = worst_segmented(labels, predicted, 2, at_most=3)
    assert worst == [(1, 0.75), (0, pytest.approx(1 / 3))]
    assert worst_segmented(labels, predicted, 2, at_most=1) == [(1, 0.75)]


def test_a_sample_without_a_label_is_not_among_the_worst():
    assert worst_segmented(np.full((1, 2, 2), 255), np.zeros((1, 2, 2), int), 2, 3) == []


def test_the_worst_classified_samples():
    probabilities = np.array([[0.6, 0.4], [0.1, 0.9], [0.2, 0.8], [0.7, 0.3]])
    assert worst_classified(np.array([1, 0, 1, 1]), probabilities, 2) == [(1, 1, 0.9), (3, 0, 0.7)]
    assert worst_classified(np.array([0, 1, 1, 0]), probabilities, 2) == []


def test_a_confusion_matrix_shows_counts_or_shares():
    counts = np.array([[3, 1], [0, 4]])
    (axes,) = plot_confusion(counts, ["a", "b"]).axes
    assert [text.get_text() for text in axes.texts] == ["3", "1", "0", "4"]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.25], [0, 1]])
    (axes,) = plot_confusion(counts, ["a", "b"], shares=True).axes
    assert [text.get_text() for text in axes.texts] == ["75%", "25%", "0%", "100%"]
    counts[1, 1] = -1
    (axes,) = plot_confusion(counts, ["a", "nothing"]).axes
    assert [text.get_text() for text in axes.texts] == ["3", "1", "0"]


def test_a_grid_of_images_leaves_no_axes_around_empty_places():
    figure = plot_images([np.zeros((4, 4, 3), np.uint8)] * 7, [f"image {i}" for i in range(7)], 4)
    assert [axes.get_title() for axes in figure.axes] == [*(f"image {i}" for i in range(7)), ""]
    assert not any(axes.axison for axes in figure.axes)
