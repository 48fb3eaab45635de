import numpy as np
import pytest
from scipy import stats

from tfcompress.evaluation.bootstrap import paired_difference
from tfcompress.evaluation.segmentation import accuracy, mean_iou


def two_models(n=60, seed=0):
    generator = np.random.default_rng(seed)
    a = generator.integers(1, 20, (n, 2, 2))
    b = a.copy()
    b[:, 0, 0] = np.maximum(b[:, 0, 0] - generator.integers(0, 3, n), 0)
    b[:, 0, 1] += a[:, 0, 0] - b[:, 0, 0]
    return a, b


def test_difference_and_interval():
    better, worse = two_models()
    difference = paired_difference(accuracy, better, worse)
    expected = accuracy(better.sum(axis=0)) - accuracy(worse.sum(axis=0))
    assert difference.value == pytest.approx(float(expected))
    assert 0 < difference.low < difference.value < difference.high


def test_agrees_with_scipy():
    """SciPy's paired percentile bootstrap over the same samples."""
    better, worse = two_models()
    index = np.arange(len(better))

    def statistic(chosen):
        return accuracy(better[chosen].sum(axis=0)) - accuracy(worse[chosen].sum(axis=0))

    theirs = stats.bootstrap(
        (index,), statistic, vectorized=False, method="percentile", n_resamples=2000,
        random_state=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    ours = paired_difference(accuracy, better, worse)
    assert ours.low == pytest.approx(theirs.low, abs=0.002)
    assert ours.high == pytest.approx(theirs.high, abs=0.002)


def test_equal_models_differ_by_nothing():
    a, _ = two_models()
    difference = paired_difference(mean_iou, a, a)
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)


def test_pairing_narrows_the_interval():
    """Samples differ far more from each other than the models do on each sample."""
    better, worse = two_models()
    paired = paired_difference(accuracy, better, worse)
    shuffled = paired_difference(accuracy, better, worse[np.random.default_rng(1).permutation(60)])
    assert paired.high - paired.low < 0.5 * (shuffled.high - shuffled.low)


def test_a_class_missing_from_a_resample_is_no_crash():
    a = np.zeros((5, 3, 3), int)
    a[:, 0, 0] = 10
    a[0, 1, 1] = 5
    b = a.copy()
    b[0, 1, 1], b[0, 1, 0] = 2, 3
    assert np.isfinite(paired_difference(mean_iou, a, b).low)
