"""Plots as PNG files, with matplotlib's object-oriented interface (no global figure or display)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from tfcompress.atomic import atomic_path
from tfcompress.reporting.labels import label_points

COLORS = (
    "#2f6fb0",
    "#d1495b",
    "#3a8f5c",
    "#b8862b",
    "#7a5195",
    "#5c6b73",
    "#14a3a8",
    "#e07b39",
    "#8a5a44",
)

History = Sequence[Mapping[str, float]]


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG, atomically."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, bbox_inches="tight", facecolor="white")
    return Path(path)


def plot_history(
    histories: Mapping[str, History], metric: str, title: str, marks: Mapping[str, float] = {}
) -> Figure:
    """Plot a metric against the epoch: training dashed, validation solid, one color per model.

    Args:
        histories: Training histories by model name: rows with "epoch", the metric and "val_" +
            metric.
        metric: Key of the metric in the rows.
        title: Name of the metric in the plot.
        marks: Vertical lines, as a mapping from label to epoch.
    """
    figure, axes = _figure(6.4, 4.0)
    for color, (name, rows) in zip(COLORS, histories.items(), strict=False):
        epochs = [row["epoch"] for row in rows]
        for prefix, style, what in (("", "--", "training"), ("val_", "-", "validation")):
            key = prefix + metric
            if any(key in row for row in rows):
                values = [row.get(key, np.nan) for row in rows]
                axes.plot(epochs, values, style, color=color, label=f"{name}, {what}", lw=1.6)
    for label, epoch in marks.items():
        axes.axvline(epoch, color="#999999", lw=0.9, ls=":")
        axes.annotate(
            label,
            (epoch, 0.98),
            xycoords=("data", "axes fraction"),
            rotation=90,
            va="top",
            ha="right",
            fontsize=8,
            color="#666666",
        )
    axes.set_xlabel("epoch")
    axes.set_ylabel(title)
    axes.set_title(f"{title} against epoch", loc="left")
    _legend(axes)
    return figure


def plot_precision_recall(
    curves: Mapping[str, Sequence[Mapping[str, Any]]],
    classes: Sequence[str],
    colors: Sequence[tuple[int, int, int]],
) -> Figure:
    """Plot the precision-recall curve of each class, one panel per model.

    Args:
        curves: Curves by model name, one per class, as `precision_recall` of
            `evaluation.segmentation` gives them.
        classes: Names of the classes.
        colors: Colors of the classes, each (red, green, blue) from 0 to 255.
    """
    columns = min(2, len(curves))  # more would be too small to read on a page
    rows = -(-len(curves) // columns)
    height = 3.7 + 0.24 * -(-len(classes) // 2)
    figure = Figure(figsize=(4.7 * columns, height * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
    for axes, (name, per_class) in zip(panels, curves.items(), strict=False):
        for label, curve, color in zip(classes, per_class, colors, strict=True):
            if not curve:
                continue
            text = f"{label} (AP {curve['average_precision']:.2f})"
            line_color = tuple(0.85 * channel / 255 for channel in color)
            axes.plot(curve["recall"], curve["precision"], color=line_color, label=text, lw=1.8)
        axes.set(xlim=(0, 1.01), ylim=(0, 1.01), xlabel="recall", ylabel="precision")
        axes.set_title(name, loc="left")
        axes.grid(alpha=0.25)
        # Below the panel: inside it there is no corner that no curve passes.
        axes.legend(
            fontsize=9.5, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2
        )
    for axes in panels[len(curves) :]:
        axes.set_axis_off()
    return figure


def plot_segmentations(
    images: np.ndarray,
    labels: np.ndarray,
    predicted: Mapping[str, np.ndarray],
    classes: Sequence[str],
    colors: Sequence[tuple[int, int, int]],
) -> Figure:
    """Show image, ground truth and each model's prediction, one row per sample.

    Args:
        images: Images `(N, H, W, 1 or 3)`, each stretched to its own range for display.
        labels: Ground truth `(N, H, W)`; values without a class, such as 255, are white.
        predicted: Predicted class indices `(N, H, W)`, by model name.
        classes: Names of the classes.
        colors: Colors of the classes, each (red, green, blue) from 0 to 255.
    """
    palette = np.full((256, 3), 255, np.uint8)
    palette[: len(colors)] = colors
    columns = {"image": None, "label": labels, **predicted}
    figure = Figure(figsize=(2.1 * len(columns), 2.15 * len(images) + 0.5), layout="constrained")
    grid = figure.subplots(len(images), len(columns), squeeze=False)
    for row, image in zip(range(len(images)), images, strict=True):
        for axes, (name, values) in zip(grid[row], columns.items(), strict=True):
            if values is None:
                span = max(float(np.ptp(image)), 1e-9)
                shown = (image - image.min()) / span
                axes.imshow(shown[..., 0] if shown.shape[-1] == 1 else shown, cmap="gray")
            else:
                axes.imshow(palette[values[row]], interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            if row == 0:
                axes.set_title(name, fontsize=9)
    figure.legend(
        handles=[
            Patch(facecolor=(red / 255, green / 255, blue / 255), edgecolor="#999999", label=name)
            for name, (red, green, blue) in zip(classes, colors, strict=True)
        ],
        loc="outside lower center",
        ncols=min(6, len(classes)),
        fontsize=8,
        frameon=False,
    )
    return figure


def plot_layer_sparsity(layers: Mapping[str, Sequence[tuple[str, int, int]]]) -> Figure:
    """Plot the sparsity and the number of weights of each layer, one color per model.

    Args:
        layers: Rows `(layer, weights, zeros)` by model name; all models have the same layers.
    """
    names = [name for name, *_ in next(iter(layers.values()))]
    height = max(3.0, 0.22 * len(names) + 1.2)
    figure = Figure(figsize=(8.4, height), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    places = np.arange(len(names))
    for color, marker, (model, rows) in zip(COLORS, "osD^vP", layers.items(), strict=False):
        shares = [zeros / weights for _, weights, zeros in rows]
        left.plot(shares, places, marker, color=color, label=model, ms=5, alpha=0.85)
    weights = [count for _, count, _ in next(iter(layers.values()))]
    right.barh(places, weights, color="#c9d3db", height=0.7)
    right.set_xscale("log")
    right.set_xlabel("weights")
    left.set(yticks=places, yticklabels=names, xlim=(-0.02, 1.02), xlabel="share of zeros")
    left.invert_yaxis()
    left.tick_params(axis="y", labelsize=7)
    left.grid(alpha=0.25)
    left.legend(fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return figure


def plot_sensitivity(
    curves: Mapping[str, Sequence[tuple[float, float]]], y_title: str, named: int = 7
) -> Figure:
    """Plot quality against the share of channels removed, one curve per group.

    Args:
        curves: Points `(sparsity, quality)` by group, in order of sparsity, from 0 on.
        y_title: Name of the quality metric.
        named: Number of the most sensitive groups that get a color and a name; others are gray.
    """
    figure, axes = _figure(7.6, 4.2)
    order = sorted(curves, key=lambda name: curves[name][-1][1])
    for name in reversed(order):
        x, y = zip(*curves[name], strict=True)
        place = order.index(name)
        known = place < min(named, len(COLORS))
        color = COLORS[place] if known else "#c3ccd3"
        axes.plot(x, y, "o-", color=color, ms=4, lw=1.6, label=name if known else None)
    if len(order) > named:
        axes.plot([], [], "o-", color="#c3ccd3", ms=4, label=f"{len(order) - named} others")
    axes.set_xlabel("share of the group's channels removed, without fine-tuning")
    axes.set_ylabel(y_title)
    axes.set_title(f"{y_title} with one group pruned at a time", loc="left")
    handles, labels = axes.get_legend_handles_labels()
    ranks = {name: i for i, name in enumerate(order)}
    pairs = sorted(zip(handles, labels, strict=True), key=lambda p: ranks.get(p[1], len(order)))
    axes.legend(
        *zip(*pairs, strict=True),
        fontsize=8,
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(1.01, 1),
        title="most sensitive first",
        title_fontsize=8,
    )
    return figure


def plot_layer_noise(models: Mapping[str, Sequence[tuple[str, str, float]]]) -> Figure:
    """Plot the signal-to-noise ratio of each operator of int8 models, in execution order.

    Args:
        models: Rows `(layer, operator, SNR in dB)` by model name, in execution order. Operators of
            the same layer and kind share a line of the plot.
    """
    places = dict.fromkeys((layer, kind) for rows in models.values() for layer, kind, _ in rows)
    lines = {key: i for i, key in enumerate(places)}
    figure = Figure(figsize=(7.6, max(3.0, 0.22 * len(lines) + 1.2)), layout="constrained")
    axes = figure.subplots()
    for color, marker, (name, rows) in zip(COLORS, "osD^vP", models.items(), strict=False):
        y = [lines[layer, kind] for layer, kind, _ in rows]
        x = [snr for *_, snr in rows]
        axes.plot(x, y, marker=marker, ls="-", lw=0.8, ms=5, color=color, alpha=0.85, label=name)
    axes.set(
        yticks=range(len(lines)),
        yticklabels=[f"{layer} ({kind.lower()})" for layer, kind in lines],
        xlabel="signal-to-noise ratio (dB): further left is worse",
    )
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=7)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure


@dataclass(frozen=True)
class Dot:
    """A model in `plot_front`.

    Attributes:
        name: Name in the legend.
        cost: Cost relative to the first model.
        quality: Quality; higher is better.
        state: State of a recipe's step: "chosen", "rolled back" or "".
        on_front: Whether the model is on the Pareto front: no other is both better and cheaper.
    """

    name: str
    cost: float
    quality: float
    state: str = ""
    on_front: bool = False


def plot_front(dots: Sequence[Dot], x_title: str, y_title: str) -> Figure:
    """Plot models by cost and quality; a line joins those on the Pareto front.

    Args:
        dots: Models to plot; those that were rolled back are hollow.
        x_title: Name of the cost, which has a logarithmic axis.
        y_title: Name of the quality metric.
    """
    figure, axes = _figure(6.8, 4.2)
    best = sorted((dot for dot in dots if dot.on_front), key=lambda d: d.cost)
    axes.step(
        [d.cost for d in best], [d.quality for d in best], where="post", color="#bbbbbb", lw=1.2
    )
    for i, dot in enumerate(dots):
        color = COLORS[i % len(COLORS)]
        fill = "none" if dot.state == "rolled back" else color
        edge = "black" if dot.state == "chosen" else color
        size = 11 if dot.state == "chosen" else 8
        axes.plot(dot.cost, dot.quality, "o", mfc=fill, mec=edge, ms=size)
    points = [
        (f"{dot.name} ({dot.state})" if dot.state else dot.name, dot.cost, dot.quality)
        for dot in dots
    ]
    _finish_cost_plot(axes, points, [dot.quality for dot in dots], x_title, y_title)
    return figure


def plot_tradeoff(points: Sequence[tuple[str, float, float]], x_title: str, y_title: str) -> Figure:
    """Plot quality against cost, one dot per model.

    Args:
        points: Models, each `(name, cost, quality)`.
        x_title: Name of the cost, which has a logarithmic axis.
        y_title: Name of the quality metric.
    """
    figure, axes = _figure(6.8, 4.2)
    for i, (_, cost, quality) in enumerate(points):
        marker, color = "osD^"[i // len(COLORS) % 4], COLORS[i % len(COLORS)]
        axes.plot(cost, quality, marker, color=color, ms=8)
    _finish_cost_plot(axes, points, [quality for *_, quality in points], x_title, y_title)
    return figure


def plot_limit(
    points: Sequence[tuple[str, float, float]], floor: float, x_title: str, y_title: str
) -> Figure:
    """Plot one technique at increasing strength, and where quality falls below a limit.

    Args:
        points: Models, each `(name, cost, quality)`; a line joins them in order of cost.
        floor: Lowest acceptable quality, drawn as a dotted line; models below it are hollow.
        x_title: Name of the cost, which has a logarithmic axis.
        y_title: Name of the quality metric.
    """
    figure, axes = _figure(6.8, 4.2)
    costs, qualities = zip(*sorted((cost, quality) for _, cost, quality in points), strict=True)
    axes.plot(costs, qualities, color="#bbbbbb", lw=1.2, zorder=1)
    axes.axhline(floor, color="black", ls=":", lw=1.0, zorder=1)
    for i, (_, cost, quality) in enumerate(points):
        color = COLORS[i % len(COLORS)]
        fill = color if quality >= floor else "white"
        axes.plot(cost, quality, "o", mfc=fill, mec=color, ms=8)
    _finish_cost_plot(axes, points, [*qualities, floor], x_title, y_title)
    return figure


def _finish_cost_plot(
    axes: Axes,
    points: Sequence[tuple[str, float, float]],
    qualities: Sequence[float],
    x_title: str,
    y_title: str,
) -> None:
    """Set up the axes of cost (logarithmic) and quality, their titles, and a label per point."""
    costs = [cost for _, cost, _ in points]
    axes.set_xlabel(x_title)
    axes.set_ylabel(y_title)
    axes.set_title(f"{y_title} against {x_title}", loc="left")
    axes.set_xscale("log")
    axes.set_xlim(min(costs) / 1.5, max(costs) * 1.5)
    for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis(FuncFormatter(_leading_digits))
    center, half = np.mean(qualities), max(0.02, 0.8 * np.ptp(qualities))
    axes.set_ylim(center - half, center + half)  # a difference of 0.001 must not look large
    label_points(axes, points)


def _leading_digits(value: float, position: int) -> str:
    """Label only 1, 2 and 5 of each decade on a logarithmic axis."""
    digit = f"{value:.0e}"[0]
    return f"{value:g}" if digit in "125" else ""


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _legend(axes: Axes) -> None:
    handles = [h for h in axes.get_legend_handles_labels()[0] if isinstance(h, Line2D)]
    if handles:
        axes.legend(handles=handles, fontsize=8, frameon=False)
