"""Segmentation quality: intersection over union, accuracy, precision and recall.

Mean IoU is the objective. Accuracy is only reported beside it: with unbalanced classes it rises
even when a model collapses to predicting the largest class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from sklearn.metrics import average_precision_score, precision_recall_curve

from tfcompress.losses import one_hot_labels


def confusion_matrices(labels: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Compute one confusion matrix per sample; rows are true classes, columns predicted ones.

    Args:
        labels: Ground truth, integers `(N, ...)`. Values outside `[0, n_classes)`, such as 255, are
            ignored.
        predicted: Predicted class indices, `(N, ...)`.
        n_classes: Number of classes.

    Returns:
        Counts `(N, n_classes, n_classes)`, int64.
    """
    flat_labels = labels.reshape(len(labels), -1).astype(np.int64)
    flat_predicted = predicted.reshape(len(labels), -1).astype(np.int64)
    counted = (flat_labels >= 0) & (flat_labels < n_classes)
    cells = n_classes * n_classes
    index = flat_labels * n_classes + flat_predicted
    index += np.arange(len(labels))[:, None] * cells
    counts = np.bincount(index[counted], minlength=len(labels) * cells)
    return counts.reshape(len(labels), n_classes, n_classes)


def iou_per_class(confusion: np.ndarray) -> np.ndarray:
    """IoU of each class, `TP / (TP + FP + FN)`.

    Args:
        confusion: Confusion matrices `(..., C, C)`.

    Returns:
        IoU `(..., C)`; NaN for a class that is neither present nor predicted.
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    union = confusion.sum(axis=-1) + confusion.sum(axis=-2) - hits
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(union > 0, hits / union, np.nan)


def mean_iou(confusion: np.ndarray) -> np.ndarray:
    """Mean IoU over the classes that are present or predicted: `(..., C, C)` to `(...)`."""
    return np.nanmean(iou_per_class(confusion), axis=-1)


def accuracy(confusion: np.ndarray) -> np.ndarray:
    """Share of pixels (or samples) that are classified correctly: `(..., C, C)` to `(...)`."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).sum(axis=-1)
    return hits / confusion.sum(axis=(-2, -1))


def f1_per_class(confusion: np.ndarray) -> np.ndarray:
    """F1 of each class, `2 TP / (2 TP + FP + FN)`, with NaN as in `iou_per_class`; `(..., C)`."""
    iou = iou_per_class(confusion)
    return 2 * iou / (1 + iou)


def macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Mean F1 over the classes that are present or predicted: `(..., C, C)` to `(...)`."""
    return np.nanmean(f1_per_class(confusion), axis=-1)


def precision_recall(
    labels: np.ndarray, probabilities: np.ndarray, at_most_points: int = 200
) -> list[dict[str, Any]]:
    """Precision-recall curve of each class (one against the rest), thinned for plotting.

    Args:
        labels: Ground truth, integers `(...)`. Values of at least C, such as 255, are ignored.
        probabilities: Predicted probabilities `(..., C)`.
        at_most_points: Maximum number of points of each of two samplings of a curve: evenly by
            index, and evenly by recall.

    Returns:
        One dict per class with the keys "precision" and "recall" (arrays of equal length) and
        "average_precision" (computed before thinning). It is empty for a class without samples.
    """
    n_classes = probabilities.shape[-1]
    flat = labels.reshape(-1)
    counted = flat < n_classes
    flat, scores = flat[counted], probabilities.reshape(-1, n_classes)[counted]
    curves: list[dict[str, Any]] = []
    for label in range(n_classes):
        truth = flat == label
        if not truth.any():
            curves.append({})
            continue
        precision, recall, _ = precision_recall_curve(truth, scores[:, label])
        keep = np.unique(np.linspace(0, len(recall) - 1, at_most_points).round().astype(int))
        by_recall = np.unique(np.searchsorted(-recall, -np.linspace(0, 1, at_most_points)))
        keep = np.union1d(keep, by_recall.clip(0, len(recall) - 1))
        curves.append(
            {
                "precision": precision[keep],
                "recall": recall[keep],
                "average_precision": float(average_precision_score(truth, scores[:, label])),
            }
        )
    return curves


# Models compiled before the metric was renamed were saved with its old name, and still load.
@keras.saving.register_keras_serializable(package="tfcompress")
@keras.saving.register_keras_serializable(package="tfcompress", name="jacard_coef")
def jaccard(y_true: Any, y_pred: Any) -> Any:
    """Soft Jaccard index over the whole batch and all classes, as a Keras metric function.

    `(sum(y p) + 1) / (sum(y) + sum(p) - sum(y p) + 1)`, where `y` is the one-hot ground truth and
    `p` the predicted probabilities. It takes no arg-max, so a uniform prediction of six classes
    scores about 0.09 rather than 0. The aerial-imagery project, from which the metric comes, calls
    it `jacard_coef`; `tfcompress.jacard_coef` is an alias of that name.

    Args:
        y_true: Ground truth, `(..., C)` one-hot, or `(...)` or `(..., 1)` class indices.
        y_pred: Predicted probabilities, `(..., C)`.

    Returns:
        A float32 scalar in (0, 1].
    """
    y_pred = ops.cast(y_pred, "float32")
    y_true = one_hot_labels(y_true, y_pred)
    overlap = ops.sum(y_true * y_pred)
    return (overlap + 1.0) / (ops.sum(y_true) + ops.sum(y_pred) - overlap + 1.0)


def segmentation_metrics(
    n_classes: int, class_names: Sequence[str] | None = None, ignored: int | None = None
) -> list[Any]:
    """Make streaming Keras metrics for `compile`: mean IoU and, on request, the IoU per class.

    Args:
        n_classes: Number of classes.
        class_names: Names of the classes; each adds a metric "iou_<name>". None adds none.
        ignored: Label value that is ignored, such as 255.

    Returns:
        Metrics for class-index labels and predicted scores `(..., n_classes)`.
    """
    common = dict(sparse_y_true=True, sparse_y_pred=False, ignore_class=ignored)
    metrics: list[Any] = [keras.metrics.MeanIoU(n_classes, name="mean_iou", **common)]
    for label, name in enumerate(class_names or ()):
        slug = "".join(c if c.isalnum() else "_" for c in name.lower())
        metrics.append(keras.metrics.IoU(n_classes, [label], name=f"iou_{slug}", **common))
    return metrics
