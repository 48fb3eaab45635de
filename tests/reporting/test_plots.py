"""Pictures are opened again and checked for what they show."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from tfcompress.reporting.plots import (
    Dot,
    plot_front,
    plot_history,
    plot_layer_sparsity,
    plot_limit,
    plot_precision_recall,
    plot_segmentations,
    plot_tradeoff,
    save_figure,
)

COLORS = [(200, 0, 0), (0, 200, 0)]


def colors_in(path):
    pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
    return {tuple(int(c) for c in color) for color in np.unique(pixels, axis=0)}


def test_segmentations_show_image_label_and_prediction(tmp_path):
    labels = np.zeros((2, 8, 8), np.uint8)
    labels[:, 4:] = 1
    labels[0, 0] = 255
    figure = plot_segmentations(
        np.random.default_rng(0).random((2, 8, 8, 3)), labels, {"int8": 1 - labels.clip(0, 1)},
        ["a", "b"], COLORS,
    )  # fmt: skip
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["image", "label", "int8", "", "", ""]
    assert {(200, 0, 0), (0, 200, 0), (255, 255, 255)} <= colors_in(
        save_figure(figure, tmp_path / "p.png")
    )


def test_gray_images_are_shown(tmp_path):
    figure = plot_segmentations(
        np.zeros((1, 8, 8, 1)), np.zeros((1, 8, 8), int), {}, ["a", "b"], COLORS
    )
    assert save_figure(figure, tmp_path / "gray.png").stat().st_size > 1000


def test_history_has_training_and_validation_of_each_model():
    rows = [{"epoch": e, "mean_iou": 0.1 * e, "val_mean_iou": 0.09 * e} for e in (1, 2, 3)]
    figure = plot_history({"dense": rows, "pruned": rows[1:]}, "mean_iou", "mean IoU", {"80 %": 2})
    (axes,) = figure.axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == [
        "dense, training",
        "dense, validation",
        "pruned, training",
        "pruned, validation",
    ]
    np.testing.assert_allclose(axes.lines[1].get_ydata(), [0.09, 0.18, 0.27])


def test_precision_recall_leaves_out_an_absent_class():
    curve = {
        "precision": np.array([0.5, 1.0]),
        "recall": np.array([1.0, 0.0]),
        "average_precision": 0.5,
    }
    figure = plot_precision_recall({"m": [curve, {}]}, ["a", "b"], COLORS)
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["a (AP 0.50)"]


def test_layer_sparsity_and_tradeoff(tmp_path):
    figure = plot_layer_sparsity({"pruned": [("conv", 100, 80), ("head", 10, 5)]})
    np.testing.assert_allclose(figure.axes[0].lines[0].get_xdata(), [0.8, 0.5])
    save_figure(figure, tmp_path / "s.png")
    figure = plot_tradeoff([("a", 1.0, 0.5), ("b", 10.0, 0.6)], "latency (ms)", "mean IoU")
    assert figure.axes[0].get_xscale() == "log"
    save_figure(figure, tmp_path / "t.png")
    figure = plot_limit([("b", 0.1, 0.7), ("a", 1.0, 0.9), ("c", 0.5, 0.85)], 0.8, "MACs", "mIoU")
    joined, floor, *dots = figure.axes[0].lines
    np.testing.assert_allclose(joined.get_xdata(), [0.1, 0.5, 1.0])
    np.testing.assert_allclose(floor.get_ydata(), 0.8)
    assert [dot.get_markerfacecolor() == "white" for dot in dots] == [True, False, False]
    save_figure(figure, tmp_path / "l.png")


def text_boxes(axes):
    """Boxes of the names in a plot, in pixels, by name."""
    axes.get_figure().draw_without_rendering()
    renderer = FigureCanvasAgg(axes.get_figure()).get_renderer()
    # Text.get_window_extent: without the line that joins a name to its point.
    return {text.get_text(): Text.get_window_extent(text, renderer) for text in axes.texts}


@pytest.mark.parametrize("crowded", [False, True])
def test_every_point_has_its_name_and_no_two_overlap(crowded):
    generator = np.random.default_rng(0)
    costs = 1 + generator.random(12) * (0.02 if crowded else 5)
    qualities = 0.8 + generator.random(12) * (0.001 if crowded else 0.1)
    points = [
        (f"model {i} of the MACs int8", float(c), float(q))
        for i, (c, q) in enumerate(zip(costs, qualities, strict=True))
    ]
    (axes,) = plot_tradeoff(points, "latency (ms)", "mean IoU").axes
    boxes = text_boxes(axes)
    assert list(boxes) == [name for name, *_ in points]
    for a, b in combinations(boxes.values(), 2):
        assert Bbox.intersection(a, b) is None or not a.overlaps(b)
    area = axes.get_window_extent()
    for box in boxes.values():
        assert min(box.x0 - area.x0, area.x1 - box.x1) >= 0
        assert min(box.y0 - area.y0, area.y1 - box.y1) >= 0
    dots = axes.transData.transform([(c, q) for _, c, q in points])
    for box in boxes.values():
        assert not any(box.contains(*dot) for dot in dots)


def test_a_front_names_what_was_chosen():
    dots = [Dot("start", 1.0, 0.9), Dot("int8", 0.3, 0.89, "chosen", True)]
    (axes,) = plot_front(dots, "MACs", "mIoU").axes
    assert list(text_boxes(axes)) == ["start", "int8 (chosen)"]
