"""The loss: which cells answer for a box, and each part's value by hand."""

import math

import pytest
import torch
from torch.nn import functional

from bridges.yolov5.detector.loss import DetectionLoss, LossWeights, assign
from models.yolov5.detect import decode
from tfcompress.errors import ConfigError

ANCHORS = torch.tensor([[1.0, 1.0], [3.0, 2.0]])


def target(x, y, w, h, image=0, label=0):
    return torch.tensor([[image, label, x, y, w, h]], dtype=torch.float32)


def test_the_cell_and_its_nearest_neighbors():
    """Center (2.3, 5.8) on an 8 x 8 map: cell (2, 5), left of it (1, 5), below it (2, 6)."""
    found = assign(target(2.3 / 8, 5.8 / 8, 1.5 / 8, 1.5 / 8), ANCHORS, 8, 8)
    cells = set(zip(found.column.tolist(), found.row.tolist(), strict=True))
    assert cells == {(2, 5), (1, 5), (2, 6)}
    # 1.5 / 1 and 3 / 1.5 are within 4: both anchors, three cells each
    assert sorted(found.anchor.tolist()) == [0, 0, 0, 1, 1, 1]
    own = (found.column == 2) & (found.row == 5)
    torch.testing.assert_close(
        found.box[own][0], torch.tensor([0.3, 0.8, 1.5, 1.5]), atol=1e-5, rtol=0
    )
    left = found.column == 1
    torch.testing.assert_close(found.box[left][0, :2], torch.tensor([1.3, 0.8]), atol=1e-5, rtol=0)


def test_anchors_that_are_too_different_do_not_answer():
    # 0.5 wide: 1 / 0.5 = 2 and 3 / 0.5 = 6; 7 wide: 7 and 7 / 3
    assert assign(target(0.5, 0.5, 0.5 / 8, 1 / 8), ANCHORS, 8, 8).anchor.unique().tolist() == [0]
    assert assign(target(0.5, 0.5, 7 / 8, 2 / 8), ANCHORS, 8, 8).anchor.unique().tolist() == [1]
    assert len(assign(target(0.5, 0.5, 1 / 80, 1 / 80), ANCHORS, 8, 8).anchor) == 0


@pytest.mark.parametrize(("x", "y"), [(0.02, 0.02), (0.99, 0.99), (1.0, 1.0), (0.0, 0.0)])
def test_cells_stay_on_the_map(x, y):
    found = assign(target(x, y, 0.2, 0.2), ANCHORS, 8, 8)
    assert set(found.column.tolist()) | set(found.row.tolist()) <= {0, 7}


def loss_of(raw, targets, n_classes=2, **gains):
    loss = DetectionLoss(ANCHORS[None], n_classes, 640, LossWeights(**gains))
    return loss(raw, targets)


def test_an_empty_batch_costs_its_objectness():
    """Logit 0 everywhere: ln 2; one level has the gain 3."""
    total, parts = loss_of([torch.zeros(2, 2, 4, 4, 7)], torch.zeros(0, 6))
    assert parts == pytest.approx({"box": 0, "objectness": 3 * math.log(2), "classes": 0}, rel=1e-6)
    assert total.item() == pytest.approx(2 * 3 * math.log(2), rel=1e-6)


def test_the_parts_by_hand():
    """Logits of zero predict the anchor's size at the middle of each cell."""
    # center (2.5, 2.5) on 4 x 4, the very size of anchor 0: a neighbor needs less than 0.5
    targets = target(2.5 / 4, 2.5 / 4, 1 / 4, 1 / 4, label=1)
    total, parts = loss_of([torch.zeros(1, 2, 4, 4, 7)], targets, ratio=1.5)
    assert parts["box"] == pytest.approx(0, abs=1e-5)  # exactly the anchor: CIoU 1
    assert parts["objectness"] == pytest.approx(3 * math.log(2), rel=1e-5)
    # two logits of zero: ln 2 each, gain 0.5 * 3 * 2 / 80
    assert parts["classes"] == pytest.approx(0.5 * 3 * 2 / 80 * math.log(2), rel=1e-5)
    assert total.item() == pytest.approx(sum(parts.values()), rel=1e-5)


def test_objectness_is_asked_to_be_the_overlap():
    """Of two boxes in a cell the better one counts; the map's loss is against that."""
    raw = torch.zeros(1, 2, 4, 4, 7)
    good, bad = (target(2.5 / 4, 2.5 / 4, side / 4, side / 4) for side in (1.0, 1.2))
    for targets in (torch.cat((good, bad)), torch.cat((bad, good))):
        raw[..., 4] = 2.0
        _, parts = loss_of([raw], targets, ratio=1.5)
        wanted = torch.zeros(1, 2, 4, 4)
        wanted[0, 0, 2, 2] = 1.0
        expected = functional.binary_cross_entropy_with_logits(
            torch.full((1, 2, 4, 4), 2.0), wanted
        )
        assert parts["objectness"] == pytest.approx(3 * expected.item(), rel=1e-5)


def test_one_class_has_no_class_loss():
    _, parts = loss_of([torch.zeros(1, 2, 4, 4, 6)], target(0.5, 0.5, 0.25, 0.25), n_classes=1)
    assert parts["classes"] == 0


def test_gains_follow_classes_size_and_levels():
    gains = LossWeights().scaled(n_classes=20, side=320, levels=3)
    assert (gains.box, gains.objectness, gains.classes) == (0.05, 0.25, 0.125)


def test_descent_finds_the_box():
    """Minimising the loss of one image puts a decoded box on the target."""
    torch.manual_seed(0)
    raw = torch.zeros(1, 2, 4, 4, 7, requires_grad=True)
    targets = target(0.4, 0.6, 0.3, 0.4, label=1)
    optimizer = torch.optim.Adam([raw], lr=0.05)
    for _ in range(200):
        total, _ = loss_of([raw], targets)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    boxes = decode([raw.detach()], ANCHORS[None], torch.tensor([8.0]))[0]
    best = boxes[boxes[:, 4].argmax()]
    torch.testing.assert_close(best[:4] / 32, torch.tensor([0.4, 0.6, 0.3, 0.4]), atol=0.02, rtol=0)
    assert best[4] > 0.9
    assert best[6] > 0.9 > 0.1 > best[5]


def test_bad_weights():
    with pytest.raises(ConfigError, match="smoothing: it is 1"):
        LossWeights(smoothing=1)
    with pytest.raises(ConfigError, match="ratio: it is 1"):
        LossWeights(ratio=1)
