"""Distillation: each formula by NumPy and SciPy, masks by hand, a teacher that never moves."""

import copy

import numpy as np
import pytest
import torch
from scipy.special import expit, rel_entr
from torch import nn

from bridges.yolov5.data.dataset import read_detection_data
from bridges.yolov5.data.synthetic import write_shapes
from bridges.yolov5.detector.loss import LossWeights
from bridges.yolov5.detector.train import TrainSettings, train_detector
from bridges.yolov5.distill.losses import (
    binary_cross_entropy,
    binary_kl,
    imitation,
    imitation_mask,
    logit_parts,
    squared,
)
from bridges.yolov5.distill.teacher import Distillation, DistillSettings, check_teacher
from bridges.yolov5.prune.config import PruneConfig
from bridges.yolov5.prune.planner import plan_detector, prune_detector
from models.yolov5.build import build_detector
from tests.bridges.yolov5.tiny_detector import TINY, as_trained, tiny_detector
from tfcompress.errors import ConfigError

NAMES = ("disc", "square", "triangle", "ring")
WIDE = TINY.replace("0.25", "0.5")
TARGETS = torch.tensor([[0, 1, 0.4, 0.5, 0.3, 0.4], [1, 2, 0.6, 0.3, 0.2, 0.2]])


@pytest.fixture
def pair(tmp_path):
    """A teacher of twice the width, and its student."""
    teacher = as_trained(tiny_detector(tmp_path, WIDE, seed=1, names=NAMES))
    return teacher, tiny_detector(tmp_path, names=NAMES)


@pytest.fixture(scope="module")
def maps():
    generator = np.random.default_rng(0)
    return generator.normal(0, 3, (2, 2, 3, 2, 4, 8)).astype(np.float32)


def test_the_distance_of_two_coins_by_scipy(maps):
    student, teacher = maps
    for temperature in (1.0, 5.0):
        p, q = expit(teacher / temperature), expit(student / temperature)
        expected = temperature**2 * (rel_entr(p, q) + rel_entr(1 - p, 1 - q))
        found = binary_kl(torch.from_numpy(student), torch.from_numpy(teacher), temperature)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-5)
        assert binary_kl(*[torch.from_numpy(teacher)] * 2, temperature).abs().max() < 1e-6


def test_extreme_logits_stay_finite():
    s = torch.tensor([-200.0, 200.0], requires_grad=True)
    t = torch.tensor([200.0, -200.0])
    value = binary_kl(s, t, 1.0)
    assert value.tolist() == pytest.approx([200, 200])  # log(1 / e^-200)
    value.sum().backward()
    assert torch.isfinite(s.grad).all()


