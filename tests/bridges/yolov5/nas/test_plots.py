"""Pictures of a search show its numbers."""

import pytest

from bridges.yolov5.nas.architecture import FoundArchitecture
from bridges.yolov5.nas.plots import plot_architecture, plot_probabilities, plot_trajectory
from models.yolov5.search_space import as_space, plain_choices


def test_the_bars_of_a_choice_are_its_probabilities_side_by_side():
    figure = plot_probabilities({"conv_1": {"k3": 0.7, "k5": 0.3}, "c3_4": {"x1": 1.0}})
    bars = [(bar.get_y() + bar.get_height() / 2, bar.get_x(), bar.get_width())
            for bar in figure.axes[0].patches]  # fmt: skip
    assert bars == [pytest.approx(bar) for bar in ((0, 0, 0.7), (0, 0.7, 0.3), (1, 0, 1.0))]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["conv_1", "c3_4"]


def test_the_course_shows_macs_as_shares_of_the_plain_ones():
    history = [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0, "expected_macs": 30.0}]
    loss, macs = plot_trajectory(history, plain_macs=60.0).axes
    assert loss.lines[0].get_xydata().tolist() == [[1, 2], [2, 1]]
    assert macs.lines[0].get_xydata().tolist() == [[2, 0.5]]


def test_rows_with_another_choice_than_the_plain_one_are_named():
    choices = plain_choices("yolov5n") | {"conv_1": "k5p2"}
    figure = plot_architecture(FoundArchitecture(as_space("yolov5n"), choices))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert any("k5p2" in text for text in texts)
