"""Plots of detection: boxes on images, curves, a confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from matplotlib.figure import Figure

from bridges.yolov5.detector.evaluate import RECALL, DetectionScore
from tfcompress.reporting.mistakes import plot_confusion as confusion_matrix
from tfcompress.reporting.plots import COLORS


def draw_boxes(
    image: np.ndarray,
    boxes: Sequence[Sequence[float]],
    names: Sequence[str],
    show_confidence: bool = True,
) -> np.ndarray:
    """A copy of an image with boxes and their classes.

    Args:
        image: (H, W, 3) uint8, RGB.
        boxes: Rows of corners in pixels, confidence, class.
        names: Names of the classes.
        show_confidence: Whether to write the confidence after the name.
    """
    drawn = np.ascontiguousarray(image).copy()
    thick = max(round(max(image.shape[:2]) / 320), 1)
    scale = 0.35 * max(max(image.shape[:2]) / 320, 1)
    for x0, y0, x1, y1, confidence, label in sorted(boxes, key=lambda row: row[4]):
        color = class_color(int(label))
        low, high = (round(x0), round(y0)), (round(x1), round(y1))
        cv2.rectangle(drawn, low, high, color, thick, cv2.LINE_AA)
        text = names[int(label)] + (f" {confidence:.2f}" if show_confidence else "")
        (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
        top = low[1] - height - 3 if low[1] > height + 3 else low[1]
        cv2.rectangle(drawn, (low[0], top), (low[0] + width, top + height + 3), color, -1)
        base = (low[0], top + height + 1)
        cv2.putText(
            drawn, text, base, cv2.FONT_HERSHEY_SIMPLEX, scale, (255,) * 3, thick, cv2.LINE_AA
        )
    return drawn


def class_color(label: int) -> tuple[int, int, int]:
    """Red, green and blue of a class, 0 to 255."""
    text = COLORS[label % len(COLORS)]
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def plot_detections(
    images: Sequence[np.ndarray], titles: Sequence[str], columns: int = 4
) -> Figure:
    """Images with their boxes drawn, in a grid."""
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(3.0 * columns, 3.0 * rows), layout="constrained")
    for axes, image, title in zip(
        figure.subplots(rows, columns, squeeze=False).flat, images, titles, strict=False
    ):
        axes.imshow(image)
        axes.set_title(title, fontsize=8)
    for axes in figure.axes:
        axes.set_axis_off()
    return figure


def plot_detection_curves(score: DetectionScore) -> Figure:
    """Precision against recall of each class at IoU 0.50."""
    figure = Figure(figsize=(5.6, 4.4), layout="constrained")
    axes = figure.subplots()
    for label, (name, curve, ap) in enumerate(
        zip(score.names, score.precision, score.ap50, strict=True)
    ):
        if not np.isnan(ap):
            color = COLORS[label % len(COLORS)]
            axes.plot(RECALL, curve, color=color, lw=1.6, label=f"{name} (AP50 {ap:.3f})")
    axes.set(xlim=(0, 1.01), ylim=(0, 1.01), xlabel="recall", ylabel="precision")
    axes.set_title(f"Precision against recall, mAP50 {score.map50:.3f}", loc="left")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, frameon=False, loc="lower left")
    return figure


def plot_confusion(score: DetectionScore) -> Figure:
    """Objects of each class (row) by what they were detected as (column)."""
    counts = np.array(score.confusion)
    counts[-1, -1] = -1  # nothing, detected as nothing: there is no such count
    return confusion_matrix(
        counts,
        [*score.names, "nothing"],
        y_title="object",
        x_title="detected as",
        title="Objects at confidence 0.25, IoU 0.45",
    )


def plot_kept_channels(widths: Mapping[str, Sequence[tuple[str, int, int]]]) -> Figure:
    """Fraction of channels that each layer keeps, one dot per detector, with its original width.

    Args:
        widths: Per detector `(layer, channels before, channels now)` in the order of the network;
            all detectors have the same layers.
    """
    rows = next(iter(widths.values()))
    figure = Figure(figsize=(8.4, max(3.0, 0.19 * len(rows) + 1.2)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    places = np.arange(len(rows))
    for color, marker, (name, layers) in zip(COLORS, "osD^vP<>", widths.items(), strict=False):
        shares = [now / before for _, before, now in layers]
        left.plot(shares, places, marker, color=color, label=name, ms=4.5, alpha=0.8)
    right.barh(places, [before for _, before, _ in rows], color="#c9d3db", height=0.7)
    right.set_xlabel("channels before")
    left.set(
        yticks=places,
        yticklabels=[name for name, *_ in rows],
        xlim=(-0.02, 1.05),
        xlabel="share of the channels kept",
        ylim=(len(rows) - 0.5, -0.5),
    )
    left.tick_params(axis="y", labelsize=6.5)
    left.grid(alpha=0.25)
    left.legend(fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return figure


def plot_rounds(maps: Mapping[str, Sequence[tuple[float, float]]], start: float) -> Figure:
    """Validation mAP50-95 per round: pruning lowers it, training raises it again.

    Args:
        maps: Per detector `(before the training, after it)` of each round.
        start: mAP50-95 of the detector that all of them start from.
    """
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    most = max(len(rounds) for rounds in maps.values())
    for color, (name, rounds) in zip(COLORS, maps.items(), strict=False):
        x, y = [0.0], [start]
        for number, (pruned, trained) in enumerate(rounds, 1):
            # One round of a single pruning ends where the last of several does.
            place = number * most / len(rounds)
            x += [place - 0.5 * most / len(rounds), place]
            y += [pruned, trained]
        axes.plot(x, y, "o-", color=color, ms=4, lw=1.4, label=name)
    axes.axhline(start, color="#999999", lw=0.8, ls=":")
    axes.set(xlabel="round: pruned, then trained", ylabel="mAP50-95 on validation")
    axes.set_xticks(range(most + 1), ["start", *map(str, range(1, most + 1))])
    axes.set_title("Quality by round", loc="left")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, frameon=False)
    return figure
