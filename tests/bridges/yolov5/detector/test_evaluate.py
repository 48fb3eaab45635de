"""Average precision: worked out by hand, and the matrix of classes."""

import numpy as np
import pytest
import torch

from bridges.yolov5.data.dataset import LabelledImage, read_detection_data
from bridges.yolov5.data.synthetic import write_shapes
from bridges.yolov5.detector.anchors import anchor_recall, check_anchors
from bridges.yolov5.detector.evaluate import confusion_matrix, evaluate_detector, score_detections
from tfcompress.errors import DataError

EMPTY = torch.zeros(0, 6)


def box(x, label=0, side=10.0):
    return [label, x, 0.0, x + side, side]


def found(x, confidence, label=0, side=10.0):
    return [x, 0.0, x + side, side, confidence, label]


def test_perfect_detections_score_one():
    wanted = [torch.tensor([box(0), box(50, 1)])]
    score = score_detections([torch.tensor([found(0, 0.9), found(50, 0.8, 1)])], wanted, "ab")
    assert score.map50 == pytest.approx(1)
    assert score.map == pytest.approx(1)
    assert score.objects.tolist() == [1, 1]


def test_average_precision_by_hand():
    """Two objects, found first and third of three: precision 1 to recall 1/2, then 2/3."""
    wanted = [torch.tensor([box(0), box(50)])]
    rows = [found(0, 0.9), found(200, 0.8), found(50, 0.7)]
    score = score_detections([torch.tensor(rows)], wanted, ["a"])
    # 51 of the 101 levels of recall are at most 1/2
    assert score.map50 == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)
    assert score.precision.shape == (1, 101)


def test_a_shifted_box_counts_at_low_overlaps_alone():
    """Shifted by 2 of 10: IoU 8 / 12 = 0.667, so found at 0.50, 0.55, 0.60 and 0.65."""
    score = score_detections([torch.tensor([found(2, 0.9)])], [torch.tensor([box(0)])], ["a"])
    assert score.map50 == pytest.approx(1)
    assert score.map == pytest.approx(0.4)


def test_classes_without_objects_do_not_count():
    score = score_detections([torch.tensor([found(0, 0.9)])], [torch.tensor([box(0)])], "ab")
    assert score.map50 == pytest.approx(1)
    assert np.isnan(score.ap50[1])
    assert "–" in str(score.table())


def test_nothing_found():
    score = score_detections([EMPTY], [torch.tensor([box(0)])], "ab")
    assert (score.map50, score.map) == (0, 0)
    assert score.confusion.tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]
    with pytest.raises(DataError, match="they have no box"):
        score_detections([EMPTY], [torch.zeros(0, 5)], ["a"])


def test_confusion_by_hand():
    wanted = [torch.tensor([box(0, 0), box(50, 1), box(100, 1)])]
    rows = [
        found(0, 0.9, 1),  # the 0 taken for a 1
        found(50, 0.9, 1),  # right
        found(51, 0.8, 0),  # the same object again: of nothing
        found(100, 0.2, 1),  # not sure enough: the object is not found
        found(300, 0.9, 0),  # of nothing
    ]
    matrix = confusion_matrix([torch.tensor(rows)], wanted, 2)
    assert matrix.tolist() == [[0, 1, 0], [0, 1, 1], [2, 0, 0]]


def test_a_detector_that_knows_the_answer(tmp_path):
    """The whole way from files to the score, with boxes taken from the labels."""
    file = write_shapes(tmp_path / "shapes", counts=(2, 5, 2), size=96)
    data = read_detection_data(file)
    left = iter(data.splits["val"])

    def detect(pixels):
        rows = torch.zeros(len(pixels), 8, 9)
        for index in range(len(pixels)):
            for slot, (label, x, y, w, h) in enumerate(next(left).boxes.tolist()):
                rows[index, slot, :5] = torch.tensor([x * 64, y * 64, w * 64, h * 64, 0.9])
                rows[index, slot, 5 + int(label)] = 1
        return rows

    score = evaluate_detector(detect, data.splits["val"], data.names, 64, batch=2)
    assert score.map50 == pytest.approx(1)
    assert score.map > 0.99
    assert score.images == 5


def labelled(*sizes):
    boxes = np.array([[0, 0.5, 0.5, w, h] for w, h in sizes], np.float32)
    return LabelledImage("a.png", (100, 200), boxes)


def test_anchor_recall_by_hand():
    anchors = np.array([[[10.0, 10.0]]])
    sizes = np.array([[10, 39], [10, 41], [3, 10], [2, 10]])
    assert anchor_recall(anchors, sizes, 4.0) == 0.5


def test_anchors_that_fit_stay_and_others_are_clustered():
    image = labelled((0.1, 0.2), (0.12, 0.2), (0.5, 0.8), (0.55, 0.8))  # 20 x 20 ... 110 x 80
    good = np.array([[[20.0, 20.0]], [[100.0, 80.0]]], np.float32)
    kept = check_anchors(good, [image], 200)
    assert (kept.recall, kept.replaced) == (1.0, False)
    better = check_anchors(good / 20, [image], 200)
    assert (better.recall, better.replaced) == (0.0, True)
    # the geometric mean of each pair, the smaller first
    expected = [[[(20 * 24) ** 0.5, 20]], [[(100 * 110) ** 0.5, 80]]]
    np.testing.assert_allclose(better.anchors, expected, rtol=1e-4)
