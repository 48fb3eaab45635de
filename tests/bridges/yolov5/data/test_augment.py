"""Letterbox, mosaic, affine and flips: boxes stay on what they mark."""

import numpy as np
import pytest
import torch

from bridges.yolov5.data.augment import (
    GRAY,
    Augmentation,
    change_colors,
    keep_visible,
    letterbox,
    make_mosaic,
    random_affine,
    random_flips,
)
from bridges.yolov5.data.batches import TrainingImages, collate, plain_loader, training_loader
from bridges.yolov5.data.dataset import read_detection_data
from bridges.yolov5.data.synthetic import write_shapes
from tfcompress.errors import ConfigError

NONE = Augmentation(0, 0, 0, 0, 0, 0, 0, 0, 0)


def marked(height, width, box, value=255):
    """A black image whose box is bright, and the box."""
    image = np.zeros((height, width, 3), np.uint8)
    x0, y0, x1, y1 = box
    image[y0:y1, x0:x1] = value
    return image, np.array([[1, *box]], np.float32)


def bright_box(image):
    rows, columns = np.nonzero(image[..., 0] > 200)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_letterbox_by_hand():
    image = np.zeros((40, 80, 3), np.uint8)
    square, scale, (left, top) = letterbox(image, 160)
    assert (square.shape, scale, left, top) == ((160, 160, 3), 2.0, 0, 40)
    assert (square[:40] == GRAY).all()
    assert (square[120:] == GRAY).all()
    assert not square[40:120].any()


def test_an_affine_moves_boxes_with_the_pixels():
    image, boxes = marked(64, 96, (30, 20, 50, 40))
    changes = Augmentation(mosaic=0, scale=0.3, translate=0.05)
    for seed in range(10):
        warped, moved = random_affine(image, boxes, 64, changes, np.random.default_rng(seed))
        assert warped.shape == (64, 64, 3)
        np.testing.assert_allclose(moved[0, 1:], bright_box(warped), atol=1.5)


def test_a_turned_box_is_the_box_around_the_turned_corners():
    image, boxes = marked(64, 64, (22, 22, 42, 42))
    changes = Augmentation(mosaic=0, scale=0, translate=0, degrees=45)
    for seed in range(5):
        warped, moved = random_affine(image, boxes, 64, changes, np.random.default_rng(seed))
        np.testing.assert_allclose(moved[0, 1:], bright_box(warped), atol=2)


def test_a_mosaic_keeps_the_four_boxes_on_their_pixels():
    images, boxes = zip(*[marked(32, 32, (8, 8, 20, 24)) for _ in range(4)], strict=True)
    canvas, moved = make_mosaic(images, boxes, 32, np.random.default_rng(3))
    assert canvas.shape == (64, 64, 3)
    assert len(moved) == 4
    for x0, y0, x1, y1 in moved[:, 1:].astype(int):
        assert (canvas[y0:y1, x0:x1] == 255).all()
    total = sum((b[3] - b[1]) * (b[4] - b[2]) for b in moved)
    assert (canvas[..., 0] == 255).sum() == total


def test_flips():
    image, boxes = marked(40, 60, (5, 10, 20, 30))
    both = Augmentation(0, 0, 0, 0, 0, 0, 0, flip_left_right=1, flip_up_down=1)
    flipped, moved = random_flips(image, boxes, both, np.random.default_rng(0))
    assert moved[0].tolist() == [1, 40, 10, 55, 30]
    assert bright_box(flipped) == [40, 10, 55, 30]
    assert boxes[0].tolist() == [1, 5, 10, 20, 30]


def test_boxes_out_of_sight_go():
    boxes = np.array(
        [
            [0, -90, 0, 10, 100],  # 10 of 100 columns left: not more than a tenth
            [0, -89, 0, 11, 100],  # 11 of 100
            [0, 10, 10, 12, 12],  # 2 pixels
            [0, 200, 10, 300, 20],  # outside
            [0, 0, 0, 110, 50],
        ],
        np.float32,
    )
    assert keep_visible(boxes, 100).tolist() == [[0, 0, 0, 11, 100], [0, 0, 0, 100, 50]]


def test_colors_change_within_their_limits():
    gray = np.full((4, 4, 3), 100, np.uint8)
    for seed in range(10):
        changed = change_colors(gray, Augmentation(value=0.4), np.random.default_rng(seed))
        assert 60 <= changed.min() <= changed.max() <= 140
        assert np.ptp(changed) == 0  # gray has no saturation to scale
    assert change_colors(gray, NONE, np.random.default_rng(0)) is gray


def test_bad_augmentation():
    with pytest.raises(ConfigError, match="mosaic: it is 1.5"):
        Augmentation(mosaic=1.5)
    with pytest.raises(ConfigError, match="degrees: it is -3"):
        Augmentation(degrees=-3)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    file = write_shapes(tmp_path_factory.mktemp("set") / "shapes", counts=(9, 4, 4), size=96)
    return read_detection_data(file)


def test_a_batch_depends_on_the_seed_and_the_epoch_alone(shapes):
    def batches(seed, epoch):
        images = TrainingImages(shapes.splits["train"], 64, Augmentation(), seed)
        images.epoch = epoch
        return list(training_loader(images, 4))

    first, again, later = batches(0, 1), batches(0, 1), batches(0, 2)
    for (x, y), (a, b) in zip(first, again, strict=True):
        assert torch.equal(x, a)
        assert torch.equal(y, b)
    assert not torch.equal(first[0][0], later[0][0])
    assert len(first) == 2  # a last batch of one image has no statistics


def test_unchanged_images_give_their_own_boxes(shapes):
    images = TrainingImages(shapes.splits["train"], 96, NONE)
    for index, labelled in enumerate(shapes.splits["train"]):
        pixels, target = images[index]
        np.testing.assert_allclose(target.numpy(), labelled.boxes, atol=1e-6)
        expected = labelled.read().transpose(2, 0, 1) / 255
        np.testing.assert_allclose(pixels.numpy(), expected, atol=1e-6)


def test_plain_batches_are_letterboxed(shapes):
    pixels, targets = next(iter(plain_loader(shapes.splits["val"], 64, 4)))
    assert pixels.shape == (4, 3, 64, 64)
    assert targets.shape == (sum(len(i.boxes) for i in shapes.splits["val"]), 6)
    assert targets[:, 0].unique().tolist() == [
        i for i, image in enumerate(shapes.splits["val"]) if len(image.boxes)
    ]


def test_collate_numbers_the_images():
    one = torch.zeros(3, 8, 8)
    _, targets = collate(
        [(one, torch.ones(2, 5)), (one, torch.zeros(0, 5)), (one, torch.ones(1, 5))]
    )
    assert targets[:, 0].tolist() == [0, 0, 2]