def test_cross_entropy_is_of_probabilities():
    """A teacher's logit 0 is 0.5: -0.5 log 0.5 - 0.5 log 0.5, which is log 2."""
    s, t = torch.tensor([0.0, 2.0]), torch.tensor([0.0, 1.0])
    p, q = expit(1.0), expit(2.0)
    expected = [np.log(2), -(p * np.log(q) + (1 - p) * np.log(1 - q))]
    np.testing.assert_allclose(binary_cross_entropy(s, t, 9.0).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("loss", ["l2", "kl", "bce"])
def test_parts_weigh_every_cell_by_the_teachers_objectness(loss, maps):
    student, teacher = maps
    sure = expit(teacher[..., 4:5])
    distance = (student - teacher) ** 2
    p, q = expit(teacher[..., 5:] / 3), expit(student[..., 5:] / 3)
    coins = {
        "l2": distance[..., 5:],
        "kl": 9 * (rel_entr(p, q) + rel_entr(1 - p, 1 - q)),
        "bce": -(
            expit(teacher[..., 5:]) * np.log(expit(student[..., 5:]))
            + expit(-teacher[..., 5:]) * np.log(expit(-student[..., 5:]))
        ),
    }
    expected = [
        (sure * part).mean() for part in (distance[..., :4], distance[..., 4:5], coins[loss])
    ]
    tensors = [torch.from_numpy(array).requires_grad_() for array in (student, teacher)]
    found = logit_parts(*tensors, loss, temperature=3.0)
    np.testing.assert_allclose([float(part.detach()) for part in found], expected, rtol=1e-4)
    sum(found).backward()
    assert tensors[1].grad is None
    assert tensors[0].grad.abs().sum() > 0


def test_a_single_class_has_no_part_of_its_own(maps):
    student, teacher = (torch.from_numpy(array[..., :6]) for array in maps)
    box, objectness, classes = logit_parts(student, teacher, "kl")
    assert (box > 0, objectness > 0, float(classes)) == (True, True, 0)


def test_a_mask_on_a_map_that_is_no_square():
    """2 rows, 4 columns. Image 0: an object that is cell (row 1, column 2). Image 1: one over the
    columns 0 and 1 of row 0: each of the two cells overlaps it by a half, the best there is."""
    targets = torch.tensor(
        [[0, 3, 2.5 / 4, 1.5 / 2, 1 / 4, 1 / 2], [1, 0, 1 / 4, 0.5 / 2, 2 / 4, 1 / 2]]
    )
    mask = imitation_mask(targets, torch.tensor([[1.0, 1.0]]), 3, 2, 4)
    assert mask.shape == (3, 1, 2, 4)
    assert mask[0, 0].tolist() == [[0, 0, 0, 0], [0, 0, 1, 0]]
    assert mask[1, 0].tolist() == [[1, 1, 0, 0], [0, 0, 0, 0]]
    assert mask[2].sum() == 0


def test_the_bar_is_a_share_of_each_objects_best_overlap():
    """One object of 2 x 1 cells at columns 1 and 2 of a row, anchors of 1 x 1 and 3 x 1.

    Overlaps of 1 x 1: columns 1, 2: 1/2. Of 3 x 1 around column 1 (0 to 3): 2/3, around 2: 2/3,
    around 0 (-1 to 2): 1/4, around 3 (2 to 5): 1/4. The best is 2/3.
    """
    targets = torch.tensor([[0, 0, 2 / 4, 0.5, 2 / 4, 1.0]])
    anchors = torch.tensor([[1.0, 1.0], [3.0, 1.0]])
    for threshold, expected in ((0.5, [0, 1, 1, 0]), (0.3, [1, 1, 1, 1]), (0.9, [0, 1, 1, 0])):
        mask = imitation_mask(targets, anchors, 1, 1, 4, threshold)
        assert mask[0, 0, 0].tolist() == expected


def test_objects_of_an_image_are_united():
    targets = torch.tensor([[0, 0, 0.125, 0.5, 0.25, 1.0], [0, 0, 0.875, 0.5, 0.25, 1.0]])
    mask = imitation_mask(targets, torch.tensor([[1.0, 1.0]]), 1, 1, 4)
    assert mask[0, 0, 0].tolist() == [1, 0, 0, 1]


def test_imitation_by_hand_and_without_an_object():
    """Two cells of two channels: (1 + 4 + 9 + 0) / 2 cells / 2."""
    student = torch.tensor([[[[1.0, 5.0, 3.0]], [[-2.0, 5.0, 0.0]]]], requires_grad=True)
    teacher, mask = torch.zeros(1, 2, 1, 3), torch.tensor([[[[1.0, 0.0, 1.0]]]])
    assert float(imitation(student, teacher, mask).detach()) == pytest.approx(14 / 2 / 2)
    empty = imitation(
        student, teacher, imitation_mask(torch.zeros(0, 6), torch.ones(1, 2), 1, 1, 3)
    )
    assert float(empty.detach()) == 0
    empty.backward()
    assert torch.equal(student.grad, torch.zeros_like(student))


def parts_of(teaching, student, targets=TARGETS):
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return teaching(student, images, student.outputs(images), targets), images


def test_the_sum_of_all_levels_with_the_gains_of_the_detection_loss(pair):
    teacher, student = pair
    settings = DistillSettings(logits="l2", ratio=0.25, features=0)
    teaching = Distillation(teacher, student, settings, side=64)
    (total, parts), images = parts_of(teaching, student.eval())
    with torch.no_grad():
        pairs = list(zip(student(images), teacher(images), strict=True))
    # LossWeights for 4 classes, 64 pixels and 2 levels: objectness 1.0 * 3/2 * (64 / 640)^2, ...
    gains = {"box": 0.05 * 1.5, "objectness": 1.5 * 0.01, "classes": 0.5 * 1.5 * 4 / 80}
    for name, part in (("box", slice(0, 4)), ("objectness", slice(4, 5)), ("classes", slice(5, 9))):
        raw = sum(
            float((t[..., 4:5].sigmoid() * (s - t)[..., part].square()).mean()) for s, t in pairs
        )
        assert parts[f"teacher_{name}"] == pytest.approx(0.25 * gains[name] * raw, rel=1e-4)
    assert float(total.detach()) == pytest.approx(sum(parts.values()), rel=1e-5)


def test_features_go_through_a_linear_adapter_of_the_teachers_width(pair):
    teacher, student = pair
    settings = DistillSettings(logits="none", features=0.1, levels=(0, 1))
    teaching = Distillation(teacher, student, settings, side=64)
    assert [(m.in_channels, m.out_channels) for m in teaching.module] == [(16, 32), (16, 32)]
    parts_of(teaching, student.eval())  # the adapters start
    generator = torch.Generator().manual_seed(0)
    for adapter in teaching.module:
        nn.init.normal_(adapter.weight, 0, 0.1, generator=generator)
    (total, parts), images = parts_of(teaching, student.eval())
    with torch.no_grad():
        theirs, ours = teacher.outputs(images), student.outputs(images)
        expected = 0.0
        for row, stride, adapter in ((3, 8, 0), (4, 16, 1)):
            anchors = torch.tensor([[10, 13], [16, 30], [30, 61], [62, 45]], dtype=torch.float32)
            mask = imitation_mask(TARGETS, anchors / stride, 2, 64 // stride, 64 // stride)
            gap = (teaching.module[adapter](ours[row]) - theirs[row]).square() * mask
            expected += 0.1 * float(gap.sum() / mask.sum() / 2)
    assert list(parts) == ["teacher_features"]
    assert float(total.detach()) == pytest.approx(expected, rel=1e-4)
    total.backward()
    assert teaching.module[0].weight.grad.abs().sum() > 0
    assert student.model[0].conv.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in teaching.teacher.parameters())


def test_adapters_start_from_the_best_map_of_the_first_batch(pair):
    """By NumPy; and a student that is its own teacher has nothing to learn."""
    teacher, student = pair
    teaching = Distillation(teacher, student, DistillSettings("none"), side=64)
    _, images = parts_of(teaching, student.eval())
    with torch.no_grad():
        x, y = (
            model.outputs(images)[3].permute(0, 2, 3, 1).flatten(0, 2).double().numpy()
            for model in (student, teacher)
        )
    x = np.concatenate((x, np.ones((len(x), 1))), 1)
    (adapter,) = teaching.module
    weight, bias = adapter.weight.detach().numpy(), adapter.bias.detach().numpy()
    assert np.count_nonzero(weight) == np.count_nonzero(weight[:, :, 1, 1])
    found = x @ np.concatenate((weight[:, :, 1, 1].T, bias[None]))
    # Ridge is least squares with a row for each coefficient more.
    more = np.sqrt(1e-6 * np.square(x).sum() / x.shape[1]) * np.eye(x.shape[1])
    rows, wanted = np.concatenate((x, more)), np.concatenate((y, np.zeros((len(more), y.shape[1]))))
    expected = x @ np.linalg.lstsq(rows, wanted, rcond=None)[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    before = adapter.weight.detach().clone()
    parts_of(teaching, student)
    assert torch.equal(adapter.weight, before)  # the first batch alone
    own = Distillation(teacher, teacher, DistillSettings("none"), side=64)
    assert parts_of(own, teacher)[0][1]["teacher_features"] < 1e-6


def test_a_batch_without_objects(pair):
    teacher, student = pair
    teaching = Distillation(teacher, student, DistillSettings("kl"), side=64)
    (total, parts), _ = parts_of(teaching, student, torch.zeros(0, 6))
    assert parts["teacher_features"] == 0
    assert torch.isfinite(total)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    file = write_shapes(tmp_path_factory.mktemp("set") / "shapes", counts=(8, 4, 4), size=64)
    return read_detection_data(file)


TRAINING = TrainSettings(epochs=2, side=64, batch=4, warmup_epochs=0, fit_anchors=False)


def test_the_teacher_never_moves_and_the_adapters_learn(pair, data):
    teacher, student = pair
    given = teacher.train()  # whatever state it is given in
    before = copy.deepcopy(given.state_dict())
    teaching = Distillation(given, student, DistillSettings(features=0.01), side=64)
    adapters = copy.deepcopy(teaching.module.state_dict())
    result = train_detector(student, data, TRAINING, extra_losses=[teaching])
    for state in (given.state_dict(), teaching.teacher.state_dict()):
        for key, value in before.items():
            assert torch.equal(state[key], value), key
    assert not teaching.teacher.training
    for key, value in teaching.module.state_dict().items():
        assert not torch.equal(value, adapters[key])
    for row in result.history:
        named = [value for key, value in row.items() if key.startswith("teacher_")]
        assert len(named) == 4
        own = row["box"] + row["objectness"] + row["classes"]
        assert row["loss"] == pytest.approx(own + sum(named), rel=1e-5)


def test_a_student_comes_nearer_to_its_teacher(pair, data):
    teacher, student = pair
    settings = TrainSettings(
        epochs=8, side=64, batch=4, warmup_epochs=0, fit_anchors=False, learning_rate=0.01
    )
    wanted = DistillSettings(ratio=0.5, features=0.01)
    teaching = Distillation(teacher, student, wanted, side=64)
    rows = train_detector(student, data, settings, extra_losses=[teaching]).history
    for part in ("teacher_objectness", "teacher_features"):
        assert rows[-1][part] < 0.8 * rows[0][part]


def test_a_killed_distillation_ends_as_if_it_had_not_been(pair, data, tmp_path):
    teacher, student = pair

    def taught():
        return [Distillation(teacher, student, side=64)]

    whole = train_detector(student, data, TRAINING, extra_losses=taught())

    class Killed(Exception):
        pass

    def kill(row, best):
        raise Killed

    file = tmp_path / "last.pt"
    with pytest.raises(Killed):
        train_detector(student, data, TRAINING, file, kill, taught())
    resumed = train_detector(student, data, TRAINING, file, extra_losses=taught())
    for key, value in whole.detector.state_dict().items():
        torch.testing.assert_close(resumed.detector.state_dict()[key], value, rtol=0, atol=1e-6)
    other = Distillation(teacher, student, DistillSettings("kl"), side=64)
    with pytest.raises(ConfigError, match="written with other settings"):
        train_detector(student, data, TRAINING, file, extra_losses=[other])


def test_a_larger_teacher_teaches_a_pruned_student():
    teacher = as_trained(build_detector("yolov5s", names=("a", "b")))
    student = as_trained(build_detector("yolov5n", names=("a", "b")))
    small = prune_detector(student, plan_detector(student, PruneConfig(sparsity=0.3, side=64)))
    teaching = Distillation(teacher, small, side=64)
    (adapter,) = teaching.module
    assert (adapter.in_channels, adapter.out_channels) == (small.channels[17], 128)
    (total, parts), _ = parts_of(teaching, small, TARGETS[:, :6])
    assert set(parts) == {
        "teacher_box", "teacher_objectness", "teacher_classes", "teacher_features",
    }  # fmt: skip
    assert torch.isfinite(total)


def test_teachers_that_do_not_fit(pair, tmp_path):
    teacher, student = pair
    check_teacher(teacher, student)
    other = tiny_detector(tmp_path, names=("a", "b", "c", "d"))
    with pytest.raises(ConfigError, match="its classes are disc, square, .* the student's a, b"):
        check_teacher(teacher, other)
    with pytest.raises(ConfigError, match="its maps are 3 with 3 anchors each, the student's 2"):
        check_teacher(build_detector("yolov5n", names=NAMES), student)
    moved = copy.deepcopy(teacher)
    moved.head.anchors[0, 0] *= 2
    with pytest.raises(ConfigError, match="its anchors are .*give the student the teacher's"):
        check_teacher(moved, student)
    strided = copy.deepcopy(teacher)
    strided.head.set_strides([16, 32])
    with pytest.raises(ConfigError, match=r"its strides are \[16.0, 32.0\], the student's \[8.0"):
        check_teacher(strided, student)
    for wrong, message in (
        ({"logits": "mse"}, "logits: 'mse' is unknown. Fix: use l2, kl, bce, none"),
        ({"ratio": 0}, "ratio: it is 0"),
        ({"temperature": -1}, "temperature: it is -1"),
        ({"features": -1}, "features: it is -1"),
        ({"threshold": 1}, "threshold: it is 1"),
        ({"logits": "none", "features": 0}, "nothing is left to imitate"),
    ):
        with pytest.raises(ConfigError, match=message):
            DistillSettings(**wrong)
    with pytest.raises(ConfigError, match=r"levels: they are \(2,\). Fix: use some of 0, 1"):
        Distillation(teacher, student, DistillSettings(levels=(2,)))


def test_squares_have_no_temperature():
    one, two = torch.tensor([1.0]), torch.tensor([3.0])
    assert squared(one, two, 7.0).tolist() == [4.0]
    assert LossWeights().scaled(80, 640, 3) == LossWeights()
