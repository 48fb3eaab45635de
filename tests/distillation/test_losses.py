"""Distillation losses against SciPy, NumPy written another way, and figures worked out by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.spatial.distance import pdist
from scipy.special import log_softmax, rel_entr, softmax

from tfcompress.distillation import losses

RANDOM = np.random.default_rng(0)
STUDENT = RANDOM.normal(0, 3, (6, 5)).astype(np.float32)
TEACHER = RANDOM.normal(0, 3, (6, 5)).astype(np.float32)
LABELS = np.array([0, 1, 2, 3, 4, 0])


def kl_batchmean(teacher, student, temperature):
    p, q = softmax(teacher / temperature, -1), softmax(student / temperature, -1)
    return rel_entr(p.astype(np.float64), q.astype(np.float64)).sum() / len(p)


@pytest.mark.parametrize("temperature", [1.0, 3.0, 5.0])
def test_both_classic_forms(temperature):
    """`(1 - alpha) CE + alpha T^2 KLbatchmean`, and `CE + T^2 KLbatchmean`."""
    cross_entropy = -log_softmax(STUDENT.astype(np.float64), -1)[np.arange(6), LABELS].mean()
    ours = float(losses.soft_targets(STUDENT, TEACHER, temperature))
    task = float(keras.losses.SparseCategoricalCrossentropy(from_logits=True)(LABELS, STUDENT))
    kl = temperature**2 * kl_batchmean(TEACHER, STUDENT, temperature)
    assert 0.1 * task + 0.9 * ours == pytest.approx(0.1 * cross_entropy + 0.9 * kl, rel=1e-6)
    assert task + ours == pytest.approx(cross_entropy + kl, rel=1e-6)


def gradient(function, student, *rest, **more):
    variable = tf.Variable(student)
    with tf.GradientTape() as tape:
        value = function(variable, *rest, **more)
    return tape.gradient(value, variable).numpy()


def test_gradient_of_soft_targets_keeps_its_size():
    """At high temperature it is (s - t) / (classes N) of centered logits, whatever the T."""
    student, teacher = (x - x.mean(-1, keepdims=True) for x in (STUDENT, TEACHER))
    limit = (student - teacher) / student.size
    for temperature in (1e3, 1e4):
        found = gradient(losses.soft_targets, student, teacher, temperature)
        np.testing.assert_allclose(found, limit, rtol=0.02, atol=3e-4)


def test_one_logit_is_two_classes():
    student, teacher = np.float32([[0.5]]), np.float32([[-1.0]])
    p, q = 1 / (1 + np.exp(1.0)), 1 / (1 + np.exp(-0.5))
    by_hand = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    assert float(losses.soft_targets(student, teacher, 1.0)) == pytest.approx(by_hand, rel=1e-5)


def test_decoupled():
    temperature, alpha, beta = 4.0, 1.0, 8.0
    expected = []
    for s, t, y in zip(STUDENT.astype(float), TEACHER.astype(float), LABELS, strict=True):
        p, q = softmax(t / temperature), softmax(s / temperature)
        target = rel_entr([p[y], 1 - p[y]], [q[y], 1 - q[y]]).sum()
        others = np.arange(5) != y
        rest = rel_entr(softmax(t[others] / temperature), softmax(s[others] / temperature)).sum()
        expected.append(temperature**2 * (alpha * target + beta * rest))
    found = losses.decoupled(STUDENT, TEACHER, LABELS, temperature, alpha, beta)
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-5)
    one_hot = losses.decoupled(STUDENT, TEACHER, np.eye(5, dtype=np.float32)[LABELS])
    assert float(one_hot) == pytest.approx(float(found), rel=1e-6)
    likely = losses.decoupled(STUDENT, TEACHER, TEACHER.argmax(-1))
    assert float(losses.decoupled(STUDENT, TEACHER)) == pytest.approx(float(likely))


def test_decoupled_is_soft_targets_when_weighted_as_those_are():
    """KL = TCKD + (1 - p_t) NCKD (equation 5); with one p_t for all samples, a fixed beta."""
    teacher = np.stack([np.roll(TEACHER[0], i) for i in range(5)])
    labels = (np.arange(5) + int(TEACHER[0].argmax())) % 5
    p_target = softmax(TEACHER[0]).max()
    found = losses.decoupled(STUDENT[:5], teacher, labels, 1.0, 1.0, 1 - p_target)
    assert float(found) == pytest.approx(
        float(losses.soft_targets(STUDENT[:5], teacher, 1.0)), rel=1e-5
    )


MAPS = [RANDOM.normal(0, 2, (3, 4, 6, 5)).astype(np.float32) for _ in range(2)]


def test_dense_losses():
    student, teacher = MAPS
    flat = [m.reshape(-1, 5) for m in MAPS]
    expected = 4.0 * kl_batchmean(flat[1], flat[0], 2.0)
    assert float(losses.pixel_wise(student, teacher, 2.0)) == pytest.approx(expected, rel=1e-5)
    assert float(losses.soft_targets(student, teacher, 2.0)) == pytest.approx(expected, rel=1e-5)
    channels = [m.transpose(0, 3, 1, 2).reshape(15, 24) for m in MAPS]
    expected = 4.0 * kl_batchmean(channels[1], channels[0], 2.0)
    assert float(losses.channel_wise(student, teacher, 2.0)) == pytest.approx(expected, rel=1e-5)


def test_maps_of_other_sizes_are_resized():
    constant = np.full((2, 8, 8, 3), [1.0, 2.0, 3.0], np.float32)
    assert float(losses.pixel_wise(constant[:, :4, :4], constant)) == pytest.approx(0, abs=1e-6)
    assert float(losses.hint(constant[:, :4, :4], constant)) == pytest.approx(0, abs=1e-6)


def test_attention_transfer_by_hand():
    student = np.float32([[[[1.0, 0.0]], [[0.0, 0.0]]]])  # maps 1, 0
    teacher = np.float32([[[[0.0]], [[2.0]]]])  # 0, 4: normalized 0, 1
    assert float(losses.attention_transfer(student, teacher)) == pytest.approx(1.0)
    assert float(losses.attention_transfer(3 * student, student)) == pytest.approx(0.0, abs=1e-7)


def test_relational():
    student, teacher = STUDENT, TEACHER[:, :3]

    def huber(a, b):
        d = np.abs(a - b)
        return np.where(d < 1, d * d / 2, d - 0.5)

    def relations(x):
        x = x.astype(float)
        d = pdist(x)
        angles = [
            np.dot(x[i] - x[j], x[k] - x[j])
            / (np.linalg.norm(x[i] - x[j]) * np.linalg.norm(x[k] - x[j]))
            if j not in (i, k)
            else 0.0
            for j in range(6)
            for i in range(6)
            for k in range(6)
        ]
        return d / d.mean(), np.array(angles)

    (ds, angles_s), (dt, angles_t) = relations(student), relations(teacher)
    expected = 25 * 2 * huber(ds, dt).sum() / 36 + 50 * huber(angles_s, angles_t).mean()
    assert float(losses.relational(student, teacher)) == pytest.approx(expected, rel=1e-4)
    assert np.isfinite(gradient(losses.relational, student, teacher)).all()
    scaled = losses.relational(5 * teacher + 1, teacher)
    assert float(scaled) == pytest.approx(0, abs=1e-4), "similar figures are the same relations"


def test_contrastive():
    identity = np.eye(4, dtype=np.float32)
    found = float(losses.contrastive(identity, identity, 0.5))
    assert found == pytest.approx(np.log(np.exp(2) + 3) - 2, rel=1e-5)
    wrong = float(losses.contrastive(identity, identity[::-1], 0.5))
    assert wrong == pytest.approx(np.log(np.exp(2) + 3), rel=1e-5)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_equal_is_no_loss_and_half_precision_and_one_sample_are_fine(name):
    function = losses.LOSSES[name]
    student, teacher = MAPS
    if name != "contrastive":
        assert float(function(student, student)) == pytest.approx(0, abs=2e-4)
    assert float(function(student, teacher)) > 1e-3
    half = float(function(student.astype(np.float16), teacher.astype(np.float16)))
    assert half == pytest.approx(float(function(student, teacher)), rel=0.02)
    single = gradient(function, student[:1], teacher[:1])
    assert np.isfinite(single).all()


@pytest.mark.parametrize("name", losses.LOSSES)
def test_gradient_is_the_numerical_one(name):
    """Central differences in the direction of a random step."""
    student, teacher = (m[:, :2, :2] for m in MAPS)
    function = losses.LOSSES[name]
    step = RANDOM.normal(0, 1, student.shape).astype(np.float32)
    size = 1e-2
    ahead, behind = (float(function(student + sign * size * step, teacher)) for sign in (1, -1))
    slope = float((gradient(function, student, teacher) * step).sum())
    assert slope == pytest.approx((ahead - behind) / (2 * size), rel=0.02, abs=2e-3)
