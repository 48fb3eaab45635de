"""Pictures are opened again and checked for what they show; the page for what it embeds."""

import re

import numpy as np
import pytest
from PIL import Image

from tfcompress.reporting.page import Section, write_page
from tfcompress.reporting.plots import (
    plot_history,
    plot_layer_sparsity,
    plot_limit,
    plot_precision_recall,
    plot_segmentations,
    plot_tradeoff,
    save_figure,
)
from tfcompress.reporting.tables import Table

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


@pytest.fixture
def page(tmp_path):
    figure = plot_tradeoff([("a", 1.0, 0.5)], "x", "y")
    picture = save_figure(figure, tmp_path / "t.png")
    table = Table(("model", "mIoU"), title="Comparison")
    table.add("<b>bold</b>", "0.85")
    table.note("a note")
    write_page(
        tmp_path / "report.html",
        "Title & more",
        "A summary.",
        [Section("Part", text=("Hello.",), tables=(table,), pictures=(("A picture", picture),))],
        {"epochs": 3},
        {"python": "3.11"},
    )
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_page_needs_nothing_from_outside(page):
    assert "data:image/png;base64," in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "<script" not in page


def test_page_escapes_and_shows_all_parts(page):
    for text in ("Title &amp; more", "&lt;b&gt;bold", "0.85", "a note", "A picture", "3.11"):
        assert text in page
    assert '<td class="number">0.85</td>' in page
