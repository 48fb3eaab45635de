"""What a model gets wrong: confusion matrices, and the samples that are worst."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure


def worst_segmented(
    labels: np.ndarray, predicted: np.ndarray, n_classes: int, at_most: int
) -> list[tuple[int, float]]:
    """Samples with the largest share of wrong pixels, the worst first.

    Args:
        labels: Class indices, `(N, H, W)`; values outside `[0, n_classes)` do not count.
        predicted: Class indices of the model, `(N, H, W)`.
        n_classes: Number of classes.
        at_most: Largest number of samples to return.

    Returns:
        Pairs of index and share of wrong pixels; a sample without a counted or a wrong pixel is
        left out.
    """
    counted = (labels >= 0) & (labels < n_classes)
    wrong = counted & (labels != predicted)
    pixels = counted.sum(axis=(1, 2))
    shares = wrong.sum(axis=(1, 2)) / np.maximum(pixels, 1)
    order = np.argsort(-shares, kind="stable")[:at_most]
    return [(int(i), float(shares[i])) for i in order if shares[i] > 0]


def worst_classified(
    labels: np.ndarray, probabilities: np.ndarray, at_most: int
) -> list[tuple[int, int, float]]:
    """Samples that a model is most confidently wrong about, the worst first.

    Args:
        labels: Class indices, `(N,)`.
        probabilities: Outputs of the model, `(N, C)`.
        at_most: Largest number of samples to return.

    Returns:
        Tuples of index, predicted class and its probability, for wrong predictions only.
    """
    predicted = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    order = wrong[np.argsort(-confidence[wrong], kind="stable")][:at_most]
    return [(int(i), int(predicted[i]), float(confidence[i])) for i in order]


def plot_confusion(
    counts: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str] | None = None,
    shares: bool = False,
    y_title: str = "label",
    x_title: str = "predicted",
    title: str = "",
) -> Figure:
    """A confusion matrix; the color is the share of the row.

    Args:
        counts: Samples or pixels of each true class (row) by predicted class (column), `(R, C)`.
            A negative count leaves its cell empty.
        rows: Names of the true classes.
        columns: Names of the predicted classes; default: those of the rows.
        shares: Write the share of the row in percent, not the count.
        y_title: Name of the vertical axis.
        x_title: Name of the horizontal axis.
        title: Heading of the plot.
    """
    columns = rows if columns is None else columns
    known = np.maximum(counts, 0)
    share = known / np.maximum(known.sum(axis=1, keepdims=True), 1)
    longest = max(map(len, (*rows, *columns)))
    size = (1.6 + 0.09 * longest + 0.62 * len(columns), 1.3 + 0.06 * longest + 0.52 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(*counts.shape):
        if counts[row, column] < 0:
            continue
        text = f"{share[row, column]:.0%}" if shares else str(counts[row, column])
        color = "white" if share[row, column] > 0.55 else "#222222"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=9)
    axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    axes.set(xlabel=x_title, ylabel=y_title)
    if title:
        axes.set_title(title, loc="left", fontsize=10)
    return figure


def plot_images(images: Sequence[np.ndarray], titles: Sequence[str], columns: int = 6) -> Figure:
    """Images in a grid, each below its title.

    Args:
        images: Arrays `(H, W, 3)` or `(H, W)`, uint8, or floats of 0 to 1.
        titles: One for each image; a line break makes two lines.
        columns: Largest number of images in a row.
    """
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    lines = 1 + max(title.count("\n") for title in titles)
    figure = Figure(figsize=(1.7 * columns, (1.55 + 0.2 * lines) * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flat
    for axes, image, title in zip(grid, images, titles, strict=False):
        axes.imshow(image, cmap="gray", interpolation="nearest")
        axes.set_title(title, fontsize=9)
    for axes in figure.axes:
        axes.set_axis_off()
    return figure
