"""Overlap and suppression, by hand and by a plain loop."""

import math

import pytest
import torch

from bridges.yolov5.detector.boxes import centers, complete_iou, corners, pairwise_iou, suppress


def test_forms():
    boxes = torch.tensor([[10.0, 20, 4, 6]])
    assert corners(boxes).tolist() == [[8, 17, 12, 23]]
    assert torch.equal(centers(corners(boxes)), boxes)


def test_iou_by_hand():
    a = torch.tensor([[0.0, 0, 4, 4], [0, 0, 2, 2]])
    b = torch.tensor([[2.0, 2, 6, 6], [10, 10, 11, 11]])
    # 2 x 2 shared of 16 + 16 - 4; corners that only touch
    assert pairwise_iou(a, b)[0, 0] == pytest.approx(4 / 28)
    assert pairwise_iou(a, b).flatten()[1:].tolist() == [0, 0, 0]


def test_ciou_by_hand():
    a = torch.tensor([[2.0, 2, 4, 4]])  # corners 0 0 4 4
    b = torch.tensor([[4.0, 2, 4, 2]])  # corners 2 1 6 3
    iou = 4 / (16 + 8 - 4)
    distance = 2**2 / (6**2 + 4**2)
    v = 4 / math.pi**2 * (math.atan(2) - math.atan(1)) ** 2
    alpha = v / (1 - iou + v)
    assert complete_iou(a, b).item() == pytest.approx(iou - distance - alpha * v, abs=1e-6)
    assert complete_iou(a, a).item() == pytest.approx(1, abs=1e-5)


def test_ciou_pulls_boxes_apart_together():
    """Boxes that do not overlap still have a gradient towards each other."""
    a = torch.tensor([[2.0, 2, 2, 2]], requires_grad=True)
    complete_iou(a, torch.tensor([[10.0, 2, 2, 2]])).sum().backward()
    assert a.grad[0, 0] > 0
    assert a.grad[0, 1].abs() < 1e-6


def decoded(*rows):
    """Rows of center, size, objectness, two classes, as one image."""
    return torch.tensor([rows])


def test_suppression_by_hand():
    boxes = decoded(
        (10.0, 10, 10, 10, 0.9, 1.0, 0.0),
        (11.0, 10, 10, 10, 0.8, 1.0, 0.0),  # IoU 9/11 with the first
        (11.0, 10, 10, 10, 0.7, 0.0, 1.0),  # the same place, another class
        (40.0, 10, 10, 10, 0.5, 1.0, 0.0),
        (60.0, 10, 10, 10, 0.2, 1.0, 0.0),  # not sure enough
    )
    (found,) = suppress(boxes, confidence=0.25, iou=0.45)
    assert found[:, 4].tolist() == pytest.approx([0.9, 0.7, 0.5])
    assert found[:, 5].tolist() == [0, 1, 0]
    assert found[0, :4].tolist() == [5, 5, 15, 15]
    (all_boxes,) = suppress(boxes, confidence=0.25, iou=0.85)
    assert len(all_boxes) == 4


def test_a_box_of_two_classes():
    boxes = decoded((10.0, 10, 10, 10, 1.0, 0.9, 0.6))
    assert suppress(boxes)[0][:, 5].tolist() == [0, 1]
    assert suppress(boxes, one_class_each=True)[0][:, 5].tolist() == [0]


def test_nothing_found():
    empty = suppress(decoded((10.0, 10, 10, 10, 0.0, 1.0, 1.0)))[0]
    assert empty.shape == (0, 6)


def test_suppression_equals_the_plain_loop():
    generator = torch.Generator().manual_seed(0)
    n = 200
    xy = torch.rand(n, 2, generator=generator) * 60
    wh = torch.rand(n, 2, generator=generator) * 20 + 5
    scores = torch.rand(n, 3, generator=generator)
    boxes = torch.cat((xy, wh, torch.ones(n, 1), scores), 1)[None]
    (found,) = suppress(boxes, confidence=0.3, iou=0.5, most=1000)
    expected = []
    for label in range(3):
        left = sorted(
            (i for i in range(n) if scores[i, label] > 0.3), key=lambda i: -scores[i, label]
        )
        while left:
            best, *left = left
            expected.append((float(scores[best, label]), label))
            c = corners(boxes[0, :, :4])
            left = [i for i in left if pairwise_iou(c[best][None], c[i][None]).item() <= 0.5]
    got = [(score, int(label)) for *_, score, label in found.tolist()]
    assert got == sorted(expected, reverse=True)
